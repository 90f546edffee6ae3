"""S3 through obstore: the few calls we need, with our own retries and our own reasons.

obstore's retries are off: four tries with 1, 2 and 4 seconds (and jitter) between them are what
the product promises and what its log shows. A refusal (403) or an absence (404) is not retried.
"""

import hashlib
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.log import log

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

T = TypeVar("T")

DELAYS: Final = (1.0, 2.0, 4.0)
CONNECT_TIMEOUT: Final = "5s"
READ_TIMEOUT: Final = "30s"  # of one read: a stalled connection, not a large object
REQUEST_TIMEOUT: Final = "1800s"
CHUNK_BYTES: Final = 1024 * 1024
PART_BYTES: Final = 5 * 1024 * 1024
PARTS_AT_ONCE: Final = 4

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_TEXT: Final = re.compile(r"<Message>([^<]*)</Message>")
_SERVER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)")
_CAUSE: Final = re.compile(r'\b(?:message|error): "([^"]+)"')
# S3 answers these with 400, and they are about who asks, not about what is asked.
_DENIED_CODES: Final = ("ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AccessDenied")
_INSTANCE_METADATA: Final = "169.254.169.254"


class StorageError(Exception):
    """S3 did not do what was asked; ``reason`` says why in the product's words."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a listing."""

    key: str
    size: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Received:
    """What a download wrote."""

    size: int
    sha256: str


class Storage:
    """Access to all buckets with one set of credentials, taken from the environment."""

    def __init__(
        self,
        delays: tuple[float, ...] = DELAYS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.retries = 0
        self._delays = delays
        self._pause = pause
        self._lock = threading.Lock()
        self._stores: dict[str, S3Store] = {}

    def listing(self, bucket: str, prefix: str) -> list[Object]:
        """All objects below a prefix, which is a folder: ``data`` does not match ``data2/x``."""
        import obstore

        def call(store: "S3Store") -> list[Object]:
            stream = obstore.list(store, prefix.rstrip("/") or None, chunk_size=1000)
            return [_object(meta) for chunk in stream for meta in chunk]

        return self._attempt("list", bucket, prefix, call)

    def head(self, bucket: str, key: str) -> Object:
        """Size and ETag of one object."""
        import obstore

        return self._attempt("head", bucket, key, lambda store: _object(obstore.head(store, key)))

    def download(
        self, bucket: str, key: str, etag: str | None, create: Callable[[], IO[bytes]]
    ) -> Received:
        """Stream one object into a file.

        Args:
            bucket: where it is.
            key: its name.
            etag: what it must still have; None takes any.
            create: opens the file anew, empty, for each try.
        """
        import obstore

        def call(store: "S3Store") -> Received:
            answer = obstore.get(store, key, options={"if_match": etag} if etag else None)
            digest = hashlib.sha256()
            size = 0
            with create() as file:
                for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            return Received(size, digest.hexdigest())

        return self._attempt("get", bucket, key, call)

    def put_bytes(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Store a small object in one request."""
        import obstore

        def call(store: "S3Store") -> None:
            attributes = {"Content-Type": content_type}
            obstore.put(store, key, body, attributes=attributes, use_multipart=False)

        self._attempt("put", bucket, key, call)

    def put_stream(
        self, bucket: str, key: str, chunks: Callable[[], Iterator[bytes]], content_type: str
    ) -> None:
        """Store a large object in parts; ``chunks`` gives it anew for each try."""
        import obstore

        def call(store: "S3Store") -> None:
            obstore.put(
                store,
                key,
                chunks(),
                attributes={"Content-Type": content_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

        self._attempt("put", bucket, key, call)

    def _store(self, bucket: str) -> "S3Store":
        with self._lock:
            if bucket not in self._stores:
                self._stores[bucket] = _connect(bucket)
            return self._stores[bucket]

    def _attempt(self, action: str, bucket: str, key: str, call: Callable[["S3Store"], T]) -> T:
        """Call, and call again while S3 is unwell.

        Raises:
            StorageError: S3 said no, or the last try failed.
        """
        import obstore.exceptions

        uri = f"s3://{bucket}/{key}"
        for number in range(len(self._delays) + 1):
            try:
                return call(self._store(bucket))
            except (obstore.exceptions.BaseError, FileNotFoundError, ValueError) as error:
                failure = explain(error, uri)
                if not failure.retryable or number == len(self._delays):
                    raise failure from error
            wait = self._delays[number] * random.uniform(1.0, 1.25)  # noqa: S311 jitter
            with self._lock:
                self.retries += 1
            log("s3-retry", action=action, uri=uri, seconds=f"{wait:.2f}", error=failure)
            self._pause(wait)
        raise AssertionError("unreachable: the last try returns or raises")


def _connect(bucket: str) -> "S3Store":
    from datetime import timedelta

    from obstore.store import S3Store

    endpoint = os.environ.get(names.ENV_S3_ENDPOINT, "")
    config: S3Config = {"region": os.environ.get(names.ENV_S3_REGION) or "us-east-1"}
    if endpoint:
        # Servers that are not AWS have no DNS name for each bucket.
        config["endpoint"] = endpoint
        config["virtual_hosted_style_request"] = False
    else:
        config["virtual_hosted_style_request"] = "." not in bucket  # TLS names have one label
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "timeout": REQUEST_TIMEOUT,
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=30)},
    )


def _object(meta: Any) -> Object:
    return Object(meta["path"], meta["size"], meta["e_tag"])


def explain(error: Exception, uri: str) -> StorageError:
    """The reason behind an exception of obstore, whose text holds S3's answer."""
    from obstore import exceptions

    text = str(error)
    status = _first(_STATUS, text)
    code = _first(_CODE, text)
    said = f"{uri}: {_said(text, status, code)}"
    if isinstance(error, ValueError):
        return StorageError(Reason.UNSAFE_PATH, f"{uri}: {text.splitlines()[0]}")
    if isinstance(error, exceptions.PreconditionError):
        return StorageError(Reason.INPUT_INCOMPLETE, f"{uri} changed while it was being read")
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, denied) or status in ("401", "403") or code in _DENIED_CODES:
        return StorageError(Reason.INPUT_ACCESS_DENIED, said)
    if isinstance(error, FileNotFoundError) or status == "404":
        return StorageError(Reason.INPUT_NOT_FOUND, said)
    if _INSTANCE_METADATA in text:
        return StorageError(Reason.INPUT_ACCESS_DENIED, f"{uri}: there are no credentials")
    return StorageError(Reason.STORAGE_UNAVAILABLE, said, retryable=True)


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""


def _said(text: str, status: str, code: str) -> str:
    """What S3 said, short: obstore's own text runs over many lines."""
    message = _first(_TEXT, text)
    if code:
        return f"{code}: {message}" if message else code
    if status:
        return f"HTTP status {status}"
    cause = _first(_CAUSE, text)
    if cause:  # the operating system's word: refused, unknown name, ...
        return f"no answer from {_first(_SERVER, text)}: {cause}"
    return text.splitlines()[0][:300]
