"""Downloads one large object in several parts at once: one connection does not fill a network.

Each part goes to its place in the file in small chunks, so the memory depends neither on the size
of the object nor on that of a part. The hash is that of the file: whoever completes the next part
in order reads it back, from the page cache, and the complete parts after it. Parts begin in order
and only near the hashed ones. So what is read back was written a moment ago, and a slow hash does
not make the kernel read from the disk.
"""

import hashlib
import os
import threading
from typing import Final

from nanogrid.reasons import Reason
from nanogrid_executor.storage.download import Received, Target
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.parallel import each
from nanogrid_executor.storage.s3 import Object, Storage

LARGE_BYTES: Final = 32 * 1024 * 1024  # from this size on, parts are worth their requests
PART_BYTES: Final = 16 * 1024 * 1024
WORKERS: Final = 4
AHEAD: Final = 2 * WORKERS  # parts that may have begun and are not hashed
READ_BYTES: Final = 1024 * 1024
LOOK_SECONDS: Final = 1.0


class _StoppedError(Exception):
    """Another part has failed, or the time is over."""


class _Parts:
    """One download."""

    def __init__(
        self,
        *,
        storage: Storage,
        bucket: str,
        known: Object,
        target: Target,
        descriptor: int,
        part_bytes: int,
    ) -> None:
        self.storage, self.bucket, self.known, self.target = storage, bucket, known, target
        self.descriptor, self.part_bytes = descriptor, part_bytes
        self.digest = hashlib.sha256()
        self.hashed = 0
        self.hashing = False
        self.complete: set[int] = set()  # starts of parts that are not hashed
        self.stopped = False
        self.changed = threading.Condition()

    def copy(self, start: int) -> None:
        """Copy one part, and hash what can be hashed then."""
        try:
            # Its own: this thread may outlive the download, and then the number of a descriptor
            # that was closed can be that of another file.
            if (descriptor := self._own_descriptor(start)) is None:
                return  # the thread that failed raises the error
            try:
                self._copy(start, descriptor)
            finally:
                os.close(descriptor)
        except _StoppedError:
            return
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the parts that are under way; no further one begins."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def _copy(self, start: int, descriptor: int) -> None:
        def write(chunk: bytes, position: int) -> None:
            if self.stopped:
                raise _StoppedError
            written = os.pwrite(descriptor, chunk, position)
            while written < len(chunk):
                rest = memoryview(chunk)[written:]
                written += os.pwrite(descriptor, rest, position + written)

        end = self._end(start)
        self.storage.part(self.bucket, self.known, start, end, write)
        self.target.count(end - start)
        self._hash(start, descriptor)

    def _end(self, start: int) -> int:
        return min(start + self.part_bytes, self.known.size)

    def _own_descriptor(self, start: int) -> int | None:
        """Wait until the hash is near; then a new descriptor of the file, None after a stop."""
        with self.changed:
            while start >= self.hashed + AHEAD * self.part_bytes and not self.stopped:
                self.changed.wait(LOOK_SECONDS)
                self.storage.deadline.check()
            return None if self.stopped else os.dup(self.descriptor)

    def _hash(self, start: int, descriptor: int) -> None:
        """Note a complete part; then hash all that come next, unless another thread does."""
        with self.changed:
            self.complete.add(start)
        while True:
            with self.changed:
                begin = self.hashed
                if self.hashing or begin not in self.complete:
                    return
                self.complete.remove(begin)
                self.hashing = True
            self._digest(begin, self._end(begin), descriptor)
            with self.changed:
                self.hashing = False
                self.hashed = self._end(begin)
                self.changed.notify_all()

    def _digest(self, begin: int, end: int, descriptor: int) -> None:
        buffer = memoryview(bytearray(min(READ_BYTES, end - begin)))
        while begin < end:
            if self.stopped:
                raise _StoppedError
            self.storage.deadline.check()
            count = os.preadv(descriptor, [buffer[: end - begin]], begin)
            if count == 0:
                message = f"the copy of s3://{self.bucket}/{self.known.key} was cut off on the disk"
                raise StorageError(Reason.INPUT_INCOMPLETE, message)
            self.digest.update(buffer[:count])
            begin += count


def download(
    storage: Storage,
    bucket: str,
    known: Object,
    target: Target,
    *,
    large_bytes: int = LARGE_BYTES,
    part_bytes: int = PART_BYTES,
) -> Received:
    """Copy one object; in parts if it is large and has an ETag, which proves that parts match.

    Args:
        storage: the client.
        bucket: the bucket of the object.
        known: the object as S3 described it.
        target: the file.
        large_bytes: from this size on, the object is copied in parts.
        part_bytes: size of a part.

    Raises:
        StorageError, DeadlineError: with the reason.
    """
    if known.size < large_bytes or not known.etag:
        return storage.download(bucket, known, target)
    with open(target.path, "w+b") as file:
        file.truncate(known.size)
        parts = _Parts(
            storage=storage,
            bucket=bucket,
            known=known,
            target=target,
            descriptor=file.fileno(),
            part_bytes=part_bytes,
        )
        try:
            each(parts.copy, range(0, known.size, part_bytes), WORKERS, storage.deadline)
            storage.deadline.check()
        finally:
            parts.stop()
    return Received(parts.hashed, parts.digest.hexdigest())
