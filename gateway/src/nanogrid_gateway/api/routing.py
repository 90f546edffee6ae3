"""Registers routes: who may call them, and what an error looks like."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

from aiohttp import web

from nanogrid.kube.conventions import KubeError
from nanogrid.logs import about
from nanogrid.metrics.registry import OTHER
from nanogrid.reasons import Reason
from nanogrid_gateway.api.auth import Auth
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable
from nanogrid_gateway.api.limits import Limits
from nanogrid_gateway.api.responses import error_response
from nanogrid_gateway.api.reviews import Permission, User
from nanogrid_gateway.counted import with_reason

log = logging.getLogger("nanogrid.gateway")

FORBIDDEN: Final = 403

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Refusal = Callable[[web.Request, ApiError], web.StreamResponse]
Credentials = Callable[[web.Request], str | None]

NAMESPACE: Final = "namespace"  # the part of a path that names one
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Access:
    """Checks a known caller, also for permissions that depend on the content of a request."""

    auth: Auth
    user: User

    async def check(self, permission: Permission) -> None:
        """As :meth:`Auth.check`."""
        await self.auth.check(self.user, permission)


CALLER: web.RequestKey[User] = web.RequestKey("caller", User)
ACCESS: web.RequestKey[Access] = web.RequestKey("access", Access)
# The client's address, which a trusted proxy may report.
ADDRESS: web.RequestKey[str] = web.RequestKey("address", str)


def authorization_header(request: web.Request) -> str | None:
    """The Authorization header."""
    return request.headers.get("Authorization")


def _json_refusal(request: web.Request, error: ApiError) -> web.StreamResponse:
    return error_response(error)


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of one part: the API or the web page.

    Args:
        app: where the routes go.
        auth: checks callers.
        limits: of one caller.
        credentials: reads what a caller shows.
        refuse: makes the answer for an error.
    """

    app: web.Application
    auth: Auth
    limits: Limits
    _: KW_ONLY
    credentials: Credentials = authorization_header
    refuse: Refusal = _json_refusal

    def add(
        self,
        method: str,
        path: str,
        handler: Handler,
        permission: Permission,
        *others: Permission,
    ) -> None:
        """Add a route for callers with one of these permissions. GET includes HEAD.

        If the path has a part ``{namespace}``, the permission is checked in that namespace, before
        the handler runs.
        """
        self._register(method, path, handler, (permission, *others))

    def add_open(self, method: str, path: str, handler: Handler) -> None:
        """Add a route that is open to all. GET includes HEAD."""
        self._register(method, path, handler, ())

    def _register(
        self, method: str, path: str, handler: Handler, permissions: Sequence[Permission]
    ) -> None:
        async def serve(request: web.Request) -> web.StreamResponse:
            with about(_log_fields(request)):
                return await answered(request)

        async def answered(request: web.Request) -> web.StreamResponse:
            try:
                if not permissions:
                    return await handler(request)
                return await self._serve(request, handler, permissions)
            except Exception as e:
                if request.writer.output_size:
                    raise  # the status is sent already
                error = _api_error(request, e)
                return with_reason(self.refuse(request, error), error.reason)

        # A trailing slash does not matter.
        for variant in {path, path.rstrip("/") or "/", f"{path.rstrip('/')}/"}:
            if method == "GET":
                self.app.router.add_get(variant, serve, allow_head=True)
            else:
                self.app.router.add_route(method, variant, serve)

    async def _serve(
        self, request: web.Request, handler: Handler, permissions: Sequence[Permission]
    ) -> web.StreamResponse:
        if (namespace := request.match_info.get(NAMESPACE)) is not None:
            place = _valid(namespace)
            permissions = [permission.within(place) for permission in permissions]
        caller = await self.auth.caller(self.credentials(request), request[ADDRESS])
        access = Access(self.auth, caller)
        # First the limit: a path can name any namespace, and each one needs a review of its own.
        with self.limits.request(caller.name):
            await _check(access, permissions)
            request[ACCESS], request[CALLER] = access, caller
            return await handler(request)


def _valid(namespace: str) -> str:
    """A name that a namespace can have.

    Raises:
        ApiError: 404.
    """
    if not _NAMESPACE.fullmatch(namespace):
        message = f"A namespace cannot have the name {namespace!a}."
        raise ApiError(404, Reason.BAD_REQUEST, message)
    return namespace


async def _check(access: Access, permissions: Sequence[Permission]) -> None:
    """Check that the caller has one of the permissions.

    Raises:
        ApiError: as :meth:`Auth.check`; 403 names the last permission.
    """
    *others, last = permissions
    for permission in others:
        try:
            return await access.check(permission)
        except ApiError as e:
            if e.status != FORBIDDEN:
                raise
    return await access.check(last)


def pattern_of(request: web.Request) -> str:
    """The path of the route that a request has, with the names of its parts; or ``_other``."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else resource.canonical.rstrip("/") or "/"


def _log_fields(request: web.Request) -> dict[str, str]:
    """What logs about a request show."""
    fields = {"method": request.method, "path": request.path}
    named = request.match_info
    found = {
        "namespace": named.get(NAMESPACE),
        "function": named.get("function_id"),
        "requestId": named.get("request_id") or named.get("run_id"),
    }
    return fields | {name: text for name, text in found.items() if text}


def _api_error(request: web.Request, error: Exception) -> ApiError:
    """What the API answers for an error.

    Raises:
        ConnectionError: the client has gone.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, KubeError):
        return cluster_unavailable(str(error))
    if isinstance(error, ConnectionError | asyncio.CancelledError):
        raise error
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    message = "The gateway failed; its log has the traceback. Try again."
    return ApiError(500, Reason.INTERNAL_ERROR, message)
