"""The result of one execution in a session: text, error, displayed objects."""

import base64
import html
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.client import remote_error
from nanogrid.client.errors import NanoGridError, hint_of
from nanogrid.hints import without_hint
from nanogrid.types import Json

SHOWN_CHARACTERS: Final = 4000


class ExecutionFailed(NanoGridError):
    """The code of an execution failed; stderr is shown as in :class:`nanogrid.client.CodeFailed`.

    Attributes:
        reason: see docs/reasons.md.
        result: the :class:`Execution`.
        last_line: of stderr; "" if stderr is empty.
        remote_traceback: text of the traceback; "" if the code printed none.
    """

    def __init__(self, execution: "Execution") -> None:
        super().__init__(
            f"execution {execution.number}: {execution.reason}: "
            + without_hint(execution.reason, str(execution.error)),
            hint_of(execution.reason),
        )
        self.reason = execution.reason
        self.result = execution
        self.last_line = remote_error.last_line(execution.stderr)
        self.remote_traceback = remote_error.remote_traceback(execution.stderr)
        remote_error.describe(self, execution.stderr)


@dataclass(frozen=True)
class Display:
    """An object that the code displayed, as in a notebook: ``data`` by MIME type."""

    data: dict[str, str]

    @property
    def png(self) -> bytes | None:
        """The PNG image, if there is one."""
        found = self.data.get("image/png")
        return None if found is None else base64.b64decode(found)

    @property
    def html(self) -> str | None:
        """The HTML, for example of a table, if there is one."""
        return self.data.get("text/html")

    @property
    def text(self) -> str | None:
        """The plain text, if there is one."""
        return self.data.get("text/plain")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Data for notebooks."""
        return self.data


class Execution:
    """The result of one execution; ``raw`` is its JSON."""

    def __init__(self, raw: Json) -> None:
        self.raw = raw
        self.number = int(raw["execution_num"])
        self.results = [Display(bundle) for bundle in raw.get("results") or []]

    @property
    def success(self) -> bool:
        """Whether the code succeeded."""
        return bool(self.raw["success"])

    @property
    def status(self) -> str:
        """SUCCESS, FAILED or TIMEOUT."""
        return str(self.raw["status"])

    @property
    def reason(self) -> str:
        """Why the execution ended, for example NonZeroExit; see docs/reasons.md."""
        return str(self.raw.get("reason") or "")

    @property
    def error(self) -> str | None:
        """Error text; None for a success."""
        found = self.raw.get("error")
        return None if found is None else str(found)

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process; None when the execution had no process of its own."""
        return _integer(self.raw.get("exit_code"))

    @property
    def stdout(self) -> str:
        """Text of stdout; shortened when raw["stdoutTruncated"]."""
        return str(self.raw.get("stdout") or "")

    @property
    def stderr(self) -> str:
        """Text of stderr."""
        return str(self.raw.get("stderr") or "")

    @property
    def duration_millis(self) -> int:
        """Duration in milliseconds."""
        return int(self.raw.get("durationMillis") or 0)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory in bytes; None when it was not measured."""
        return _integer(self.raw.get("peakMemoryBytes"))

    @property
    def sandbox_restarted(self) -> bool:
        """Whether the sandbox restarted before this execution ended; all contexts are lost."""
        return bool(self.raw.get("sandboxRestarted"))

    @property
    def context_new(self) -> bool:
        """Whether the execution started its context, without variables of earlier executions."""
        return bool(self.raw.get("contextNew"))

    def raise_for_status(self) -> "Execution":
        """Return this execution if it is a success.

        Raises:
            ExecutionFailed: the code failed.
        """
        if not self.success:
            raise ExecutionFailed(self)
        return self

    def __repr__(self) -> str:
        return f"<Execution {self.number} {self.status} {self.reason}>"

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        shown = [
            f"<pre>{html.escape(text[-SHOWN_CHARACTERS:])}</pre>"
            for text in (self.stdout, self.stderr)
            if text
        ]
        for one in self.results:
            if "image/png" in one.data:
                shown.append(f'<img src="data:image/png;base64,{one.data["image/png"]}">')
            elif one.html is not None:
                shown.append(one.html)
            elif one.text is not None:
                shown.append(f"<pre>{html.escape(one.text)}</pre>")
        return "".join(shown) or f"<div>{html.escape(self.status)}</div>"


def _integer(found: Any) -> int | None:
    return None if found is None else int(found)
