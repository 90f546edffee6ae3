"""An output file of a job: read or download it; its size and checksum are verified."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import urllib3
from urllib3.exceptions import HTTPError

from nanogrid import wire
from nanogrid.client import downloads
from nanogrid.client.errors import Unreachable, api_error
from nanogrid.client.storage import Corrupt, Storage

TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
CHUNK_BYTES: Final = 1 << 20


class Output:
    """A stored file: ``name`` relative to the output folder, ``bytes``, ``sha256``, ``url``."""

    def __init__(self, file: wire.OutputFile, storage: Callable[[], Storage]) -> None:
        self.name = file.path
        self.url = file.url
        self.bytes = file.bytes
        self.sha256 = file.sha256
        self.content_type = file.content_type
        self._storage = storage

    def read(self) -> bytes:
        """The content, verified.

        Raises:
            ApiError: the object cannot be read (a presigned URL may have expired).
            Corrupt: the content is not what the job stored.
        """
        return b"".join(self._verified_chunks())

    def download(self, path: str | Path) -> Path:
        """Store the content as a file, or below an existing directory.

        The file appears when its content is complete and verified.

        Returns:
            The path of the file.

        Raises:
            OSError: the file cannot be written.
            ApiError, Corrupt: see read; also Corrupt if the name leads out of the directory.
        """
        target = Path(path)
        if target.is_dir():
            target = downloads.inside(target, self.name)
        return downloads.store(target, self._verified_chunks())

    def _verified_chunks(self) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks():
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (self.bytes, self.sha256):
            raise Corrupt(f"{self.name}: the {size} bytes read differ from the stored file.")

    def _chunks(self) -> Iterator[bytes]:
        if self.url.startswith("s3://"):
            yield from self._storage().chunks(self.url)
            return
        try:
            with urllib3.PoolManager() as pool:
                answer = pool.request(
                    "GET", self.url, preload_content=False, timeout=TIMEOUT, retries=3
                )
                if answer.status >= 300:
                    hint = "The presigned URL may have expired. Read the file from S3."
                    raise api_error(answer.status, "", f"{self.name}: {answer.status}.", hint)
                yield from answer.stream(CHUNK_BYTES)
        except HTTPError as e:
            raise Unreachable(0, type(e).__name__, f"{self.name}: {e}.") from e

    def __repr__(self) -> str:
        return f"Output({self.name!r}, {self.bytes} bytes, {self.url})"
