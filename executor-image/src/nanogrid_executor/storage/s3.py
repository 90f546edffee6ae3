"""The S3 calls of the executor; :mod:`nanogrid_executor.storage.connection` repeats them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from nanogrid.reasons import Reason
from nanogrid_executor.storage.connection import Connection
from nanogrid_executor.storage.download import Received, Target
from nanogrid_executor.storage.errors import StorageError

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, PutMode
    from obstore.store import S3Store

T = TypeVar("T")

CHUNK_BYTES: Final = 256 * 1024  # at least; each thread holds one, larger ones cost page faults
PART_BYTES: Final = 5 * 1024 * 1024
PARTS_AT_ONCE: Final = 4
REPLACEMENT: Final = "\ufffd"  # what a list shows for a character that XML cannot express
NOT_LISTED: Final = (
    "is listed and cannot be found: U+FFFD may stand for U+FFFE, U+FFFF or a control character, "
    "which lists of S3 cannot express"
)
_NOT_IMPLEMENTED: Final = "<Code>NotImplemented</Code>"


class Object(NamedTuple):
    """An object as S3 described it; ``version`` only when that version was asked for."""

    key: str
    size: int
    etag: str | None
    version: str | None = None


class Storage(Connection):
    """Reads and writes objects.

    Every call raises ``StorageError`` with a reason, and ``DeadlineError`` when the time is over.
    """

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

        return self.attempt("list", bucket, prefix, call)

    def head(self, bucket: str, key: str, version: str | None = None) -> Object:
        """Size and ETag of an object, or of one version of it."""
        import obstore

        def call(store: "S3Store") -> Object:
            if version is None:
                return _object(obstore.head(store, key))
            options: GetOptions = {"version": version, "head": True}
            return _object(obstore.get(store, key, options=options).meta, version)

        try:
            return self.attempt("head", bucket, key, call)
        except StorageError as error:
            if error.bare:
                self._raise_with_code(bucket, key, version)
            raise

    def _raise_with_code(self, bucket: str, key: str, version: str | None) -> None:
        """Begin to read: an answer to a GET says why S3 refuses; no error if it does not."""
        import obstore

        options: GetOptions = {} if version is None else {"version": version}
        self.attempt("get", bucket, key, lambda store: obstore.get(store, key, options=options))

    def download(
        self, bucket: str, wanted: Object | str, target: Target, version: str | None = None
    ) -> Received:
        """Stream an object to a file.

        Args:
            bucket: its bucket.
            wanted: the object as S3 described it earlier, which must not have changed; or its key.
            target: the file.
            version: the version of an object that is given by its key.

        Raises:
            StorageError: with ``INPUT_INCOMPLETE`` when the object has changed.
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

        return self._read(bucket, key, known, call)

    def part(
        self, bucket: str, known: Object, start: int, end: int, keep: Callable[[bytes, int], None]
    ) -> None:
        """Stream a range of an object that must not have changed.

        Args:
            bucket: its bucket.
            known: the object as S3 described it earlier.
            start: position of the first byte.
            end: position after the last byte.
            keep: gets each chunk and its position; each try begins at ``start``.

        Raises:
            StorageError: with ``INPUT_INCOMPLETE`` when the object has changed.
        """
        import obstore

        options: GetOptions = {"range": (start, end), "if_match": known.etag}
        if known.version is not None:
            options["version"] = known.version

        def call(store: "S3Store") -> None:
            answer = obstore.get(store, known.key, options=options)
            _refuse_change(answer, known, bucket)
            position = start
            for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                self.deadline.check()
                if len(chunk) > end - position:
                    raise _incomplete(bucket, known, f"gave more than {end - start} bytes")
                keep(chunk, position)
                position += len(chunk)
            if position != end:
                raise _incomplete(bucket, known, f"gave {position - start} bytes of {end - start}")

        self._read(bucket, known.key, known, call)

    def _read(
        self, bucket: str, key: str, known: Object | None, call: Callable[["S3Store"], T]
    ) -> T:
        """Attempt to read; an object that was described earlier and is missing now has changed."""
        try:
            return self.attempt("get", bucket, key, call)
        except StorageError as error:
            if known is not None and error.reason is Reason.INPUT_NOT_FOUND:
                if REPLACEMENT in key:
                    message = f"s3://{bucket}/{key} {NOT_LISTED}"
                    raise StorageError(Reason.UNSAFE_PATH, message) from error
                raise _incomplete(bucket, known, "vanished after it was listed") from error
            raise

    def put_bytes(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Store a small object in one request."""
        import obstore

        def call(store: "S3Store") -> None:
            attributes = {"Content-Type": content_type}
            obstore.put(store, key, body, attributes=attributes, use_multipart=False)

        self.attempt("put", bucket, key, call)

    def put_if(
        self, bucket: str, key: str, body: bytes, content_type: str, etag: str | None
    ) -> bool:
        """Store a small object if none exists or, with ``etag``, if exactly that one exists.

        A server without conditional writes stores it in any case.

        Returns:
            Whether it was stored; False when another object exists.
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

        return self.attempt("put", bucket, key, call)

    def get_bytes(self, bucket: str, key: str, most: int) -> tuple[bytes, str | None]:
        """A small object and its ETag; no bytes if it has more than ``most``."""
        import obstore

        def call(store: "S3Store") -> tuple[bytes, str | None]:
            answer = obstore.get(store, key)
            body = bytes(answer.bytes()) if answer.meta["size"] <= most else b""
            return body, answer.meta["e_tag"]

        return self.attempt("get", bucket, key, call)

    def put_stream(
        self, bucket: str, key: str, chunks: Callable[[], Iterator[bytes]], content_type: str
    ) -> None:
        """Store a large object by a multipart upload; each try calls ``chunks`` for the content.

        On every failure obstore aborts the upload, so that no parts stay in the bucket. It cannot
        abort an upload whose ID was lost with S3's answer: a lifecycle rule of the bucket ends it.
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

        self.attempt("put", bucket, key, call, in_parts=True)

    def presign(self, bucket: str, key: str, seconds: int) -> str:
        """A URL that lets anybody GET the object for so many seconds; this makes no request."""
        from datetime import timedelta

        import obstore

        def call(store: "S3Store") -> str:
            return obstore.sign(store, "GET", key, timedelta(seconds=seconds))

        return self.attempt("sign", bucket, key, call)


def _refuse_change(answer: "GetResult", known: Object, bucket: str) -> None:
    """Compare the size and ETag of the answer itself: not every server honours If-Match."""
    meta = answer.meta
    other = known.etag and meta["e_tag"] and meta["e_tag"] != known.etag
    if other or meta["size"] != known.size:
        change = f"changed after it was listed: {known.size} bytes then, {meta['size']} now"
        raise _incomplete(bucket, known, change)


def _incomplete(bucket: str, known: Object, change: str) -> StorageError:
    return StorageError(Reason.INPUT_INCOMPLETE, f"s3://{bucket}/{known.key} {change}")


def _object(meta: Any, version: str | None = None) -> Object:
    return Object(meta["path"], meta["size"], meta["e_tag"], version)
