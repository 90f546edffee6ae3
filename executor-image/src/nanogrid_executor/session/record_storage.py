"""The S3 client of a long-lived process: every request has the same time limit."""

from typing import TYPE_CHECKING

from nanogrid_executor.clock import Deadline

if TYPE_CHECKING:
    from nanogrid_executor.storage.s3 import Storage


class PerRequestDeadline(Deadline):
    """A deadline that starts again with each request, so that connections can be kept for long."""

    def remaining(self) -> float:
        """Always the whole time."""
        return self.seconds

    def check(self) -> None:
        """Never expires."""


def per_request_storage(seconds: float, delays: tuple[float, ...] = ()) -> "Storage":
    """A client whose requests end after ``seconds``; imports obstore at its first request."""
    from nanogrid_executor.storage.s3 import Storage

    return Storage(PerRequestDeadline(seconds), delays)


def get_bytes(storage: "Storage", bucket: str, key: str) -> bytes:
    """The content of one object.

    Raises:
        StorageError, DeadlineError: with the reason.
    """
    known = storage.head(bucket, key)
    if known.size == 0:
        return b""
    content = bytearray(known.size)

    def keep(chunk: bytes, position: int) -> None:
        content[position : position + len(chunk)] = chunk

    storage.part(bucket, known, 0, known.size, keep)
    return bytes(content)
