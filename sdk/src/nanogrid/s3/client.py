"""S3 in a few verbs; the only module that uses boto3 for it.

boto3 blocks: a coroutine calls it in a thread. Every call has a connect and a read timeout and a
bounded number of tries. Every error is an :class:`~nanogrid.s3.errors.S3Error`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from nanogrid.assumed_role import AssumedRole
from nanogrid.ca_bundle import trusted_file
from nanogrid.s3.errors import S3Error, unanswered
from nanogrid.s3.role import session_with_role

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS: Final = 10
REDIRECTS: Final = ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "400")
DELETED_AT_ONCE: Final = 1000  # most keys of a DeleteObjects request
LOOPBACK: Final = "http://127.0.0.1:"


@dataclass(frozen=True, slots=True)
class Download:
    """An object on its way: its size in bytes, and its content."""

    size: int
    chunks: Iterator[bytes]


class S3:
    """One endpoint. Safe for threads; close it when done. Times are in seconds.

    Args:
        endpoint: URL; empty for AWS.
        region: None: from the environment.
        access_key: with secret_key; empty: boto3 finds credentials itself.
        secret_key: of the access key.
        connect: timeout of a connection.
        read: timeout of an answer, and between two pieces of it.
        tries: of one call, in all.
        connections: open at the same time.
        proxy: URL of an HTTP proxy; empty: that of the environment.
        ca_bundle: PEM text of CAs, in addition to the system's; empty: boto3's own.
        kms_key_id: encrypts what is stored; empty: as the bucket says.
        role: assumed with the credentials that boto3 finds; None: these are used for S3.
        checksums: ``request_checksum_calculation`` of boto3; None: its default.

    Raises:
        S3Error: from every method; see :mod:`nanogrid.s3.errors`.
    """

    def __init__(
        self,
        endpoint: str = "",
        region: str | None = None,
        access_key: str = "",
        secret_key: str = "",
        *,
        connect: float,
        read: float,
        tries: int,
        connections: int = CONNECTIONS,
        proxy: str = "",
        ca_bundle: str = "",
        kms_key_id: str = "",
        role: AssumedRole | None = None,
        checksums: Literal["when_supported", "when_required"] | None = None,
    ) -> None:
        bounds = Config(
            connect_timeout=connect,
            read_timeout=read,
            retries={"mode": "standard", "total_max_attempts": tries},
            proxies=proxies(role.endpoint if role else endpoint, proxy),
        )
        config = bounds.merge(
            Config(
                max_pool_connections=connections,
                # A server of one's own has no DNS name per bucket.
                s3={"addressing_style": "path" if endpoint else "auto"},
                proxies=proxies(endpoint, proxy),
                request_checksum_calculation=checksums,
            )
        )
        ca_file = trusted_file(ca_bundle) if ca_bundle else None
        core = session_with_role(role, bounds, ca_file) if role else None
        self._encryption: dict[str, Any] = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        )
        # Not boto3's session of the process, which keeps the first credentials that it finds.
        self.boto3: S3Client = boto3.Session(botocore_session=core).client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region,
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            config=config,
            verify=ca_file,
        )

    def close(self) -> None:
        """Close the connections."""
        self.boto3.close()

    def check(self, bucket: str) -> None:
        """Whether a bucket answers."""
        with _errors(f"bucket {bucket}"):
            self.boto3.head_bucket(Bucket=bucket)

    def head(self, bucket: str, key: str) -> tuple[int, dict[str, str]]:
        """An object's size in bytes, and its metadata."""
        with _errors(_uri(bucket, key)):
            found = self.boto3.head_object(Bucket=bucket, Key=key)
        return found["ContentLength"], found["Metadata"]

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        """An object's first ``limit`` bytes."""
        with _errors(_uri(bucket, key)):
            return self.boto3.get_object(Bucket=bucket, Key=key)["Body"].read(limit)

    def download(self, bucket: str, key: str, chunk: int) -> Download:
        """An object, in pieces of at most ``chunk`` bytes."""
        where = _uri(bucket, key)
        with _errors(where):
            answer = self.boto3.get_object(Bucket=bucket, Key=key)
        return Download(answer["ContentLength"], _chunks(answer["Body"], chunk, where))

    def put(
        self,
        bucket: str,
        key: str,
        body: IO[bytes] | bytes,
        *,
        content_type: str = "",
        metadata: dict[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> bool:
        """Store an object.

        Returns:
            False when ``only_if_absent`` found an object of that key, which stays.

        Raises:
            S3Error: ``unsupported`` when the server knows no conditions.
        """
        options: dict[str, Any] = {"Metadata": metadata or {}, **self._encryption}
        if content_type:
            options["ContentType"] = content_type
        if only_if_absent:
            options["IfNoneMatch"] = "*"
        try:
            with _errors(_uri(bucket, key)):
                self.boto3.put_object(Bucket=bucket, Key=key, Body=body, **options)
        except S3Error as e:
            if only_if_absent and e.exists:
                return False
            raise
        return True

    def upload(self, path: str, bucket: str, key: str) -> None:
        """Store a file, in parts if it is large."""
        with _errors(_uri(bucket, key)):
            self.boto3.upload_file(path, bucket, key, ExtraArgs=self._encryption)

    def written(self, bucket: str, prefix: str) -> dict[str, float]:
        """When each object below a prefix was written, in seconds since the epoch, by its key."""
        with _errors(_uri(bucket, prefix)):
            pages = self.boto3.get_paginator("list_objects_v2")
            return {
                entry["Key"]: entry["LastModified"].timestamp()
                for page in pages.paginate(Bucket=bucket, Prefix=prefix)
                for entry in page.get("Contents", [])
            }

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects, with one request for each 1000; a missing one is no error.

        Raises:
            S3Error: also when S3 refuses to delete some of them; it names one.
        """
        for begin in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[begin : begin + DELETED_AT_ONCE]
            with _errors(_uri(bucket, some[0])):
                answer = self.boto3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
            for refused in answer.get("Errors", []):  # of a success
                where = _uri(bucket, refused.get("Key", some[0]))
                raise S3Error(refused.get("Message", ""), where, 200, refused.get("Code", ""))

    def uploads(self, bucket: str) -> Iterator[dict[str, Any]]:
        """Multipart uploads that have not ended, as S3 lists them: Key, UploadId, Initiated."""
        with _errors(f"bucket {bucket}"):
            pages = self.boto3.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=bucket):
                for one in page.get("Uploads", []):
                    yield dict(one)

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """End a multipart upload and delete its parts."""
        with _errors(_uri(bucket, key)):
            self.boto3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)


def proxies(endpoint: str, proxy: str) -> dict[str, str] | None:
    """The proxies of a client; None: those of the environment."""
    if proxy:
        return {"http": proxy, "https": proxy}
    # A proxy of the environment cannot reach this machine's ports.
    return {} if endpoint.startswith(LOOPBACK) else None


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _chunks(body: Any, chunk: int, where: str) -> Iterator[bytes]:
    with _errors(where):
        yield from body.iter_chunks(chunk)


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turns the errors of boto3 into ours."""
    try:
        yield
    except ClientError as e:
        raise _refused(e, where) from e
    except S3UploadFailedError as e:
        if isinstance(e.__context__, ClientError):
            raise _refused(e.__context__, where) from e
        raise S3Error(str(e), where, 0, type(e).__name__) from e
    except RecursionError as e:  # of botocore: each answer is a redirect that names no region
        raise S3Error("S3 redirects to an unknown region", where, 301, "PermanentRedirect") from e
    except BotoCoreError as e:
        message, code = unanswered(e)
        raise S3Error(message, where, 0, code) from None
    except ResponseParserError:  # its text repeats the answer
        message = "the answer is none of S3"
        raise S3Error(message, where, 0, ResponseParserError.__name__) from None


def _refused(error: ClientError, where: str) -> S3Error:
    answer = error.response.get("ResponseMetadata", {})
    code = error.response.get("Error", {}).get("Code") or ""
    text = str(error)
    headers = {name.lower(): value for name, value in answer.get("HTTPHeaders", {}).items()}
    if code in REDIRECTS and (region := headers.get("x-amz-bucket-region")):
        text += f", the bucket is in {region}"
    return S3Error(text, where, answer.get("HTTPStatusCode", 0), code)
