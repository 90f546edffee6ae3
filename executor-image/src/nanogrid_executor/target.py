"""Where a download goes: a file, its hash, and who counts its bytes."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nanogrid_executor.clock import Deadline


@dataclass(frozen=True, slots=True)
class Received:
    """What a download wrote."""

    size: int
    sha256: str


class TooLongError(Exception):
    """There is more to download than may be."""


class Target:
    """Where a download goes: a file that each try opens anew, and who counts its bytes."""

    def __init__(self, path: str, count: Callable[[int], None], max_bytes: int | None) -> None:
        self.path = path
        self.count = count
        self.max_bytes = max_bytes

    def write(self, chunks: Iterator[Any], deadline: Deadline) -> Received:
        """Write all chunks to the file, hashing them on the way.

        Raises:
            TooLongError: there is more than ``max_bytes``.
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
