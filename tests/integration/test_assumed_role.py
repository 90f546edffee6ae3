"""S3 by an assumed role: with a real STS and S3 server, and with servers that tests can break."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.assumed_role import AssumedRole
from nanogrid.reasons import Reason
from nanogrid.s3.client import S3
from nanogrid.s3.errors import S3Error
from nanogrid_executor.inputs import fetch
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage import role_credentials, sts
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.role_credentials import RoleCredentials, SharedCredentials, shared
from nanogrid_executor.storage.s3 import Storage
from support.certificates import certificates
from support.executor_sync import fail, make_code, make_input, succeed, zipped
from support.fake_s3 import Content, FakeS3
from support.fake_sts import (
    AGENT_PATH,
    AGENT_TOKEN,
    ARN,
    BASE_KEY,
    BASE_SECRET,
    OWN_ROLE,
    WEB_TOKEN,
    FakeSts,
    fake_sts,
)
from support.role_server import FOLDER, ROLE, running_role_server
from support.s3_server import BUCKET, S3Server, make_rules

pytestmark = pytest.mark.integration

IDENTITY = (*sts.ENV_KEYS, sts.ENV_TOKEN, *sts.ENV_ROLE, *sts.ENV_AGENT)


@pytest.fixture(scope="module")
def role_server() -> Iterator[S3Server]:
    with running_role_server() as server:
        yield server


def be_base(monkeypatch: pytest.MonkeyPatch, s3: str, sts_endpoint: str, role: str) -> None:
    """The environment of a pod whose keys may only assume a role."""
    for name in IDENTITY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", BASE_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", BASE_SECRET)
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, s3)
    monkeypatch.setenv(names.ENV_S3_REGION, "us-east-1")
    monkeypatch.setenv(names.ENV_S3_ROLE_ARN, role)
    monkeypatch.setenv(names.ENV_S3_ROLE_SESSION, "team-a.hello")
    monkeypatch.setenv(names.ENV_STS_ENDPOINT, sts_endpoint)
    shared.cache_clear()


@pytest.fixture
def real(role_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    be_base(monkeypatch, role_server.endpoint, role_server.endpoint, ROLE)
    return role_server


# The real server.


def test_a_job_reads_and_writes_by_the_role_and_not_by_its_own_keys(
    real: S3Server, paths: Paths, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.put(f"{FOLDER}data/a.csv", b"1,2")
    real.put(f"{FOLDER}code.zip", zipped({"main.py": b"print('hello')"}))
    code = make_code(f"{FOLDER}code.zip")
    given = make_input(key=f"{FOLDER}data/a.csv")

    # The role outside of its folder, and the pod without the role.
    real.put("team-b/a.csv", b"1,2")
    other = fail(paths, make_input(key="team-b/a.csv"))
    assert other.reason == Reason.INPUT_ACCESS_DENIED.value
    monkeypatch.delenv(names.ENV_S3_ROLE_ARN)
    refused = fail(paths, given, **code)
    assert refused.reason == Reason.INPUT_ACCESS_DENIED.value
    assert "AccessDenied" in refused.message

    monkeypatch.setenv(names.ENV_S3_ROLE_ARN, ROLE)
    assert succeed(paths, given, **code).report.files == 2
    ended = run(
        "import os; os.makedirs('output', exist_ok=True); open('output/f', 'w').write('x')\n"
        "print(sorted(k for k in os.environ if k.startswith(('AWS_', 'NANOGRID_'))))",
        bucket=BUCKET,
        root=FOLDER,
        outputs=make_rules(prefix=f"{FOLDER}outputs/r-1/"),
    )
    assert ended.result.reason == Reason.COMPLETED.value, ended.agent_log
    assert ended.result.stdout.strip() == "[]"
    assert real.get(f"{FOLDER}outputs/r-1/f") == b"x"
    assert real.get(f"{FOLDER}results/r-1/result.json")


def operator_s3(endpoint: str, sts_endpoint: str, role: str, **more: Any) -> S3:
    external_id = more.pop("external_id", "")
    found = AssumedRole.of(
        role,
        "nanogrid-operator",
        external_id=external_id,
        endpoint=sts_endpoint,
        region="us-east-1",
    )
    given: dict[str, Any] = {"connect": 5, "read": 10, "tries": 1, "role": found if role else None}
    return S3(endpoint, "us-east-1", **given | more)


def test_operator_and_gateway_use_the_role_and_not_their_own_keys(
    real: S3Server, tmp_path: Path
) -> None:
    client = operator_s3(real.endpoint, real.endpoint, ROLE)
    assert client.put(BUCKET, f"{FOLDER}results/x", b"x", only_if_absent=True)
    assert client.read(BUCKET, f"{FOLDER}results/x", 10) == b"x"
    (tmp_path / "f").write_bytes(b"y")
    client.upload(str(tmp_path / "f"), BUCKET, f"{FOLDER}f")
    with pytest.raises(S3Error) as error:
        client.put(BUCKET, "team-b/x", b"x")
    assert error.value.cause.reason is Reason.INPUT_ACCESS_DENIED
    client.close()

    own = operator_s3(real.endpoint, real.endpoint, "")
    with pytest.raises(S3Error) as error:
        own.read(BUCKET, f"{FOLDER}results/x", 10)
    assert error.value.cause.reason is Reason.INPUT_ACCESS_DENIED
    own.close()


def test_a_role_that_does_not_trust_these_keys(
    real: S3Server, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "arn:aws:iam::role/data-of-team-b"
    monkeypatch.setenv(names.ENV_S3_ROLE_ARN, other)
    refused = fail(paths, make_input(key=f"{FOLDER}a"))
    assert refused.reason == Reason.INPUT_ACCESS_DENIED.value
    assert f"cannot assume {other}: AccessDenied" in refused.message
    with pytest.raises(S3Error, match=f"cannot assume {other}: AccessDenied.*trust policy"):
        operator_s3(real.endpoint, real.endpoint, other).check(BUCKET)


# Servers that tests can break.


@pytest.fixture
def tokens(bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSts]:
    """An STS whose credentials alone the bucket accepts."""
    with fake_sts() as server:
        be_base(monkeypatch, bucket.endpoint, server.endpoint, ARN)
        issued = server.answers.issued
        bucket.behaviour.accepts = lambda token: token.startswith("role-") and token in issued
        yield server


def storage() -> Storage:
    return Storage(delays=(0.0,), pause=lambda seconds: None)


def read() -> bytes:
    return storage().get_bytes("b", "k", 10)[0]


def operator_read(bucket: FakeS3, server: FakeSts, **more: Any) -> bytes:
    client = operator_s3(bucket.endpoint, server.endpoint, ARN, **more)
    try:
        return client.read("b", "k", 10)
    finally:
        client.close()


def as_web_identity(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "token").write_text(WEB_TOKEN)
    for name in sts.ENV_KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", OWN_ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))


def test_one_request_to_sts_serves_all_storages_of_a_process(tokens: FakeSts) -> None:
    assert [read(), read()] == [b"content"] * 2
    storage().put_stream("b", "large", lambda: iter([b"x" * (6 << 20)] * 2), "text/plain")
    (asked,) = tokens.answers.asked
    assert (asked["RoleArn"], asked["RoleSessionName"]) == (ARN, "team-a.hello")
    assert (asked["key"], asked["path"], "ExternalId" in asked) == (BASE_KEY, "/", False)


def test_the_operator_refreshes_credentials_before_their_end(
    tokens: FakeSts, bucket: FakeS3
) -> None:
    tokens.answers.life = 300.0
    client = operator_s3(bucket.endpoint, tokens.endpoint, ARN)
    assert [client.read("b", "k", 10) for _ in range(2)] == [b"content"] * 2
    assert len(set(bucket.behaviour.tokens)) == 2
    tokens.answers.life = 3600.0
    assert [client.read("b", "k", 10) for _ in range(3)] == [b"content"] * 3
    assert len(set(bucket.behaviour.tokens)) == 3
    client.close()


def test_irsa_assumes_the_role(
    tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_web_identity(monkeypatch, tmp_path)
    for use in (read, lambda: operator_read(bucket, tokens)):
        tokens.answers.asked.clear()
        assert use() == b"content"
        web, role = tokens.answers.asked
        assert (web["Action"], web["key"]) == ("AssumeRoleWithWebIdentity", "")
        assert (role["Action"], role["token"].partition("-")[0]) == ("AssumeRole", "web")


def test_irsa_without_a_role_uses_the_sts_of_the_chart(
    tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_web_identity(monkeypatch, tmp_path)
    monkeypatch.delenv(names.ENV_S3_ROLE_ARN)
    made = certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    bucket.behaviour.accepts = lambda token: token.startswith("web-")
    with fake_sts(made.server) as secure:
        monkeypatch.setenv(names.ENV_STS_ENDPOINT, secure.endpoint)
        assert read() == b"content"
    assert not tokens.answers.asked


def test_a_token_that_irsa_refuses(
    tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_web_identity(monkeypatch, tmp_path)
    (tmp_path / "token").write_text("another")
    says = "InvalidIdentityToken.*role of the service account"
    with pytest.raises(StorageError, match=says) as error:
        read()
    assert error.value.reason is Reason.INPUT_ACCESS_DENIED
    with pytest.raises(S3Error, match=says):
        operator_read(bucket, tokens)


def test_pod_identity_assumes_the_role(
    tokens: FakeSts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(AGENT_TOKEN)
    for name in sts.ENV_KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv(sts.ENV_AGENT[0], f"{tokens.endpoint}{AGENT_PATH}")
    monkeypatch.setenv(sts.ENV_AGENT[1], str(tmp_path / "token"))
    monkeypatch.setenv(names.ENV_S3_PROXY, "")
    assert read() == b"content"
    (asked,) = tokens.answers.asked
    assert asked["token"].startswith("agent-")

    shared.cache_clear()
    (tmp_path / "token").write_text("another")
    with pytest.raises(StorageError, match=r"answers 403: access denied.*no credentials") as error:
        read()
    assert error.value.reason is Reason.INPUT_ACCESS_DENIED


def test_the_external_id(tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens.answers.external_id = "id-of-the-platform"
    says = rf"cannot assume {ARN}: AccessDenied.*s3\.assumeRole\.externalId"
    with pytest.raises(StorageError, match=says) as error:
        read()
    assert (error.value.reason, error.value.retryable) == (Reason.INPUT_ACCESS_DENIED, False)
    assert str(error.value).startswith("s3://b/k: ")
    assert len(tokens.answers.asked) == 1, "a refusal is not tried again"
    with pytest.raises(S3Error, match=says) as refused:
        operator_read(bucket, tokens)
    assert refused.value.cause.reason is Reason.INPUT_ACCESS_DENIED

    monkeypatch.setenv(names.ENV_S3_ROLE_EXTERNAL_ID, "id-of-the-platform")
    assert read() == b"content"
    assert operator_read(bucket, tokens, external_id="id-of-the-platform") == b"content"


@pytest.mark.parametrize(
    ("status", "code", "text", "reason", "says", "tries"),
    [
        (403, "ExpiredToken", "expired", Reason.INPUT_ACCESS_DENIED, "have expired", 1),
        (403, "InvalidClientTokenId", "x", Reason.INPUT_ACCESS_DENIED, "correct the access key", 1),
        (400, "ValidationError", "1 error", Reason.STORAGE_MISCONFIGURED, "correct the ARN", 1),
        (403, "RegionDisabledException", "x", Reason.STORAGE_MISCONFIGURED, "not active", 1),
        (403, "SignatureDoesNotMatch", "Signature expired: 1", Reason.CLOCK_SKEW, "expired: 1", 1),
        (405, "MethodNotAllowed", "x", Reason.STORAGE_MISCONFIGURED, "is no STS", 1),
        (400, "Throttling", "Rate exceeded", Reason.STORAGE_UNAVAILABLE, "Rate exceeded", 2),
        (503, "ServiceUnavailable", "x", Reason.STORAGE_UNAVAILABLE, "ServiceUnavailable", 2),
    ],
)
def test_what_sts_answers(
    tokens: FakeSts,
    bucket: FakeS3,
    status: int,
    code: str,
    text: str,
    reason: Reason,
    says: str,
    tries: int,
) -> None:
    answers = tokens.answers
    secret = "x-amz-security-token:the-token"
    answers.status, answers.code = status, code
    answers.text = f"{text}\n\nThe Canonical String for this request should have been\n{secret}"
    with pytest.raises(StorageError, match=says) as error:
        read()
    assert error.value.reason is reason
    assert len(answers.asked) == tries
    with pytest.raises(S3Error, match=says) as refused:
        operator_read(bucket, tokens)
    assert refused.value.cause.reason is reason
    for message in (str(error.value), str(refused.value)):
        assert f"cannot assume {ARN}: " in message
        assert "the-token" not in message


def test_no_sts_and_no_credentials(
    tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:1"
    monkeypatch.setenv(names.ENV_STS_ENDPOINT, nowhere)
    says = r"no answer from 127\.0\.0\.1:1.*check s3\.stsEndpoint"
    with pytest.raises(StorageError, match=says) as error:
        read()
    assert (error.value.reason, error.value.retryable) == (Reason.STORAGE_UNAVAILABLE, True)
    with pytest.raises(S3Error, match=r"check s3\.stsEndpoint"):
        operator_s3(bucket.endpoint, nowhere, ARN).read("b", "k", 1)

    for name in sts.ENV_KEYS:
        monkeypatch.delenv(name)
    says = "no credentials to assume the role with"
    with pytest.raises(StorageError, match=says) as error:
        read()
    assert (error.value.reason, error.value.retryable) == (Reason.INPUT_ACCESS_DENIED, False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(S3Error, match=says):
        operator_read(bucket, tokens)


def test_ca_and_proxy_of_the_chart_hold_for_sts(
    tokens: FakeSts, bucket: FakeS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", "")  # the executor sets it; this restores it
    with fake_sts(made.server) as secure:
        issued = secure.answers.issued
        bucket.behaviour.accepts = lambda token: token in issued
        monkeypatch.setenv(names.ENV_STS_ENDPOINT, secure.endpoint)
        for use in (read, lambda: operator_read(bucket, secure)):
            with pytest.raises((StorageError, S3Error), match=r"s3\.caBundle"):
                use()
        pem = made.ca.read_text()
        monkeypatch.setenv(names.ENV_S3_CA_BUNDLE, pem)
        assert read() == b"content"
        assert operator_read(bucket, secure, ca_bundle=pem) == b"content"

    # An STS that only the proxy reaches: the stand-in is the proxy.
    shared.cache_clear()
    monkeypatch.setenv(names.ENV_STS_ENDPOINT, "http://sts.invalid")
    monkeypatch.setenv(names.ENV_S3_PROXY, tokens.endpoint)
    with pytest.raises(StorageError):
        read()  # S3 is not behind this proxy
    assert [one["path"] for one in tokens.answers.asked] == ["http://sts.invalid/"]


def test_the_client_asks_again_when_credentials_are_due(tokens: FakeSts, bucket: FakeS3) -> None:
    tokens.answers.life = 1.5
    bucket.behaviour.accepts = lambda token: True
    client = storage()
    client.get_bytes("b", "k", 10)
    end = max(tokens.answers.issued.values())
    while time.time() < end:
        time.sleep(0.05)
    client.get_bytes("b", "k", 10)
    assert len(set(bucket.behaviour.tokens)) > 1


FILES = 96


@pytest.mark.parametrize("refreshed", [True, False])
def test_credentials_that_end_in_the_middle_of_a_long_sync(
    tokens: FakeSts,
    bucket: FakeS3,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    refreshed: bool,
) -> None:
    """Each request takes a minute of the clock that STS, S3 and the sync have here.

    Without new credentials the sync fails: so the refresh is why it does not.
    """
    answers, does = tokens.answers, bucket.behaviour
    moved = 0.0

    def clock() -> float:
        return time.time() + moved

    def accepts(token: str) -> bool:
        nonlocal moved
        if not refreshed:
            answers.status, answers.code = 403, "AccessDenied"
        valid = answers.issued.get(token, 0) > clock()
        moved += 60
        return valid

    answers.clock = clock
    found = SharedCredentials(
        lambda seconds: sts.assume(AssumedRole.of_pod(os.environ), seconds), clock
    )
    monkeypatch.setattr(role_credentials, "shared", lambda role: found)
    # The client has another clock: it asks before each request.
    ask, past = RoleCredentials.__call__, {"expires_at": datetime.fromtimestamp(1, UTC)}
    monkeypatch.setattr(RoleCredentials, "__call__", lambda self: {**ask(self), **past})
    monkeypatch.setattr(fetch, "WORKERS", 1)
    does.listed = {f"p/{i}": Content(b"x") for i in range(FILES)}
    does.stored = dict(does.listed)
    does.accepts = accepts
    if refreshed:
        manifest = succeed(paths, make_input(prefix="p/"))
        assert manifest.report.files == FILES
        assert len(set(does.tokens)) == 2
    else:
        failure = fail(paths, make_input(prefix="p/"))
        assert failure.reason == Reason.INPUT_ACCESS_DENIED.value
        assert "cannot assume" in failure.message
        assert len(does.tokens) >= answers.life / 60 - 1, "the old ones serve until their end"
