"""Objects in S3: uploads for jobs, and downloads of their output."""

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nanogrid import names
from nanogrid.client.configured import check_exact, server_url
from nanogrid.client.errors import (
    Forbidden,
    NanoGridError,
    NotConfigured,
    NotFound,
    Unreachable,
    api_error,
)
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import secrets
from nanogrid.client.kube.port_forward import port_forward
from nanogrid.client.local_files import open_file
from nanogrid.client.s3_uri import Uploaded, split_uri
from nanogrid.s3.errors import S3Error
from nanogrid.tenancy import default_root

if TYPE_CHECKING:
    from nanogrid.s3.client import S3

ENV_BUCKET: Final = "NANOGRID_S3_BUCKET"
ENV_ROOT: Final = "NANOGRID_S3_ROOT"
ENV_KEYS: Final = (  # their values are in headers
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    names.ENV_S3_KMS_KEY,
)
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
    """The content that was read differs from the stored content."""

    default_hint = "Read it again. If the error stays, the object was overwritten."


class Storage:
    """One S3 endpoint, a default bucket, and the root of a namespace in it. Close it after use.

    Uploads without a key go below the root, because a job may only name keys there. The root is
    NANOGRID_S3_ROOT, which may be empty, or by default ``NAMESPACE/``.
    """

    def __init__(
        self, s3: "S3", bucket: str | None, stack: ExitStack | None = None, namespace: str = ""
    ) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.namespace = namespace
        self.root = _root(namespace)
        self._stack = stack or ExitStack()

    @classmethod
    def from_env(cls, namespace: str = "") -> "Storage":
        """Use AWS_* (credentials, region), NANOGRID_S3_ENDPOINT, _BUCKET, _PREFIX, _ROOT.

        Raises:
            NotConfigured: one of them cannot be part of a request.
        """
        endpoint = os.environ.get(names.ENV_S3_ENDPOINT) or ""
        if endpoint:
            endpoint = server_url(endpoint, f"${names.ENV_S3_ENDPOINT}")
        for variable in ENV_KEYS:
            check_exact(os.environ.get(variable), f"${variable}")
        region = os.environ.get(names.ENV_S3_REGION) or (DEV_REGION if endpoint else None)
        bucket = os.environ.get(ENV_BUCKET) or None
        return cls(_connect(endpoint, region), bucket, namespace=namespace)

    @classmethod
    def of_dev_release(
        cls, cluster: Cluster, release: str = RELEASE, namespace: str = RELEASE_NAMESPACE
    ) -> "Storage":
        """Use the S3 server of a release with devServices, by port-forward.

        Raises:
            NotConfigured: the release has no S3 server.
        """
        # The rule of the chart for the prefix of its names.
        name = release if "nanogrid" in release else f"{release}-nanogrid-operator"
        try:
            data = cluster.get(f"{secrets(namespace)}/{name}-dev")["data"]
        except NotFound:
            command = f"Set {ENV_BUCKET} and AWS credentials."
            hint = f"Set {ENV_BUCKET} and AWS credentials, or give s3=."
            message = f"no S3 is configured, and release {release} has no devServices."
            raise NotConfigured(message, hint, command) from None
        stack = ExitStack()
        target = f"svc/{name}-dev-s3"
        port = stack.enter_context(port_forward(cluster, namespace, target, DEV_PORT))
        keys = (
            base64.b64decode(data[key]).decode()
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        )
        s3 = _connect(f"http://127.0.0.1:{port}", DEV_REGION, *keys)
        return cls(s3, DEV_BUCKET, stack, cluster.namespace)

    @classmethod
    def find(cls, cluster: Cluster) -> "Storage":
        """Use the environment, else the S3 of a dev release, else the defaults of AWS."""
        if os.environ.get(ENV_BUCKET) or os.environ.get(names.ENV_S3_ENDPOINT):
            return cls.from_env(cluster.namespace)
        try:
            return cls.of_dev_release(cluster)
        except (NotConfigured, Forbidden):
            # No dev release, or no access to it. Then it is AWS, and each URI names its bucket.
            return cls.from_env(cluster.namespace)

    def close(self) -> None:
        """Close connections and port-forwards."""
        self.s3.close()
        self._stack.close()

    @property
    def prefix(self) -> str:
        """The path of the installation, as NANOGRID_S3_PREFIX names it: empty, or with a slash."""
        return _prefix()

    def root_of(self, namespace: str | None) -> str:
        """The root of a namespace; None is the client's."""
        return self.root if namespace in (None, self.namespace) else _default_root(str(namespace))

    def upload(
        self, path: str | Path, key: str | None = None, namespace: str | None = None
    ) -> Uploaded:
        """Store a file; the default key contains its checksum, so it overwrites nothing.

        Raises:
            InvalidRequest: it cannot be read, or it is no regular file.
            ApiError: S3 refuses the request.
        """
        file = Path(path)
        digest = hashlib.sha256()
        with open_file(file) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
        sha256 = digest.hexdigest()
        key = key or f"{self.root_of(namespace)}{UPLOAD_PREFIX}{sha256}/{file.name}"
        with _answers():
            self.s3.upload(str(file), self._own_bucket(), key)
        return Uploaded(self._uri(key), sha256, file.stat().st_size)

    def put(self, key: str, content: bytes) -> Uploaded:
        """Store bytes, unless an object with this key, checksum and size exists."""
        sha256 = hashlib.sha256(content).hexdigest()
        bucket = self._own_bucket()
        if not self._has(bucket, key, sha256, len(content)):
            with _answers():
                self.s3.put(bucket, key, content, metadata={"sha256": sha256})
        return Uploaded(self._uri(key), sha256, len(content))

    def chunks(self, uri: str) -> Iterator[bytes]:
        """The content of an object, in pieces of at most 1 MiB."""
        bucket, key = split_uri(uri)
        with _answers():
            yield from self.s3.download(bucket or self._own_bucket(), key, CHUNK_BYTES).chunks

    def _has(self, bucket: str, key: str, sha256: str, size: int) -> bool:
        with _answers():
            try:
                stored, metadata = self.s3.head(bucket, key)
            except S3Error as e:
                if not e.status:
                    raise
                return False  # it does not exist or is not visible: the put decides
        return (stored, metadata.get("sha256")) == (size, sha256)

    def _own_bucket(self) -> str:
        if self.bucket is None:
            hint = f"Set {ENV_BUCKET}, or give s3=."
            raise NotConfigured("no bucket is configured.", hint, f"Set {ENV_BUCKET}.")
        return self.bucket

    def _uri(self, key: str) -> str:
        return f"s3://{self._own_bucket()}/{key}"


