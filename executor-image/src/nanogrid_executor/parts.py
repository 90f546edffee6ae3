"""Downloading one large object in several parts at once: one connection does not fill a network.

Each part goes to its place in the file as it comes; the hash takes them in order, so that a part
waits in memory until those before it are hashed. Parts are begun in order, which bounds the wait,
and there are never more of them than threads.
"""

import hashlib
import os
import threading
from typing import Final

from nanogrid_executor.pool import each
from nanogrid_executor.s3 import Object, Storage
from nanogrid_executor.target import Received, Target

LARGE_BYTES: Final = 32 * 1024 * 1024  # from here parts are worth their requests
PART_BYTES: Final = 8 * 1024 * 1024
WORKERS: Final = 4
LOOK_SECONDS: Final = 1.0


class _Parts:
    """One download."""

    def __init__(
        self, storage: Storage, bucket: str, known: Object, target: Target, descriptor: int
    ) -> None:
        self.storage = storage
        self.bucket = bucket
        self.known = known
        self.target = target
        self.descriptor = descriptor
        self.digest = hashlib.sha256()
        self.hashed = 0
        self.failed = False
        self.turn = threading.Condition()

    def take(self, start: int) -> None:
        """Copy one part and hash it when it is its turn."""
        try:
            end = min(start + PART_BYTES, self.known.size)
            data = memoryview(self.storage.part(self.bucket, self.known, start, end))
            written = 0
            while written < len(data):
                written += os.pwrite(self.descriptor, data[written:], start + written)
            self.target.count(len(data))
            self._hash(start, data)
        except BaseException:
            with self.turn:
                self.failed = True
                self.turn.notify_all()
            raise

    def _hash(self, start: int, data: memoryview) -> None:
        with self.turn:
            while self.hashed != start and not self.failed:
                self.turn.wait(LOOK_SECONDS)
                self.storage.deadline.check()
        if self.failed:
            return  # the thread that failed says why
        self.digest.update(data)
        with self.turn:
            self.hashed += len(data)
            self.turn.notify_all()


def download(storage: Storage, bucket: str, known: Object, target: Target) -> Received:
    """Copy one object, in parts when it is large and its ETag can hold them together.

    Raises:
        StorageError, DeadlineError: with the reason.
    """
    if known.size < LARGE_BYTES or not known.etag:
        return storage.download(bucket, known, target)
    with open(target.path, "wb") as file:
        file.truncate(known.size)
        parts = _Parts(storage, bucket, known, target, file.fileno())
        each(parts.take, range(0, known.size, PART_BYTES), WORKERS, storage.deadline)
        storage.deadline.check()
    return Received(parts.hashed, parts.digest.hexdigest())
