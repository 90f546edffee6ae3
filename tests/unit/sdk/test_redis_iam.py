"""Tokens of IAM for Redis: what is signed, with which credentials, and how long it is used."""

import asyncio
import datetime
import hashlib
import hmac
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import botocore.auth
import pytest
from botocore.credentials import ReadOnlyCredentials
from redis.asyncio.connection import SSLConnection

from nanogrid import redis_iam
from nanogrid.reasons import Reason
from nanogrid.redis_clients import connection_options
from nanogrid.redis_iam import IamCredentials, Signer, TokenError, signed
from nanogrid.redis_role import Iam
from nanogrid.redis_url import RedisServer
from support.fake_clock import FakeClock
from support.sts import GRANTED, REFUSED, ROLE_ARN, sts
from support.waiting import WAIT_SECONDS

IAM = Iam(
    service="elasticache",
    cache="results",
    region="ap-northeast-2",
    user="nanogrid-operator",
    account="nanogrid",
)
KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "secret-example", None, None)
NOW = datetime.datetime(2026, 12, 1, 10, 20, 30)  # noqa: DTZ001  botocore's own form of UTC


@pytest.fixture
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: NOW)


def signature(token: str, secret: str, region: str, service: str) -> str:
    """The signature of a token, computed from the rules of Signature Version 4 alone."""
    host, _, query = token.partition("/?")
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, strict_parsing=True)
        if name != "X-Amz-Signature"
    )
    canonical = "\n".join(
        ["GET", "/", "&".join(f"{n}={v}" for n, v in pairs), f"host:{host}", "", "host",
         hashlib.sha256(b"").hexdigest()]
    )  # fmt: skip
    day = f"{NOW:%Y%m%d}"
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{NOW:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}"
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def parameters(token: str) -> dict[str, str]:
    return dict(parse_qsl(token.partition("/?")[2], strict_parsing=True))


# What is signed.


@pytest.mark.usefixtures("fixed_time")
@pytest.mark.parametrize("session", [None, "session+token/=="])
@pytest.mark.parametrize(
    ("service", "signs", "kind"),
    [
        ("elasticache", "elasticache", None),
        ("elasticache-serverless", "elasticache", "ServerlessCache"),
        ("memorydb", "memorydb", None),
    ],
)
def test_a_token_is_a_signed_request_to_connect(
    service: str, signs: str, kind: str | None, session: str | None
) -> None:
    keys = KEYS._replace(token=session)
    token = signed(replace(IAM, service=service, cache="My-Results"), keys)

    assert token.startswith("my-results/?Action=connect&User=nanogrid-operator&")
    given = parameters(token)
    assert given.pop("X-Amz-Signature") == signature(token, keys.secret_key, IAM.region, signs)
    assert given.pop("ResourceType", None) == kind
    assert given.pop("X-Amz-Security-Token", None) == session
    assert given == {
        "Action": "connect",
        "User": IAM.user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"AKIDEXAMPLE/20261201/ap-northeast-2/{signs}/aws4_request",
        "X-Amz-Date": "20261201T102030Z",
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
    }


# With which credentials.


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod without a role, with the keys of S3."""
    for name in (
        "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE", "AWS_DEFAULT_REGION",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFS3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret of S3")
    return tmp_path


def test_the_role_of_the_pod_signs_and_not_the_keys_of_s3(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sts(pod, monkeypatch) as served:
        signer = Signer(IAM)
        tokens = [signer.token() for _ in range(2)]

    for token in tokens:
        assert parameters(token)["X-Amz-Credential"].startswith("ASIAROLE/")
        assert parameters(token)["X-Amz-Security-Token"] == "role+session/token=="
    (request,) = served.requests  # the credentials are good for both
    assert (request["RoleArn"], request["WebIdentityToken"]) == (ROLE_ARN, "the pod's token")


@pytest.mark.usefixtures("pod")
def test_a_pod_without_a_role_is_an_error_that_names_account_and_annotation() -> None:
    with pytest.raises(TokenError) as caught:
        Signer(IAM).token()

    assert caught.value.reason is Reason.REDIS_ACCESS_DENIED
    assert "service account nanogrid has no AWS role" in str(caught.value)
    assert "eks.amazonaws.com/role-arn" in str(caught.value)
    assert "Pod Identity" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "reason", "parts"),
    [
        (403, Reason.REDIS_ACCESS_DENIED, ["AccessDenied", "trust policy", "account nanogrid"]),
        (500, Reason.REDIS_UNAVAILABLE, ["STS does not answer"]),
    ],
)
def test_a_refusal_of_sts_is_an_error_with_its_reason(
    status: int, reason: Reason, parts: list[str], pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sts(pod, monkeypatch) as served:
        served.status, served.answer = status, REFUSED
        signer = Signer(IAM)
        with pytest.raises(TokenError) as caught:
            signer.token()
        tries = len(served.requests)
        served.status, served.answer = 200, GRANTED
        assert parameters(signer.token())["X-Amz-Credential"].startswith("ASIAROLE/")

    assert caught.value.reason is reason
    for part in parts:
        assert part in str(caught.value)
    assert tries <= redis_iam.TRIES


def test_an_sts_that_is_away_is_an_error(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sts(pod, monkeypatch):
        pass  # it ends, and its address stays in the environment

    with pytest.raises(TokenError, match="cannot get AWS credentials") as caught:
        Signer(IAM).token()
    assert caught.value.reason is Reason.REDIS_UNAVAILABLE


# How long a token is used.


class Tokens:
    """Makes tokens 1, 2 …; a test can hold it up, or let it fail."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def __call__(self) -> str:
        assert self.free.wait(WAIT_SECONDS)
        self.made += 1
        if self.error is not None:
            raise self.error
        return f"token {self.made}"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110  other tasks make it true
            await asyncio.sleep(0.001)


