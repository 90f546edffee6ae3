"""The complete text of a stream, up to a cap: in a file while the code runs, then stored in S3.

The file has no name, so no other process reads it and it disappears with this process. It holds
raw bytes, so bytes that are not UTF-8 survive. Bytes beyond the cap are counted and dropped.
"""

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Final

from nanogrid.wire import ENCODING_BINARY
from nanogrid_executor.capture import Capture
from nanogrid_executor.log import warn

if TYPE_CHECKING:
    from nanogrid_executor.storage.s3 import Storage

CONTENT_TYPE: Final = "text/plain; charset=utf-8"
BINARY_TYPE: Final = "application/octet-stream"
SMALL_BYTES: Final = 5 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024


class StreamLog(Capture):
    """Head and tail as any :class:`Capture`, and the first ``limit`` bytes in a file."""

    def __init__(self, directory: str, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.kept = 0
        self._directory = directory
        self._file: IO[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        super().feed(data)
        if self.kept < self.limit:
            self._write(data[: self.limit - self.kept])

    def _write(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = _nameless(self._directory)
            self._file.write(data)
            self.kept += len(data)
        except OSError as error:  # a full disk must not cost the result, which has head and tail
            warn("stream-log-ended", bytes=self.kept, error=error)
            self.limit = self.kept

    def store(self, storage: "Storage", bucket: str, key: str) -> str | None:
        """Upload the file when the result's own text lacks some of the stream, or is not exact.

        Returns:
            The URI of the object; None when there is nothing to store.

        Raises:
            StorageError, DeadlineError, OSError: it could not be stored.
        """
        binary = self.encoding == ENCODING_BINARY
        if self._file is None or not self.kept or not (self.truncated or binary):
            return None
        content_type = BINARY_TYPE if binary else CONTENT_TYPE
        if self.kept <= SMALL_BYTES:
            storage.put_bytes(bucket, key, b"".join(self._chunks()), content_type)
        else:
            storage.put_stream(bucket, key, self._chunks, content_type)
        return f"s3://{bucket}/{key}"

    def _chunks(self) -> Iterator[bytes]:
        assert self._file is not None  # noqa: S101 store() has checked it
        self._file.seek(0)
        left = self.kept
        while left and (chunk := self._file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _nameless(directory: str) -> IO[bytes]:
    """A new file without a name; not ``tempfile``, whose import takes too long for the agent."""
    os.makedirs(directory, exist_ok=True)
    path = f"{directory}/.stream-{os.urandom(8).hex()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return os.fdopen(descriptor, "r+b", buffering=0)
