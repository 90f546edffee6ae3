"""S3 through obstore: the few calls we need, with our own retries and our own reasons.

obstore's retries are off: four tries with 1, 2 and 4 seconds (and jitter) between them are what
the product promises and what its log shows. A refusal (403) or an absence (404) is not retried,
and nothing is tried past the deadline of the phase. Only within an upload in parts obstore retries
each request in the same rhythm: one part is sent again and not all, and the abort is not lost.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError, endless
from nanogrid_executor.log import log
from nanogrid_executor.s3_errors import StorageError, explain
from nanogrid_executor.target import Received, Target

if TYPE_CHECKING:
    from obstore import Bytes, GetOptions, GetResult, PutMode
    from obstore.store import S3Config, S3Store

T = TypeVar("T")

DELAYS: Final = (1.0, 2.0, 4.0)
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0  # of one read: a stalled connection, not a large object
REQUEST_SECONDS: Final = 3600.0
SHORTEST_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 30.0  # of one request of an upload in parts
CHUNK_BYTES: Final = 1024 * 1024
PART_BYTES: Final = 5 * 1024 * 1024
PARTS_AT_ONCE: Final = 4
_NOT_IMPLEMENTED: Final = "<Code>NotImplemented</Code>"
UPLOAD_TRIES: Final = 2  # of a whole upload in parts, whose requests have retries of their own


@dataclass(frozen=True, slots=True)
class Object:
    """One object as S3 described it; ``version`` only when that version was asked for."""

    key: str
    size: int
    etag: str | None
    version: str | None = None


class Storage:
    """Access to all buckets with one set of credentials, taken from the environment."""

    def __init__(
        self,
        deadline: Deadline | None = None,
        delays: tuple[float, ...] = DELAYS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.retries = 0
        self.deadline = deadline or endless()
        self._delays = delays
        self._pause = pause
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, bool], S3Store] = {}

    def listing(self, bucket: str, prefix: str) -> list[Object]:
        """All objects below a prefix, which is a folder: ``data`` does not match ``data2/x``."""
        import obstore

        def call(store: "S3Store") -> list[Object]:
            stream = obstore.list(store, prefix.rstrip("/") or None, chunk_size=1000)
            found = []
            for chunk in stream:
                self.deadline.check()
                found += [_object(meta) for meta in chunk]
            return found

        return self._attempt("list", bucket, prefix, call)

    def head(self, bucket: str, key: str, version: str | None = None) -> Object:
        """Size and ETag of one object, or of one version of it."""
        import obstore

        def call(store: "S3Store") -> Object:
            if version is None:
                return _object(obstore.head(store, key))
            options: GetOptions = {"version": version, "head": True}
            return _object(obstore.get(store, key, options=options).meta, version)

        return self._attempt("head", bucket, key, call)

    def download(
        self, bucket: str, wanted: Object | str, target: Target, version: str | None = None
    ) -> Received:
        """Stream one object into a file.

        Args:
            bucket: where it is.
            wanted: the object as it was described before, which it must still be; or just its key.
            target: where it goes.
            version: of an object that is wanted by its key.

        Raises:
            StorageError: with ``INPUT_INCOMPLETE`` when it is not what was described any more.
        """
        import obstore

        key = wanted if isinstance(wanted, str) else wanted.key
        known = None if isinstance(wanted, str) else wanted
        options: GetOptions = {}
        if known is not None:
            version = known.version
            if known.etag:
                options["if_match"] = known.etag
        if version is not None:
            options["version"] = version

        def call(store: "S3Store") -> Received:
            answer = obstore.get(store, key, options=options)
            if known is not None:
                _refuse_change(answer, known, bucket)
            return target.write(iter(answer.stream(min_chunk_size=CHUNK_BYTES)), self.deadline)

        try:
            return self._attempt("get", bucket, key, call)
        except StorageError as error:
            if known is not None and error.reason is Reason.INPUT_NOT_FOUND:
                raise _incomplete(bucket, known, "vanished after it was listed") from error
            raise

    def part(self, bucket: str, known: Object, start: int, end: int) -> "Bytes":
        """Some bytes, from ``start`` to before ``end``, of an object that must not have changed.

        Raises:
            StorageError: with ``INPUT_INCOMPLETE`` when it is not what was described any more.
        """
        import obstore

        options: GetOptions = {"range": (start, end), "if_match": known.etag}
        if known.version is not None:
            options["version"] = known.version

        def call(store: "S3Store") -> "Bytes":
            answer = obstore.get(store, known.key, options=options)
            _refuse_change(answer, known, bucket)
            data = answer.bytes()
            if len(data) != end - start:
                raise _incomplete(bucket, known, f"gave {len(data)} bytes of {end - start}")
            return data

        try:
            return self._attempt("get", bucket, known.key, call)
        except StorageError as error:
            if error.reason is Reason.INPUT_NOT_FOUND:
                raise _incomplete(bucket, known, "vanished after it was listed") from error
            raise

    def put_bytes(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Store a small object in one request."""
        import obstore

        def call(store: "S3Store") -> None:
            attributes = {"Content-Type": content_type}
            obstore.put(store, key, body, attributes=attributes, use_multipart=False)

        self._attempt("put", bucket, key, call)

    def put_if(
        self, bucket: str, key: str, body: bytes, content_type: str, etag: str | None
    ) -> bool:
        """Store a small object if there is none yet, or, with ``etag``, in place of that one.

        A server that knows no conditions stores it in any case.

        Returns:
            Whether it was stored; False when there is another object.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        attributes = {"Content-Type": content_type}

        def call(store: "S3Store") -> bool:
            mode: PutMode = "create" if etag is None else {"e_tag": etag}
            try:
                obstore.put(store, key, body, attributes=attributes, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except BaseError as error:
                if _NOT_IMPLEMENTED not in str(error):
                    raise
                obstore.put(store, key, body, attributes=attributes, use_multipart=False)
            return True

        return self._attempt("put", bucket, key, call)

    def get_bytes(self, bucket: str, key: str, most: int) -> tuple[bytes, str | None]:
        """A small object and its ETag; no bytes of one that has more than ``most``."""
        import obstore

        def call(store: "S3Store") -> tuple[bytes, str | None]:
            answer = obstore.get(store, key)
            body = bytes(answer.bytes()) if answer.meta["size"] <= most else b""
            return body, answer.meta["e_tag"]

        return self._attempt("get", bucket, key, call)

    def put_stream(
        self, bucket: str, key: str, chunks: Callable[[], Iterator[bytes]], content_type: str
    ) -> None:
        """Store a large object in parts; ``chunks`` gives it anew for each try.

        Whatever fails, obstore aborts the multipart upload, so that no parts are left behind. Only
        of an upload that S3 began without our hearing of it nobody knows the name: a lifecycle rule
        of the bucket ends such uploads.
        """
        import obstore

        def timed() -> Iterator[bytes]:
            for chunk in chunks():
                self.deadline.check()
                yield chunk

        def call(store: "S3Store") -> None:
            obstore.put(
                store,
                key,
                timed(),
                attributes={"Content-Type": content_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

        self._attempt("put", bucket, key, call, in_parts=True)

    def presign(self, bucket: str, key: str, seconds: int) -> str:
        """A URL that anybody may GET the object with for so long; no request is made."""
        from datetime import timedelta

        import obstore

        def call(store: "S3Store") -> str:
            return obstore.sign(store, "GET", key, timedelta(seconds=seconds))

        return self._attempt("sign", bucket, key, call)

    def _store(self, bucket: str, in_parts: bool) -> "S3Store":
        delays = self._delays if in_parts else ()
        with self._lock:
            known = (bucket, in_parts)
            if known not in self._stores:
                self._stores[known] = _connect(bucket, self.deadline.remaining(), delays)
            return self._stores[known]

    def _attempt(
        self,
        action: str,
        bucket: str,
        key: str,
        call: Callable[["S3Store"], T],
        *,
        in_parts: bool = False,
    ) -> T:
        """Call, and call again while S3 is unwell.

        Raises:
            StorageError: S3 said no, or the last try failed.
            DeadlineError: there is no time for another try.
        """
        import obstore.exceptions

        uri = f"s3://{bucket}/{key}"
        delays = self._delays[: UPLOAD_TRIES - 1] if in_parts else self._delays
        for number in range(len(delays) + 1):
            self.deadline.check()
            try:
                return call(self._store(bucket, in_parts))
            except (obstore.exceptions.BaseError, FileNotFoundError, ValueError) as error:
                failure = explain(error, uri)
                if not failure.retryable or number == len(delays):
                    raise failure from error
            wait = delays[number] * random.uniform(1.0, 1.25)  # noqa: S311 jitter
            if wait >= self.deadline.remaining():
                said = f"no time for another try: {failure}"
                raise DeadlineError(said) from failure
            with self._lock:
                self.retries += 1
            log("s3-retry", action=action, uri=uri, seconds=f"{wait:.2f}", error=failure)
            self._pause(wait)
        raise AssertionError("unreachable: the last try returns or raises")


def _refuse_change(answer: "GetResult", known: Object, bucket: str) -> None:
    """Compare the answer's own size and ETag: not every server honours If-Match."""
    meta = answer.meta
    other = known.etag and meta["e_tag"] and meta["e_tag"] != known.etag
    if other or meta["size"] != known.size:
        said = f"changed after it was listed: {known.size} bytes then, {meta['size']} now"
        raise _incomplete(bucket, known, said)


def _incomplete(bucket: str, known: Object, said: str) -> StorageError:
    return StorageError(Reason.INPUT_INCOMPLETE, f"s3://{bucket}/{known.key} {said}")


def _connect(bucket: str, seconds: float, delays: tuple[float, ...]) -> "S3Store":
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

    def at_most(limit: float) -> timedelta:
        return timedelta(seconds=max(SHORTEST_SECONDS, min(limit, seconds)))

    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": at_most(CONNECT_SECONDS),
            "read_timeout": at_most(READ_SECONDS),
            "timeout": at_most(REQUEST_SECONDS),
        },
        retry_config={
            "max_retries": len(delays),
            "backoff": {"init_backoff": timedelta(seconds=min(delays, default=1)), "base": 2},
            "retry_timeout": at_most(RETRY_SECONDS),
        },
    )


def _object(meta: Any, version: str | None = None) -> Object:
    return Object(meta["path"], meta["size"], meta["e_tag"], version)
