"""Who may enter which session. Pure: headers and the table in, a grant or a denial out.

Nothing of a session, not even whether it exists, is told before the caller has proven a right to
it: in token mode an unknown session and a wrong token get the same answer in the same time.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.router.cookie import Claim
from nanogrid_gateway.router.objects import Address, Job
from nanogrid_gateway.router.settings import Settings

BEARER = "bearer "
NOBODY = "00000000-0000-0000-0000-000000000000"  # an unknown session costs the same work


@dataclass(frozen=True, slots=True)
class Denial:
    """The request goes no further."""

    status: int
    reason: Reason
    detail: str = ""


class Sessions(Protocol):
    """Where sessions are looked up."""

    def job(self, address: Address) -> Job | None:
        """The session of that namespace and name."""


class Access:
    """The rules of one installation."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._settings = settings
        self._sessions = sessions
        self._values = settings.allowed_header_values

    def admit(
        self, address: Address | None, headers: Mapping[str, str], claim: Claim | None
    ) -> Job | Denial:
        """The session that a request is for, if its caller may use it.

        Args:
            address: the session that the path names; None for the plain, older paths.
            headers: the request's, case-insensitive.
            claim: what its cookie says, if it is valid.
        """
        if self._settings.auth_mode == "header":
            return self._by_header(address, headers, claim)
        bearer = bearer_token(headers)
        if address is None:
            return self._by_claim(claim, bearer)
        if bearer is not None:
            return self._by_token(address, bearer)
        if claim is not None and claim.address == address:
            return self._by_claim(claim, None)
        job = self._sessions.job(address)
        if job is not None and job.open and self._settings.allow_open_sessions:
            return job
        return Denial(401, Reason.UNAUTHORIZED)

    def _by_header(
        self, address: Address | None, headers: Mapping[str, str], claim: Claim | None
    ) -> Job | Denial:
        name = self._settings.auth_header
        value = headers.get(name)
        if not value:
            return Denial(401, Reason.UNAUTHORIZED, f"The header {name} is missing")
        if self._values and value not in self._values:
            return Denial(403, Reason.UNAUTHORIZED, f"The value of {name} may not enter")
        if address is None:
            return self._by_claim(claim, None)
        return self._sessions.job(address) or Denial(404, Reason.SESSION_NOT_FOUND)

    def _by_token(self, address: Address, bearer: str) -> Job | Denial:
        job = self._sessions.job(address)
        wanted = names.session_token(self._settings.key, job.uid if job else NOBODY)
        right = hmac.compare_digest(bearer.encode(), wanted.encode())
        return job if right and job is not None else Denial(401, Reason.UNAUTHORIZED)

    def _by_claim(self, claim: Claim | None, bearer: str | None) -> Job | Denial:
        if claim is None:
            return Denial(401, Reason.UNAUTHORIZED, "There is no valid session cookie either")
        if bearer is not None:  # a client of several sessions: both must mean the same one
            wanted = names.session_token(self._settings.key, claim.uid)
            if not hmac.compare_digest(bearer.encode(), wanted.encode()):
                return Denial(401, Reason.UNAUTHORIZED, "Token and cookie name two sessions")
        job = self._sessions.job(claim.address)
        if job is None or job.uid != claim.uid:
            return Denial(404, Reason.SESSION_NOT_FOUND, "The session of the cookie is gone")
        return job


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The bearer token of a request, if it has an Authorization header of that scheme."""
    value = headers.get("Authorization", "")
    return value[len(BEARER) :].strip() if value.lower().startswith(BEARER) else None
