"""The full text of a stream, up to a cap: kept in a file while the code runs, stored when it ended.

The file has no name, so that nobody else reads it and nothing is left behind; it is raw bytes, so
that what is no UTF-8 survives. What is beyond the cap is counted and dropped.
"""

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Final

from nanogrid_executor.capture import Capture
from nanogrid_executor.log import log

if TYPE_CHECKING:
    from nanogrid_executor.s3 import Storage

CONTENT_TYPE: Final = "text/plain; charset=utf-8"
SMALL_BYTES: Final = 5 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024


class Recording(Capture):
    """Head and tail like any :class:`Capture`, and beside them the beginning in a file."""

    def __init__(self, directory: str, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.recorded = 0
        self._directory = directory
        self._file: IO[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        super().feed(data)
        if self.recorded < self.limit:
            self._write(data[: self.limit - self.recorded])

    def _write(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = _nameless(self._directory)
            self._file.write(data)
            self.recorded += len(data)
        except OSError as error:  # a full disk must not cost the result, which has head and tail
            log("recording-ended", bytes=self.recorded, error=error)
            self.limit = self.recorded

    def store(self, storage: "Storage", bucket: str, key: str) -> str | None:
        """Upload what was recorded, when the result's own copy lacks some of the stream.

        Returns:
            The object's URI; None when there is nothing to store.

        Raises:
            StorageError, DeadlineError, OSError: it could not be stored.
        """
        if self._file is None or not self.recorded or not self.truncated:
            return None
        if self.recorded <= SMALL_BYTES:
            storage.put_bytes(bucket, key, b"".join(self._chunks()), CONTENT_TYPE)
        else:
            storage.put_stream(bucket, key, self._chunks, CONTENT_TYPE)
        return f"s3://{bucket}/{key}"

    def _chunks(self) -> Iterator[bytes]:
        assert self._file is not None  # noqa: S101 store() has looked
        self._file.seek(0)
        left = self.recorded
        while left and (chunk := self._file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _nameless(directory: str) -> IO[bytes]:
    """A new file that has no name; not ``tempfile``, whose import the agent cannot wait for."""
    os.makedirs(directory, exist_ok=True)
    path = f"{directory}/.recording-{os.urandom(8).hex()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return os.fdopen(descriptor, "r+b", buffering=0)
