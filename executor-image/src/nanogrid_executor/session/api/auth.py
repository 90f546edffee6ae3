"""Authentication of the session's API: the session's bearer token."""

import hmac
import os
import threading

from nanogrid.reasons import Reason
from nanogrid.throttle import Attempts
from nanogrid_executor.log import log
from nanogrid_executor.session.errors import ApiError

SCHEME = "bearer "
HINT = "Send `Authorization: Bearer TOKEN` with the token of the session's Secret."


class Auth:
    """Compares tokens."""

    def __init__(self, token_file: str, given: str | None = None) -> None:
        """Nothing is read before a request.

        Args:
            token_file: has the token. Without it, the job's spec disables tokens.
            given: the token instead of the file, or an empty text if tokens are disabled.
        """
        self._file, self._given = token_file, given
        self.required = os.path.exists(token_file) if given is None else bool(given)
        self._attempts, self._lock = Attempts(), threading.Lock()
        log("session-auth", required=self.required)

    def check(self, header: str | None, address: str) -> None:
        """Accept a request, or refuse it.

        Args:
            header: the request's ``Authorization``.
            address: of the client.

        Raises:
            ApiError: 401, or 429 after too many of them for one address.
        """
        problem = self.problem(header)
        if not problem:
            return
        with self._lock:
            pause = self._attempts.begin(address)
        if pause:
            message = "Too many requests without the session's token come from this address."
            raise ApiError(429, Reason.RATE_LIMITED, f"{message} {HINT}", retry_after=pause)
        raise ApiError(401, Reason.UNAUTHORIZED, f"{problem} {HINT}")

    def problem(self, header: str | None) -> str:
        """What is wrong with a request's ``Authorization``; empty if it is the session's token."""
        if not self.required:
            return ""
        if header is None or not header.lower().startswith(SCHEME):
            return "The request has no bearer token."
        expected = self._expected()
        given = header[len(SCHEME) :].strip()
        if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
            return "The token is not this session's."
        return ""

    def _expected(self) -> str:
        if self._given is not None:
            return self._given
        # Read each time: the kubelet may replace the file.
        with open(self._file, encoding="ascii") as file:
            return file.read().strip()
