"""The target of a download: a file, its hash, and a counter of its bytes."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nanogrid_executor.clock import Deadline


class Received(NamedTuple):
    """Size and hash of what a download wrote."""

    size: int
    sha256: str


class TooLongError(Exception):
    """The object has more bytes than allowed."""


class Target:
    """A file that each try writes from the beginning; ``count`` gets the size of each chunk."""

    def __init__(self, path: str, count: Callable[[int], None], max_bytes: int | None) -> None:
        self.path = path
        self.count = count
        self.max_bytes = max_bytes

    def write(self, chunks: Iterator[Any], deadline: Deadline) -> Received:
        """Write and hash all chunks.

        Raises:
            TooLongError: there are more than ``max_bytes``.
            DeadlineError: the time is over.
        """
        digest = hashlib.sha256()
        size = 0
        with open(self.path, "wb") as file:
            for chunk in chunks:
                deadline.check()
                size += len(chunk)
                if self.max_bytes is not None and size > self.max_bytes:
                    raise TooLongError(f"more than {self.max_bytes} bytes")
                file.write(chunk)
                digest.update(chunk)
                self.count(len(chunk))
        return Received(size, digest.hexdigest())
