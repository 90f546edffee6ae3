"""Who calls, and what the caller may do: the cluster's own word, or a file of tokens."""

import hashlib
import hmac
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from nanogrid import names
from nanogrid.envsettings import SettingsError
from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError, cluster_away
from nanogrid_gateway.api.kube import ACCESS_REVIEWS, TOKEN_REVIEWS, Kube
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway.auth")

V = TypeVar("V")

BEARER: Final = "bearer "
REMEMBERED: Final = 2000
DENIED_SECONDS: Final = 5.0  # a right that was just given counts soon
MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 16_384


@dataclass(frozen=True, slots=True)
class Right:
    """What a request needs: a verb on one of our kinds, by its plural."""

    verb: str
    resource: str


@dataclass(frozen=True, slots=True)
class User:
    """A caller as the API server knows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Auth(Protocol):
    """One way of letting callers in."""

    def admit(self, header: str | None, address: str, right: Right) -> str:
        """The caller's name.

        Raises:
            ApiError: 401, 403, or 503 when nobody can tell.
        """


def make_auth(settings: Settings, kube: Kube) -> Auth:
    """The way that the settings ask for.

    Raises:
        SettingsError: the file of tokens cannot be used.
    """
    if settings.auth_mode == "kubernetes":
        return KubernetesAuth(kube, settings.auth_audience, settings.auth_cache_seconds)
    if settings.auth_mode == "tokens":
        return TokenAuth(settings.auth_tokens_file)
    log.warning(
        "NANOGRID_AUTH_MODE=none: EVERYBODY who reaches this port may upload and run code, and "
        "read all results of namespace %s. For tests only.",
        settings.namespace,
    )
    return NoAuth()


class NoAuth:
    """Everybody; callers are told apart by their address."""

    def admit(self, header: str | None, address: str, right: Right) -> str:
        """The address."""
        return address


class TokenAuth:
    """Bearer tokens of a file with lines of NAME TOKEN, each of which may do everything."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._names: dict[bytes, str] = {}
        self._load()

    def admit(self, header: str | None, address: str, right: Right) -> str:
        """The name of the token's line."""
        digest = hashlib.sha256(bearer_token(header).encode()).digest()
        found = ""
        for known, name in self._load().items():
            if hmac.compare_digest(known, digest):
                found = name
        if not found:
            raise unauthorized("The token is not one of this gateway's")
        return found

    def _load(self) -> dict[bytes, str]:
        """The tokens' digests and names, read anew when the file has changed."""
        with self._lock:
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
                log.error("the tokens' file cannot be read, the last ones count: %s", e)
            except SettingsError as e:
                if self._version is None:
                    raise
                log.error("the last tokens count: %s", e)
            return self._names


def _tokens(text: str, path: str) -> dict[bytes, str]:
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 2 or len(words[1]) < MIN_TOKEN:
            raise SettingsError(
                f"{path}:{number}: expected NAME TOKEN, the token with at least {MIN_TOKEN} "
                "characters"
            )
        found[hashlib.sha256(words[1].encode()).digest()] = words[0]
    if not found:
        raise SettingsError(f"{path}: has no token")
    return found


class KubernetesAuth:
    """Bearer tokens that the cluster knows, with rights in the gateway's namespace.

    The API server's word is kept for some seconds, a denial for fewer; tokens only as digests.
    """

    def __init__(
        self,
        kube: Kube,
        audience: str,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._audience = audience
        self._users: Memory[User | None] = Memory(seconds, clock)
        self._rights: Memory[bool] = Memory(seconds, clock)

    def admit(self, header: str | None, address: str, right: Right) -> str:
        """The user's name."""
        token = bearer_token(header)
        key = hashlib.sha256(token.encode()).digest()
        try:
            user = self._users.get(key, lambda: self._review(token))
            if user is None:
                raise unauthorized("The cluster does not know the token")
            allowed = self._rights.get((user, right), lambda: self._allowed(user, right))
        except KubeError as e:
            raise cluster_away(f"checking the token: {e}") from e
        if not allowed:
            said = f"{user.name} may not {right.verb} {right.resource}.{names.GROUP} in namespace "
            said += f"{self._kube.namespace}. Ask for a role with that right."
            raise ApiError(403, Reason.FORBIDDEN, said)
        return user.name

    def _review(self, token: str) -> User | None:
        spec: dict[str, Any] = {"token": token}
        if self._audience:
            spec["audiences"] = [self._audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = self._kube.create(TOKEN_REVIEWS, body).get("status") or {}
        # An API server that does not know audiences would accept any token.
        heard = not self._audience or self._audience in (status.get("audiences") or [])
        if not status.get("authenticated") or not heard:
            return None
        user = status.get("user") or {}
        return User(
            name=user.get("username", ""),
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups") or ()),
            extra=tuple((k, tuple(v)) for k, v in sorted((user.get("extra") or {}).items())),
        )

    def _allowed(self, user: User, right: Right) -> bool:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "uid": user.uid,
                "groups": list(user.groups),
                "extra": {k: list(v) for k, v in user.extra},
                "resourceAttributes": {
                    "namespace": self._kube.namespace,
                    "verb": right.verb,
                    "group": names.GROUP,
                    "resource": right.resource,
                },
            },
        }
        return bool((self._kube.create(ACCESS_REVIEWS, body).get("status") or {}).get("allowed"))


class Memory(Generic[V]):
    """What was found out a short while ago; what is falsy is forgotten sooner."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable, find: Callable[[], V]) -> V:
        """What is known of a key, or what ``find`` finds out now; two may find out at once."""
        now = self._clock()
        with self._lock:
            known = self._known.get(key)
            if known is not None and now < known[0]:
                return known[1]
        found = find()
        seconds = self._seconds if found else min(self._seconds, DENIED_SECONDS)
        with self._lock:
            self._known[key] = (self._clock() + seconds, found)
            self._known.move_to_end(key)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found


def bearer_token(header: str | None) -> str:
    """The bearer token of an Authorization header.

    Raises:
        ApiError: 401, there is none.
    """
    if header is None or not header.lower().startswith(BEARER):
        raise unauthorized("There is no bearer token")
    token = header[len(BEARER) :].strip()
    if not token or len(token) > MAX_TOKEN:
        raise unauthorized("There is no bearer token of a sensible length")
    return token


def unauthorized(said: str) -> ApiError:
    """401: the caller is unknown."""
    return ApiError(401, Reason.UNAUTHORIZED, f"{said}. Send Authorization: Bearer TOKEN.")
