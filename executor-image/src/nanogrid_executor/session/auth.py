"""Who may use the session's API: whoever has its token."""

import hmac
import os

from nanogrid.reasons import Reason
from nanogrid_executor.log import log
from nanogrid_executor.session.errors import ApiError

SCHEME = "bearer "


class Auth:
    """Compares tokens. Without a file at the start, nothing is asked: the job's spec says so."""

    def __init__(self, token_file: str) -> None:
        self._file = token_file
        self.required = os.path.exists(token_file)
        log("session-auth", required=self.required)

    def check(self, header: str | None) -> None:
        """Let in, or refuse.

        Args:
            header: the request's ``Authorization``.

        Raises:
            ApiError: 401.
        """
        if not self.required:
            return
        if header is None or not header.lower().startswith(SCHEME):
            raise _refusal("The request has no bearer token.")
        # Read each time: the kubelet may replace it.
        with open(self._file, encoding="ascii") as file:
            wanted = file.read().strip()
        given = header[len(SCHEME) :].strip()
        if not wanted or not hmac.compare_digest(given.encode(), wanted.encode()):
            raise _refusal("The token is not this session's.")


def _refusal(why: str) -> ApiError:
    cure = "Send `Authorization: Bearer TOKEN` with the token of the session's Secret."
    return ApiError(401, Reason.UNAUTHORIZED, f"{why} {cure}")
