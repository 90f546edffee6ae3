"""What S3 says, from its answer to reason and hint: executor and boto3 agree, for each code."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.s3.client import S3
from nanogrid.s3.errors import S3Error
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.s3 import Storage
from support.certificates import Certificates, certificates
from support.fake_s3 import Content, FakeS3, fake_s3_of_a_pod

pytestmark = pytest.mark.integration

R = Reason
KMS = "User: x is not authorized to perform: kms:Decrypt on the resource"
WRONG_REGION = "The authorization header is malformed; the region 'us-east-1' is wrong; "
SSE_C = "The object was stored using a form of Server Side Encryption. Give the key"


@dataclass(frozen=True)
class Answer:
    """What S3 answers, and what people read of it."""

    status: int
    code: str
    reason: Reason
    says: str = ""
    text: str = ""
    tries: int = 1

    def __str__(self) -> str:
        return f"{self.status} {self.code}"


ANSWERS = [
    Answer(403, "AccessDenied", R.INPUT_ACCESS_DENIED, "AccessDenied", "Access Denied"),
    Answer(403, "AccessDenied", R.ENCRYPTION_KEY_REFUSED, "allow kms:Decrypt", KMS),
    Answer(403, "InvalidAccessKeyId", R.INPUT_ACCESS_DENIED, "correct the access key"),
    Answer(403, "SignatureDoesNotMatch", R.INPUT_ACCESS_DENIED, "correct the access key"),
    Answer(400, "ExpiredToken", R.INPUT_ACCESS_DENIED, "credentials have expired"),
    Answer(400, "InvalidToken", R.INPUT_ACCESS_DENIED, "credentials have expired"),
    Answer(403, "RequestTimeTooSkewed", R.CLOCK_SKEW, "RequestTimeTooSkewed"),
    Answer(403, "InvalidObjectState", R.INPUT_ARCHIVED, "InvalidObjectState"),
    Answer(400, "KMS.DisabledException", R.ENCRYPTION_KEY_REFUSED, "enable the KMS key"),
    Answer(400, "KMS.NotFoundException", R.ENCRYPTION_KEY_REFUSED, "enable the KMS key"),
    Answer(400, "InvalidRequest", R.ENCRYPTION_KEY_REFUSED, "SSE-C", SSE_C),
    Answer(400, "AuthorizationHeaderMalformed", R.STORAGE_MISCONFIGURED, "region", WRONG_REGION),
    Answer(400, "InvalidBucketName", R.STORAGE_MISCONFIGURED, "name of the bucket"),
    Answer(400, "InvalidArgument", R.INPUT_NOT_FOUND, "versionId", "Invalid version id specified"),
    Answer(404, "NoSuchBucket", R.INPUT_NOT_FOUND, "the bucket does not exist"),
    Answer(404, "NoSuchKey", R.INPUT_NOT_FOUND, "NoSuchKey"),
    Answer(405, "MethodNotAllowed", R.INPUT_NOT_FOUND, "no such version"),
    Answer(400, "KeyTooLongError", R.UNSAFE_PATH, "1,024 bytes"),
    Answer(507, "XMinioStorageFull", R.STORAGE_UNAVAILABLE, "full"),
    Answer(503, "SlowDown", R.STORAGE_UNAVAILABLE, "SlowDown", tries=2),
    Answer(500, "InternalError", R.STORAGE_UNAVAILABLE, "InternalError", tries=2),
    Answer(400, "RequestTimeout", R.STORAGE_UNAVAILABLE, "RequestTimeout", tries=2),
    Answer(418, "Teapot", R.STORAGE_MISCONFIGURED, "does not understand the request"),
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with fake_s3_of_a_pod(monkeypatch) as running:
        yield running


def give(server: FakeS3, answer: Answer) -> None:
    does = server.behaviour
    does.error_code, does.error_text = answer.code, answer.text
    does.statuses = lambda method, path, number: answer.status


SSE = "x-amz-server-side-encryption"


def storage() -> Storage:
    return Storage(delays=(0.0,), pause=lambda seconds: None)


def boto3_of(server: FakeS3) -> S3:
    return S3(server.endpoint, "us-east-1", "a", "s", connect=5, read=5, tries=1)


@pytest.mark.parametrize("verb", ["get", "list", "put", "head"])
@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_the_executor(server: FakeS3, answer: Answer, verb: str) -> None:
    give(server, answer)
    verbs = {
        "get": lambda: storage().get_bytes("b", "k", 10),
        "list": lambda: storage().listing("b", "p/"),
        "put": lambda: storage().put_bytes("b", "k", b"x", "text/plain"),
        "head": lambda: storage().head("b", "k"),
    }
    with pytest.raises(StorageError) as error:
        verbs[verb]()
    if verb == "head" and answer.status not in (400, 403):
        return  # the status alone decides; see below
    assert error.value.reason is answer.reason
    assert answer.says in str(error.value)
    assert str(error.value).startswith("s3://b/")
    if verb != "head":
        assert len(server.behaviour.requests) == answer.tries


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_boto3(server: FakeS3, answer: Answer) -> None:
    give(server, answer)
    with pytest.raises(S3Error) as error:
        boto3_of(server).read("b", "k", 10)
    assert error.value.cause.reason is answer.reason
    assert answer.says in str(error.value)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, R.STORAGE_MISCONFIGURED),
        (400, R.STORAGE_MISCONFIGURED),
        (403, R.INPUT_ACCESS_DENIED),
        (404, R.INPUT_NOT_FOUND),
        (503, R.STORAGE_UNAVAILABLE),
    ],
)
def test_a_status_without_a_code(server: FakeS3, status: int, reason: Reason) -> None:
    give(server, Answer(status, "", reason))
    for use in (lambda: storage().head("b", "k"), lambda: storage().get_bytes("b", "k", 10)):
        with pytest.raises(StorageError) as error:
            use()
        assert error.value.reason is reason
    with pytest.raises(S3Error) as refused:
        boto3_of(server).head("b", "k")
    assert refused.value.cause.reason is reason


def test_a_refused_head_that_a_get_does_not_explain_stays_as_it_is(server: FakeS3) -> None:
    server.behaviour.stored["k"] = Content(b"content")
    server.behaviour.statuses = lambda method, path, number: 403 if method == "HEAD" else 200
    with pytest.raises(StorageError, match="HTTP status 403") as error:
        storage().head("b", "k")
    assert error.value.reason is Reason.INPUT_ACCESS_DENIED


@pytest.mark.parametrize("region", ["eu-west-1", ""])
def test_another_region_is_named_if_s3_names_it(server: FakeS3, region: str) -> None:
    give(server, Answer(301, "PermanentRedirect", R.STORAGE_MISCONFIGURED))
    if region:
        server.behaviour.error_headers = {"x-amz-bucket-region": region}
    with pytest.raises(StorageError) as error:
        storage().listing("b", "p/")
    assert error.value.reason is Reason.STORAGE_MISCONFIGURED
    assert "region" in str(error.value)
    assert ("the bucket is in eu-west-1" in str(error.value)) is bool(region)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "http://[::1]:1", "http://no-such-name.invalid"]
)
def test_no_server(monkeypatch: pytest.MonkeyPatch, server: FakeS3, endpoint: str) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, endpoint)
    says = r"no answer from http://.*check s3\.endpoint"
    with pytest.raises(StorageError, match=says) as error:
        storage().listing("b", "p/")
    assert (error.value.reason, error.value.retryable) == (R.STORAGE_UNAVAILABLE, True)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


def test_an_unknown_ca(monkeypatch: pytest.MonkeyPatch, trusted: Certificates) -> None:
    with fake_s3_of_a_pod(monkeypatch, tls=trusted.server) as server:
        with pytest.raises(StorageError, match=r"unknown CA.*s3\.caBundle") as error:
            storage().listing("b", "p/")
        assert (error.value.reason, error.value.retryable) == (R.STORAGE_MISCONFIGURED, False)
        with pytest.raises(S3Error, match=r"s3\.caBundle") as refused:
            boto3_of(server).read("b", "k", 1)
        assert refused.value.cause.reason is R.STORAGE_MISCONFIGURED


def test_the_ca_of_the_chart_is_trusted(
    monkeypatch: pytest.MonkeyPatch, trusted: Certificates
) -> None:
    pem = trusted.ca.read_text()
    monkeypatch.setenv("SSL_CERT_FILE", "")  # the executor sets it; this restores it
    monkeypatch.setenv(names.ENV_S3_CA_BUNDLE, pem)
    with fake_s3_of_a_pod(monkeypatch, tls=trusted.server) as server:
        server.behaviour.stored["k"] = Content(b"content")
        assert storage().get_bytes("b", "k", 10)[0] == b"content"
        client = S3(server.endpoint, "us-east-1", "a", "s", connect=5, read=5, tries=1,
                    ca_bundle=pem)  # fmt: skip
        assert client.read("b", "k", 10) == b"content"
        client.close()


def test_the_proxy_of_the_chart_is_used(monkeypatch: pytest.MonkeyPatch, server: FakeS3) -> None:
    """The server is the proxy of an S3 that no other way reaches."""
    proxy, endpoint = server.endpoint, "http://s3.invalid"
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, endpoint)
    monkeypatch.setenv(names.ENV_S3_PROXY, proxy)
    server.behaviour.stored["k"] = Content(b"content")
    assert storage().get_bytes("b", "k", 10)[0] == b"content"
    client = S3(endpoint, "us-east-1", "a", "s", connect=5, read=5, tries=1, proxy=proxy)
    assert client.read("b", "k", 10) == b"content"
    client.close()
    assert server.behaviour.requests == ["GET http://s3.invalid/b/k"] * 2


def test_the_kms_key_of_the_chart_encrypts_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, server: FakeS3, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for key_id in ("", "key-1"):
        server.behaviour.headers.clear()
        monkeypatch.setenv(names.ENV_S3_KMS_KEY, key_id)
        storage().put_bytes("b", "agent", b"x", "text/plain")
        client = S3(
            server.endpoint, "us-east-1", "a", "s", connect=5, read=5, tries=1, kms_key_id=key_id
        )
        client.put("b", "operator", b"x")
        client.upload(str(tmp_path / "file"), "b", "client")
        client.close()

        assert len(server.behaviour.headers) == 3
        for found in server.behaviour.headers.values():
            wanted = ("aws:kms", "key-1") if key_id else (None, None)
            algorithm = found.get(SSE)
            assert (algorithm, found.get(f"{SSE}-aws-kms-key-id")) == wanted


def test_a_certificate_of_another_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = certificates(tmp_path, "DNS:other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.ca))
    with (
        fake_s3_of_a_pod(monkeypatch, tls=other.server),
        pytest.raises(StorageError, match="certificate is for another name") as error,
    ):
        storage().listing("b", "p/")
    assert error.value.reason is R.STORAGE_MISCONFIGURED


def test_a_server_with_an_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_s3_of_a_pod(monkeypatch, host="::1") as server:
        server.behaviour.stored["k"] = Content(b"content")
        assert storage().get_bytes("b", "k", 10)[0] == b"content"
        client = boto3_of(server)
        assert client.read("b", "k", 10) == b"content"
        client.close()
