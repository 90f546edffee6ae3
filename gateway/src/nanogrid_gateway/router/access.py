"""Authorization: may this caller use this session? Pure: headers and the table in, no I/O.

The router reveals nothing about a session, not even its existence, before the caller has proven
its permission: in token mode an unknown session and a wrong token get the same answer in the same
time.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.router.cookie import SessionCookie
from nanogrid_gateway.router.sessions import Address, Job
from nanogrid_gateway.router.settings import RouterSettings

BEARER = "bearer "
UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"  # an unknown session takes the same time


@dataclass(frozen=True, slots=True)
class Denial:
    """The request is rejected with this status and reason."""

    status: int
    reason: Reason
    detail: str = ""


class Sessions(Protocol):
    """Looks up sessions."""

    def job(self, address: Address) -> Job | None:
        """The session with that namespace and name."""


class AccessPolicy:
    """The access rules of one installation."""

    def __init__(
        self,
        settings: RouterSettings,
        sessions: Sessions,
        network_problem: Callable[[], str] = str,
    ) -> None:
        """``network_problem`` is why nothing keeps others from the router; empty if it is kept."""
        self._settings = settings
        self._network_problem = network_problem
        self._sessions = sessions
        self._allowed_values = settings.allowed_header_values

    def authorize(
        self, address: Address | None, headers: Mapping[str, str], cookie: SessionCookie | None
    ) -> Job | Denial:
        """The session of a request, if its caller may use it.

        Args:
            address: the session in the path; None for the plain, older paths.
            headers: the request's headers, case-insensitive.
            cookie: the content of its session cookie, if valid.
        """
        if self._settings.auth_mode == "header":
            return self._by_header(address, headers, cookie)
        bearer = bearer_token(headers)
        if address is None:
            return self._by_cookie(cookie, bearer)
        if bearer is not None:
            return self._by_token(address, bearer)
        if cookie is not None and cookie.address == address:
            return self._by_cookie(cookie, None)
        job = self._sessions.job(address)
        if job is not None and job.unprotected and self._settings.allow_open_sessions:
            return job
        return Denial(401, Reason.UNAUTHORIZED)

    def _by_header(
        self, address: Address | None, headers: Mapping[str, str], cookie: SessionCookie | None
    ) -> Job | Denial:
        if problem := self._network_problem():
            return Denial(503, Reason.NETWORK_NOT_ENFORCED, problem)
        name = self._settings.auth_header
        value = headers.get(name)
        if not value:
            return Denial(401, Reason.UNAUTHORIZED, f"The header {name} is missing")
        if self._allowed_values and value not in self._allowed_values:
            return Denial(403, Reason.UNAUTHORIZED, f"The value of {name} is not allowed")
        if address is None:
            return self._by_cookie(cookie, None)
        return self._sessions.job(address) or Denial(404, Reason.SESSION_NOT_FOUND)

    def _by_token(self, address: Address, bearer: str) -> Job | Denial:
        job = self._sessions.job(address)
        expected = names.session_token(self._settings.key, job.uid if job else UNKNOWN_UID)
        matches = hmac.compare_digest(bearer.encode(), expected.encode())
        return job if matches and job is not None else Denial(401, Reason.UNAUTHORIZED)

    def _by_cookie(self, cookie: SessionCookie | None, bearer: str | None) -> Job | Denial:
        if cookie is None:
            return Denial(401, Reason.UNAUTHORIZED, "It has no valid session cookie either")
        if bearer is not None:  # a client of several sessions: both must name the same one
            expected = names.session_token(self._settings.key, cookie.uid)
            if not hmac.compare_digest(bearer.encode(), expected.encode()):
                detail = "The token and the cookie belong to different sessions"
                return Denial(401, Reason.UNAUTHORIZED, detail)
        job = self._sessions.job(cookie.address)
        if job is None or job.uid != cookie.uid:
            detail = "The session of the cookie no longer exists"
            return Denial(404, Reason.SESSION_NOT_FOUND, detail)
        return job


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The bearer token of the Authorization header; None for another scheme or no header."""
    value = headers.get("Authorization", "")
    return value[len(BEARER) :].strip() if value.lower().startswith(BEARER) else None
