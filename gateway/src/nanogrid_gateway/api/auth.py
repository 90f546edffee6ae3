"""Authentication and authorization: by the cluster, or by a file of tokens."""

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from nanogrid import names
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.settings import SettingsError
from nanogrid.throttle import Attempts, TTLCache
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable, too_many_attempts
from nanogrid_gateway.api.reviews import KNOWN_CALLER, Permission, Reviews, User
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.kube.client import Kube

log = logging.getLogger("nanogrid.gateway.auth")

BEARER: Final = "bearer "
MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 16_384


class Auth(Protocol):
    """One way to check callers."""

    async def caller(self, header: str | None, address: str) -> User:
        """The caller.

        Args:
            header: the Authorization header.
            address: the caller's IP address.

        Raises:
            ApiError: 401 unknown caller, 429 too many attempts from this address, 503 the check
                itself failed.
        """

    async def check(self, user: User, permission: Permission) -> None:
        """Check that a caller has a permission.

        Args:
            user: the caller.
            permission: what the request needs; with :data:`KNOWN_CALLER` nothing.

        Raises:
            ApiError: 403 no permission, 503 the check itself failed.
        """


def make_auth(settings: Settings, kube: Kube) -> Auth:
    """The way that the settings name.

    Raises:
        SettingsError: the file of tokens cannot be used.
    """
    if settings.auth_mode == "kubernetes":
        return KubernetesAuth(kube, settings.auth_audience, settings.auth_cache_seconds)
    if settings.auth_mode == "tokens":
        return TokenAuth(settings.auth_tokens_file)
    log.warning(
        "NANOGRID_AUTH_MODE=none: EVERY CLIENT that reaches this port can upload and run code, and "
        "read all results of namespace %s. For tests only.",
        settings.namespace,
    )
    return NoAuth()


class NoAuth:
    """Allows all callers; their address is their name."""

    async def caller(self, header: str | None, address: str) -> User:
        """The address."""
        return User(address)

    async def check(self, user: User, permission: Permission) -> None:
        """All have all permissions."""


class TokenAuth:
    """Bearer tokens of a file with lines of NAME TOKEN; each may do everything."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._attempts = Attempts()
        self._version: tuple[int, int] | None = None
        self._names: dict[bytes, str] = {}
        self._load()

    async def caller(self, header: str | None, address: str) -> User:
        """The name of the token's line."""
        digest = hashlib.sha256(bearer_token(header).encode()).digest()
        found = ""
        for known, name in self._load().items():
            if hmac.compare_digest(known, digest):
                found = name
        if not found:
            if pause := self._attempts.begin(address):
                raise too_many_attempts(pause)
            raise unauthorized("This gateway does not know the token")
        return User(found)

    async def check(self, user: User, permission: Permission) -> None:
        """Each token of the file gives all permissions."""

    def _load(self) -> dict[bytes, str]:
        """The tokens' digests and names; reads the file again when it has changed."""
        try:
            stat = os.stat(self._path)
            version = (stat.st_mtime_ns, stat.st_ino)
            if version != self._version:
                with open(self._path, encoding="utf-8") as file:
                    self._names = _tokens(file.read(), self._path)
                self._version = version
        except OSError as e:
            if self._version is None:
                raise SettingsError(f"NANOGRID_AUTH_TOKENS_FILE: {e}") from e
            log.error("cannot read the file of tokens, the previous tokens stay valid: %s", e)
        except SettingsError as e:
            if self._version is None:
                raise
            log.error("the previous tokens stay valid: %s", e)
        return self._names


def _tokens(text: str, path: str) -> dict[bytes, str]:
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 2 or len(fields[1]) < MIN_TOKEN:
            raise SettingsError(
                f"{path}:{number}: expected NAME TOKEN, the token with at least {MIN_TOKEN} "
                "characters"
            )
        found[hashlib.sha256(fields[1].encode()).digest()] = fields[0]
    if not found:
        raise SettingsError(f"{path}: has no token")
    return found


class KubernetesAuth:
    """Bearer tokens that the cluster knows, with permissions in the namespace of each request.

    Answers of the API server are cached for some seconds, denials for fewer. Tokens are kept only
    as digests. A token that was not valid at its last review needs an attempt of its address, so
    that wrong tokens cause few reviews; other callers of that address are not affected.
    """

    def __init__(
        self,
        kube: Kube,
        audience: str,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = kube.namespace
        self._reviews = Reviews(kube, audience)
        self._users: TTLCache[User | None] = TTLCache(seconds, clock)
        self._permissions: TTLCache[bool] = TTLCache(seconds, clock)
        self._attempts = Attempts(clock)

    async def caller(self, header: str | None, address: str) -> User:
        """The user."""
        token = bearer_token(header)
        key = hashlib.sha256(token.encode()).digest()
        try:
            user = await self._users.get(key, lambda: self._limited_review(key, token, address))
        except KubeError as e:
            raise cluster_unavailable(f"checking the token: {e}") from e
        if user is None:
            raise unauthorized("The cluster does not know the token")
        return user

    async def check(self, user: User, permission: Permission) -> None:
        """Ask the API server, unless its last answer still counts."""
        if permission == KNOWN_CALLER:
            return
        try:
            allowed = await self._permissions.get(
                (user, permission), lambda: self._reviews.allows(user, permission)
            )
        except KubeError as e:
            raise cluster_unavailable(f"checking the permission: {e}") from e
        if not allowed:
            what = f"{permission.verb} {permission.resource}.{names.GROUP}"
            # The same for a namespace that does not exist, so it says nothing about the namespace.
            where = permission.namespace or self._namespace
            message = f"{user.name} may not {what} in namespace {where}."
            hint = "Ask for a role with that permission."
            raise ApiError(403, Reason.FORBIDDEN, message, hint=hint)

    async def _limited_review(self, key: bytes, token: str, address: str) -> User | None:
        """A review that counts as an attempt, unless the token was valid the last time."""
        if self._users.was_granted(key):
            return await self._reviews.user_of(token)
        if pause := self._attempts.begin(address):
            raise too_many_attempts(pause)
        user = await self._reviews.user_of(token)
        if user is not None:
            self._attempts.succeeded(address)
        return user


def bearer_token(header: str | None) -> str:
    """The bearer token of an Authorization header.

    Raises:
        ApiError: 401, there is none.
    """
    if header is None or not header.lower().startswith(BEARER):
        raise unauthorized("There is no bearer token")
    token = header[len(BEARER) :].strip()
    if not token or len(token) > MAX_TOKEN or not token.isascii():
        raise unauthorized("There is no bearer token of ASCII characters and a valid length")
    return token


def unauthorized(message: str) -> ApiError:
    """401: the caller is unknown."""
    hint = "Send Authorization: Bearer TOKEN."
    return ApiError(401, Reason.UNAUTHORIZED, f"{message}.", hint=hint)
