"""Objects in S3: what a job reads is put there, what it leaves is fetched from there."""

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nanogrid import names
from nanogrid.client.cluster import Cluster, secrets
from nanogrid.client.errors import (
    Forbidden,
    NanoGridError,
    NotConfigured,
    NotFound,
    Unreachable,
    api_error,
)
from nanogrid.client.manifest import Uploaded, split_uri
from nanogrid.client.portforward import port_forward

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENV_BUCKET: Final = "NANOGRID_S3_BUCKET"
RELEASE: Final = "nanogrid"
RELEASE_NAMESPACE: Final = "nanogrid-system"
DEV_BUCKET: Final = "nanogrid"
DEV_PORT: Final = 8333
DEV_REGION: Final = "us-east-1"
CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
TRIES: Final = 4
CHUNK_BYTES: Final = 1 << 20
UPLOAD_PREFIX: Final = "uploads/"


class Corrupt(NanoGridError):
    """What was read is not what was stored."""

    default_cure = "Read it again; if it stays, somebody has overwritten the object."


class Storage:
    """One S3 endpoint, and the bucket that is meant when none is named. Close it when done."""

    def __init__(self, s3: "S3Client", bucket: str | None, stack: ExitStack | None = None) -> None:
        self.s3 = s3
        self.bucket = bucket
        self._stack = stack or ExitStack()

    @classmethod
    def from_env(cls) -> "Storage":
        """AWS_* for credentials and region, NANOGRID_S3_ENDPOINT, NANOGRID_S3_BUCKET."""
        endpoint = os.environ.get(names.ENV_S3_ENDPOINT) or None
        region = os.environ.get(names.ENV_S3_REGION) or (DEV_REGION if endpoint else None)
        client = _client(endpoint_url=endpoint, region_name=region)
        return cls(client, os.environ.get(ENV_BUCKET) or None)

    @classmethod
    def of_dev_release(
        cls, cluster: Cluster, release: str = RELEASE, namespace: str = RELEASE_NAMESPACE
    ) -> "Storage":
        """The S3 server of a release with devServices, reached by port-forward.

        Raises:
            NotConfigured: the release has none.
        """
        # The chart's own rule for the prefix of its names.
        name = release if "nanogrid" in release else f"{release}-nanogrid-operator"
        try:
            data = cluster.get(f"{secrets(namespace)}/{name}-dev")["data"]
        except NotFound:
            cure = f"Set {ENV_BUCKET} and AWS credentials, or give s3=."
            said = f"no S3 is configured, and release {release} has no devServices."
            raise NotConfigured(said, cure) from None
        stack = ExitStack()
        target = f"svc/{name}-dev-s3"
        port = stack.enter_context(port_forward(cluster, namespace, target, DEV_PORT))
        client = _client(
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=DEV_REGION,
            aws_access_key_id=base64.b64decode(data["AWS_ACCESS_KEY_ID"]).decode(),
            aws_secret_access_key=base64.b64decode(data["AWS_SECRET_ACCESS_KEY"]).decode(),
        )
        return cls(client, DEV_BUCKET, stack)

    @classmethod
    def find(cls, cluster: Cluster) -> "Storage":
        """The environment's, if it names one; else that of a dev release; else AWS's defaults."""
        if os.environ.get(ENV_BUCKET) or os.environ.get(names.ENV_S3_ENDPOINT):
            return cls.from_env()
        try:
            return cls.of_dev_release(cluster)
        except (NotConfigured, Forbidden):
            # No dev release, or not ours to see: then it is AWS, with buckets named in each URI.
            return cls.from_env()

    def close(self) -> None:
        """End connections and port-forwards."""
        self.s3.close()
        self._stack.close()

    def upload(self, path: str | Path, key: str | None = None) -> Uploaded:
        """Store a file; the default key holds its checksum, so nothing is overwritten.

        Raises:
            OSError: the file cannot be read.
            ApiError: S3 refused it.
        """
        file = Path(path)
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
        sha256 = digest.hexdigest()
        where = key or f"{UPLOAD_PREFIX}{sha256}/{file.name}"
        with _answers():
            self.s3.upload_file(str(file), self._own_bucket(), where)
        return Uploaded(self._uri(where), sha256, file.stat().st_size)

    def put(self, key: str, content: bytes) -> Uploaded:
        """Store bytes; skipped when an object of that key, checksum and size is there already."""
        sha256 = hashlib.sha256(content).hexdigest()
        bucket = self._own_bucket()
        if not self._has(bucket, key, sha256, len(content)):
            with _answers():
                self.s3.put_object(
                    Bucket=bucket, Key=key, Body=content, Metadata={"sha256": sha256}
                )
        return Uploaded(self._uri(key), sha256, len(content))

    def chunks(self, uri: str) -> Iterator[bytes]:
        """An object, in pieces of 1 MiB at most."""
        bucket, key = split_uri(uri)
        with _answers():
            answer = self.s3.get_object(Bucket=bucket or self._own_bucket(), Key=key)
            yield from answer["Body"].iter_chunks(CHUNK_BYTES)

    def _has(self, bucket: str, key: str, sha256: str, size: int) -> bool:
        from botocore.exceptions import ClientError

        try:
            found = self.s3.head_object(Bucket=bucket, Key=key)
        except ClientError:
            return False  # not there, or not to be seen: the put decides
        same = found["Metadata"].get("sha256") == sha256
        return same and found["ContentLength"] == size

    def _own_bucket(self) -> str:
        if self.bucket is None:
            raise NotConfigured("no bucket is configured.", f"Set {ENV_BUCKET}, or give s3=.")
        return self.bucket

    def _uri(self, key: str) -> str:
        return f"s3://{self._own_bucket()}/{key}"


@contextmanager
def _answers() -> Iterator[None]:
    """Turns the errors of boto3 into ours."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as e:
        told = e.response
        status = told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        cure = "Check bucket, key and the S3 credentials."
        raise api_error(status, told.get("Error", {}).get("Code", ""), f"S3: {e}.", cure) from e
    except (BotoCoreError, S3UploadFailedError) as e:
        raise Unreachable(0, type(e).__name__, f"S3: {e}.") from e


def _client(**options: Any) -> "S3Client":
    import boto3
    from botocore.config import Config

    local = str(options.get("endpoint_url") or "").startswith("http://127.0.0.1:")
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        # A server of one's own has no name per bucket.
        s3={"addressing_style": "path"} if options.get("endpoint_url") else {},
        # A proxy of the environment cannot reach this machine's ports.
        proxies={} if local else None,
    )
    return boto3.client("s3", config=config, **options)
