"""Downloads one large object in several parts at once: one connection does not fill a network.

Each part is written to its place in the file when it arrives. The hash takes the parts in order, so
a part waits in memory until the parts before it are hashed. Parts begin in order, which bounds the
wait, and there are never more of them than threads.
"""

import hashlib
import os
import threading
from dataclasses import dataclass, field
from typing import Final

from nanogrid_executor.storage.download import Received, Target
from nanogrid_executor.storage.parallel import each
from nanogrid_executor.storage.s3 import Object, Storage

LARGE_BYTES: Final = 32 * 1024 * 1024  # from this size on, parts are worth their requests
PART_BYTES: Final = 8 * 1024 * 1024
WORKERS: Final = 4
LOOK_SECONDS: Final = 1.0


@dataclass(slots=True, kw_only=True)
class _Parts:
    """One download."""

    storage: Storage
    bucket: str
    known: Object
    target: Target
    descriptor: int
    part_bytes: int
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    hashed: int = 0
    failed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def copy(self, start: int) -> None:
        """Copy one part, and hash it after the parts before it."""
        try:
            end = min(start + self.part_bytes, self.known.size)
            data = memoryview(self.storage.part(self.bucket, self.known, start, end))
            written = 0
            while written < len(data):
                written += os.pwrite(self.descriptor, data[written:], start + written)
            self.target.count(len(data))
            self._hash(start, data)
        except BaseException:
            with self.changed:
                self.failed = True
                self.changed.notify_all()
            raise

    def _hash(self, start: int, data: memoryview) -> None:
        with self.changed:
            while self.hashed != start and not self.failed:
                self.changed.wait(LOOK_SECONDS)
                self.storage.deadline.check()
        if self.failed:
            return  # the thread that failed raises the error
        self.digest.update(data)
        with self.changed:
            self.hashed += len(data)
            self.changed.notify_all()


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
    with open(target.path, "wb") as file:
        file.truncate(known.size)
        parts = _Parts(
            storage=storage,
            bucket=bucket,
            known=known,
            target=target,
            descriptor=file.fileno(),
            part_bytes=part_bytes,
        )
        each(parts.copy, range(0, known.size, part_bytes), WORKERS, storage.deadline)
        storage.deadline.check()
    return Received(parts.hashed, parts.digest.hexdigest())
