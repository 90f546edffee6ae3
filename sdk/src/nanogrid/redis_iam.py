"""Redis of AWS as an IAM role: the password is a token that AWS accepts for 15 minutes.

The token is a request to connect that is signed and never sent. The signature needs credentials of
the pod's role. They come over HTTP, which blocks, so a thread fetches them. botocore is imported
there, because installations with a password do not need it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.connection import SSLConnection
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError

from nanogrid.logs import background
from nanogrid.reasons import Reason
from nanogrid.redis_role import Iam

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

log = logging.getLogger("nanogrid.redis")

TOKEN_SECONDS: Final = 900
# AWS refuses a token also when the credentials that signed it end. botocore renews these at least
# ten minutes before that, so a token is good for ten minutes.
USABLE_SECONDS: Final = 600.0
RENEW_SECONDS: Final = 300.0
WAIT_SECONDS: Final = 3.0  # of a new connection, for a token
CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 3.0
TRIES: Final = 2
ROLE: Final = "eks.amazonaws.com/role-arn"
# The keys of S3 are no identity of this pod: operator and gateway share them. The role of a node is
# none either: every pod of the node can have it.
_NOT_OF_THE_POD: Final = ("env", "iam-role")


class TokenError(RedisError):
    """There is no token; no connection was authenticated.

    Attributes:
        reason: RedisAccessDenied, if somebody has to grant something, else RedisUnavailable.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class IamCredentials(CredentialProvider):
    """User and token of each new connection. Connections share a token, and its renewal.

    Args:
        iam: the cache, and as whom to connect.
        sign: makes a token; it blocks, and raises TokenError.
        clock: seconds.
    """

    def __init__(
        self,
        iam: Iam,
        sign: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user = iam.user
        self._sign = sign or signer_of(iam).token
        self._clock = clock
        self._token, self._made = "", -USABLE_SECONDS
        self._renewal: asyncio.Task[None] | None = None

    async def get_credentials_async(self) -> tuple[str, str]:
        """The user, and a token that is good for minutes.

        Raises:
            TokenError: there is none, or none in time; a later call may get it.
        """
        if self._age >= RENEW_SECONDS and self._renewal is None:
            self._renewal = background(self._renew())
            self._renewal.add_done_callback(_log_failure)
        if self._age >= USABLE_SECONDS and self._renewal is not None:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await asyncio.shield(self._renewal)
            except TimeoutError:
                raise TokenError(
                    f"AWS did not give credentials of the pod's role within {WAIT_SECONDS:g} s",
                    Reason.REDIS_UNAVAILABLE,
                ) from None
        return self._user, self._token

    @property
    def _age(self) -> float:
        return self._clock() - self._made

    async def _renew(self) -> None:
        made = self._clock()
        try:
            self._token = await asyncio.to_thread(self._sign)
            self._made = made
        finally:
            self._renewal = None


class Signer:
    """Makes tokens with the role of this pod; blocks. Safe for threads."""

    def __init__(self, iam: Iam) -> None:
        self._iam = iam
        self._lock = threading.Lock()
        self._credentials: Any = None  # of botocore, which renews them by itself

    def token(self) -> str:
        """A token that is valid from now on.

        Raises:
            TokenError: the pod has no role, or AWS does not give its credentials.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        iam = self._iam
        try:
            return signed(iam, self._role_credentials())
        except ClientError as e:
            raise _refused(e, iam) from e
        except (BotoCoreError, OSError) as e:
            raise TokenError(
                f"cannot get AWS credentials of the pod's role: {e}", Reason.REDIS_UNAVAILABLE
            ) from e

    def _role_credentials(self) -> "ReadOnlyCredentials":
        iam = self._iam
        with self._lock:
            if self._credentials is None:
                self._credentials = _session(iam.region).get_credentials()
            if self._credentials is None:
                raise TokenError(
                    f"the service account {iam.account or 'of this pod'} has no AWS role: annotate "
                    f"it with {ROLE}, or associate it with a role (EKS Pod Identity), and restart "
                    "the pod",
                    Reason.REDIS_ACCESS_DENIED,
                )
            found: ReadOnlyCredentials = self._credentials.get_frozen_credentials()
        return found


@cache
def signer_of(iam: Iam) -> Signer:
    """The one of this process: all its clients share the credentials of the role."""
    return Signer(iam)


def signed(iam: Iam, credentials: "ReadOnlyCredentials") -> str:
    """A token, signed now with these credentials."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    params = {"Action": "connect", "User": iam.user}
    if iam.serverless:
        params["ResourceType"] = "ServerlessCache"
    request = AWSRequest(method="GET", url=f"http://{iam.stored_cache}/", params=params)
    SigV4QueryAuth(credentials, iam.api, iam.region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix("http://")


def connection_class(iam: Iam) -> type[SSLConnection]:
    """Connections with TLS that say why AWS refuses a token."""

    class IamConnection(SSLConnection):
        """A connection that is authenticated or closed, also when its caller is cancelled."""

        async def on_connect_check_health(self, check_health: bool = True) -> None:
            """Authenticate.

            Raises:
                AuthenticationError: Redis refuses the token.
            """
            try:
                await super().on_connect_check_health(check_health)
            except AuthenticationError as e:
                said = str(e).rstrip(".")
                raise AuthenticationError(f"{said}: {_grants(iam)}") from e
            except asyncio.CancelledError:
                # The library would keep the connection, and use it without authentication.
                await self.disconnect(nowait=True)
                raise

    return IamConnection


def _grants(iam: Iam) -> str:
    return (
        f"the role needs {iam.api}:Connect on the cache {iam.stored_cache} and the user "
        f"{iam.user}; the user needs IAM authentication, and an ID that equals its name; redis.iam "
        "must have the name, service and region of the cache"
    )


def _session(region: str) -> Any:
    """A session that finds the role of the pod, and no other credentials."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    if session.get_config_variable("region") is None:  # where STS is; EKS sets it with the role
        session.set_config_variable("region", region)
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": TRIES},
        )
    )
    for name in _NOT_OF_THE_POD:
        session.get_component("credential_provider").remove(name)
    return session


def _refused(error: Any, iam: Iam) -> TokenError:
    """The error for an answer of STS."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500:
        return TokenError(f"STS does not answer: {error}", Reason.REDIS_UNAVAILABLE)
    return TokenError(
        f"STS refuses the role of the service account {iam.account or 'of this pod'}: {error}. Its "
        f"annotation {ROLE} must name the role, and the role's trust policy this service account",
        Reason.REDIS_ACCESS_DENIED,
    )


def _log_failure(renewal: "asyncio.Task[None]") -> None:
    """No connection may be left that waits for it."""
    if not renewal.cancelled() and (error := renewal.exception()) is not None:
        log.warning("no token for Redis: %s", error)