@contextmanager
def _answers() -> Iterator[None]:
    """Turns errors of S3 into errors of the client."""
    try:
        yield
    except S3Error as e:
        found = e.cause.hint
        hint = f"{found[0].upper()}{found[1:]}." if found else ""
        if not e.status:
            raise Unreachable(0, e.code, f"S3: {e.message}.", hint) from e
        hint = hint or "Check bucket, key and the S3 credentials."
        raise api_error(e.status, e.code, f"S3: {e.message}.", hint) from e


def _default_root(namespace: str) -> str:
    """The root of a namespace below the prefix that the environment names."""
    return default_root(namespace, _prefix())


def _prefix() -> str:
    """What the environment names, with a slash at its end; empty: none."""
    given = (os.environ.get(names.ENV_S3_PREFIX) or "").strip("/")
    return f"{given}/" if given else ""


def _root(namespace: str) -> str:
    """The root that the environment names, also an empty one, or the default of the namespace."""
    given = os.environ.get(ENV_ROOT)
    if given is None:
        return _default_root(namespace) if namespace else ""
    return given if not given or given.endswith("/") else f"{given}/"


def _connect(endpoint: str, region: str | None, *keys: str) -> "S3":
    from nanogrid.s3.client import S3  # boto3 is slow to import

    kms_key_id = os.environ.get(names.ENV_S3_KMS_KEY) or ""
    return S3(
        endpoint,
        region,
        *keys,
        connect=CONNECT_SECONDS,
        read=READ_SECONDS,
        tries=TRIES,
        kms_key_id=kms_key_id,
    )
