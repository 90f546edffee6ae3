"""Signs results, and reads results that agents or operators have signed. Pure."""

from nanogrid import json_text, result_auth, result_bounds, wire
from nanogrid.result_auth import NotAuthenticError
from nanogrid.types import Json


class ResultKeys:
    """The keys of all jobs, derived from the installation's master key."""

    def __init__(self, master: str) -> None:
        self._master = master

    def of(self, uid: str) -> str:
        """The key of a job."""
        return result_auth.derive_key(self._master, uid)

    def sign(self, result: wire.Result) -> wire.Result:
        """The result with its code. The same result always gets the same code."""
        return result_auth.sign(result, self.of(result.job.uid))

    def read(self, text: str | bytes) -> wire.Result:
        """A result within its bounds. A code that it has is right: the keys' owners have made it.

        Raises:
            NotAuthenticError: the code is wrong.
            ValueError: the text is not a result.
        """
        data = json_text.parse(text)
        result = wire.from_dict(wire.Result, data)
        self._verify(data, result)
        return result_bounds.result(result)

    def read_report(self, text: str | bytes) -> wire.Report:
        """The report with such a result.

        Raises:
            NotAuthenticError: the code is wrong.
            ValueError: the text is not a report.
        """
        data = json_text.parse(text)
        report = wire.from_dict(wire.Report, data)
        self._verify(data["result"], report.result)
        return result_bounds.report(report)

    def _verify(self, data: Json, result: wire.Result) -> None:
        uid = result.job.uid
        if result.authentication is not None and not result_auth.verify(data, self.of(uid)):
            raise NotAuthenticError(f"the authentication code of job uid {uid} is wrong")
