"""Storing what the code left in its output directory; see :mod:`nanogrid_executor.walk`."""

import hashlib
import time
from collections.abc import Iterator
from typing import IO, Final

from nanogrid import names, wire
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.log import log
from nanogrid_executor.pool import each
from nanogrid_executor.result import Stored
from nanogrid_executor.s3 import Storage
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.walk import Found, open_file, shown, walk

SMALL_BYTES: Final = 2 * 1024 * 1024  # up to here a file is one request, from memory
CHUNK_BYTES: Final = 1024 * 1024
WORKERS: Final = 8
IN_PARTS: Final = "upload-in-parts"  # the thread that must be waited for, to abort what it began
ALWAYS: Final = "Always"
NEVER: Final = "Never"

CONTENT_TYPES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".json": "application/json",
    ".csv": "text/csv",
    ".zip": "application/zip",
    ".tar.gz": "application/gzip",
    ".tgz": "application/gzip",
}
OTHER_TYPE: Final = "application/octet-stream"


def content_type(name: str) -> str:
    """The Content-Type of a file name."""
    lower = name.lower()
    for suffix, type_ in CONTENT_TYPES.items():
        if lower.endswith(suffix):
            return type_
    return OTHER_TYPE


def store(rules: wire.OutputRules, workspace: str, storage: Storage, *, succeeded: bool) -> Stored:
    """Upload the output files of a job, as far as its rules want them stored.

    Args:
        rules: which, where to, and how much.
        workspace: the directory that the rules' path is below.
        storage: ends at the deadline of the upload.
        succeeded: whether the code did; what a failed run left goes to a place of its own.
    """
    if rules.upload_policy == NEVER or not (succeeded or rules.upload_policy == ALWAYS):
        return Stored()
    started = time.monotonic()
    found = walk(workspace, rules)
    if not found.files:
        return Stored([], found.skipped, found.failed)
    if not rules.bucket:
        found.failed.append(f"{len(found.files)} files: there is no bucket for outputs")
        return Stored([], found.skipped, found.failed)
    stored = _Uploader(rules, workspace, storage, succeeded=succeeded).store_all(found)
    millis = int((time.monotonic() - started) * 1000)
    log("outputs-stored", files=len(stored), failed=len(found.failed), ms=millis)
    return Stored(stored, found.skipped, found.failed, millis)


class Hashing:
    """Reads a file in chunks, any number of times, and knows the last reading's hash."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._hash = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning.

        Raises:
            OSError: it has not the size that it had when it was found.
        """
        self._file.seek(0)
        self._hash = hashlib.sha256()
        left = self._size
        while chunk := self._file.read(min(CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            self._hash.update(chunk)
            yield chunk
        if left != 0:
            raise OSError("its size changed while it was being read")

    def digest(self) -> str:
        """The last reading's SHA-256."""
        return self._hash.hexdigest()


class _Uploader:
    """Uploads the files of one job."""

    def __init__(
        self, rules: wire.OutputRules, workspace: str, storage: Storage, *, succeeded: bool
    ) -> None:
        prefix = rules.prefix.rstrip("/")
        self.prefix = (f"{prefix}/" if prefix else "") + ("" if succeeded else names.PARTIAL_PREFIX)
        self.rules = rules
        self.workspace = workspace
        self.storage = storage

    def store_all(self, found: Found) -> list[wire.OutputFile]:
        """Upload small files side by side, large ones (in parts side by side) one by one."""
        small = [file for file in found.files if file[1] <= SMALL_BYTES]
        large = [file for file in found.files if file[1] > SMALL_BYTES]
        deadline = self.storage.deadline
        results = each(self._try, small, WORKERS, deadline)
        results += each(self._try, large, 1, deadline, name=IN_PARTS)
        files = []
        late = []
        for (path, _), result in zip(small + large, results, strict=True):
            if isinstance(result, str):
                found.failed.append(result)
            elif result is None:
                late.append(path)
            else:
                files.append(result)
        if late:
            others = f" and {len(late) - 1} more files" if len(late) > 1 else ""
            found.failed.append(f"{shown(late[0])}{others}: no time was left to upload it")
        return sorted(files, key=lambda file: file.path)

    def _try(self, file: tuple[str, int]) -> wire.OutputFile | str | None:
        """One upload: the stored file, or what went wrong, or nothing when it is too late."""
        path, size = file
        try:
            self.storage.deadline.check()
            return self._upload(path, size)
        except DeadlineError as error:
            log("output-late", path=path, error=error)
            return None
        except (OSError, StorageError) as error:
            log("output-failed", path=path, error=error)
            return f"{shown(path)}: {error}"

    def _upload(self, path: str, size: int) -> wire.OutputFile:
        bucket, key, type_ = self.rules.bucket, self.prefix + path, content_type(path)
        with open_file(self.workspace, f"{self.rules.path}/{path}", size) as file:
            hashing = Hashing(file, size)
            if size <= SMALL_BYTES:
                self.storage.put_bytes(bucket, key, b"".join(hashing.chunks()), type_)
            else:
                self.storage.put_stream(bucket, key, hashing.chunks, type_)
        return wire.OutputFile(
            path=path, url=self._url(key), bytes=size, sha256=hashing.digest(), content_type=type_
        )

    def _url(self, key: str) -> str:
        seconds = self.rules.presigned_expiry_seconds
        if seconds is None:
            return f"s3://{self.rules.bucket}/{key}"
        return self.storage.presign(self.rules.bucket, key, seconds)