async def test_connections_share_a_token_and_its_renewal() -> None:
    sign, clock = Tokens(), FakeClock()
    provider = IamCredentials(IAM, sign, clock)
    sign.free.clear()
    connections = [asyncio.create_task(provider.get_credentials_async()) for _ in range(20)]
    await asyncio.sleep(0)
    sign.free.set()

    assert set(await asyncio.gather(*connections)) == {(IAM.user, "token 1")}
    clock.now += redis_iam.RENEW_SECONDS - 1
    assert await provider.get_credentials_async() == (IAM.user, "token 1")
    assert sign.made == 1


async def test_a_token_is_renewed_long_before_its_end_and_no_connection_waits_for_it() -> None:
    sign, clock = Tokens(), FakeClock()
    provider = IamCredentials(IAM, sign, clock)
    await provider.get_credentials_async()
    assert redis_iam.RENEW_SECONDS < redis_iam.USABLE_SECONDS < redis_iam.TOKEN_SECONDS

    clock.now += redis_iam.RENEW_SECONDS
    sign.free.clear()
    assert await provider.get_credentials_async() == (IAM.user, "token 1"), "it is still good"
    sign.free.set()
    await until(lambda: provider._renewal is None)
    assert await provider.get_credentials_async() == (IAM.user, "token 2")
    assert sign.made == 2


async def test_a_token_that_may_have_ended_is_not_used() -> None:
    sign, clock = Tokens(), FakeClock()
    provider = IamCredentials(IAM, sign, clock)
    await provider.get_credentials_async()

    clock.now += redis_iam.USABLE_SECONDS
    assert await provider.get_credentials_async() == (IAM.user, "token 2")
    clock.now += redis_iam.USABLE_SECONDS
    sign.error = TokenError("no role", Reason.REDIS_ACCESS_DENIED)
    with pytest.raises(TokenError, match="no role"):
        await provider.get_credentials_async()
    sign.error = None
    assert await provider.get_credentials_async() == (IAM.user, "token 4")


async def test_a_failed_renewal_leaves_the_token_that_is_still_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sign, clock = Tokens(), FakeClock()
    provider = IamCredentials(IAM, sign, clock)
    await provider.get_credentials_async()

    clock.now += redis_iam.USABLE_SECONDS - 1
    sign.error = TokenError("STS does not answer", Reason.REDIS_UNAVAILABLE)
    assert await provider.get_credentials_async() == (IAM.user, "token 1")
    await until(lambda: "STS does not answer" in caplog.text)


async def test_a_thread_that_hangs_holds_up_a_connection_for_a_time_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_iam, "WAIT_SECONDS", 0.01)
    sign = Tokens()
    provider = IamCredentials(IAM, sign, FakeClock())
    sign.free.clear()
    for _ in range(3):
        with pytest.raises(TokenError, match=r"within 0\.01 s"):
            await provider.get_credentials_async()
    sign.free.set()
    await until(lambda: provider._renewal is None)

    assert await provider.get_credentials_async() == (IAM.user, "token 1")
    assert sign.made == 1, "one thread, not one per connection"


# The connections.


def test_a_client_with_a_role_has_tls_and_no_password() -> None:
    server = RedisServer(url="rediss://nanogrid-operator@r:6379/0", username="other", iam=IAM)
    options: dict[str, Any] = connection_options(server)

    assert isinstance(options["credential_provider"], IamCredentials)
    assert not options.keys() & {"username", "password"}
    connection = options.pop("connection_class")(**options)  # the library accepts them together
    assert isinstance(connection, SSLConnection)
    assert connection.host == "r"


def test_who_uses_a_password_does_not_import_botocore() -> None:
    code = "import nanogrid.redis_clients, sys; print([m for m in sys.modules if 'boto' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
