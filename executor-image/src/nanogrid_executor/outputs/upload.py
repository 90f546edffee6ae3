"""Uploads the files that :mod:`nanogrid_executor.outputs.walk` finds."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import IO, Final

from nanogrid import names, wire
from nanogrid.plurals import counted
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.log import log, warn
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.outputs.walk import Found, open_file, shown, walk
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.parallel import IN_PARTS, each
from nanogrid_executor.storage.s3 import Storage

SMALL_BYTES: Final = 2 * 1024 * 1024  # up to this size a file is one request, from memory
CHUNK_BYTES: Final = 1024 * 1024
WORKERS: Final = 8
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


def store(
    rules: wire.OutputRules,
    workspace: str,
    storage: Storage,
    *,
    succeeded: bool,
    find: Callable[[str, wire.OutputRules], Found] = walk,
) -> Stored:
    """Upload the output files of a job that its rules select.

    Args:
        rules: which files, where to, and how much.
        workspace: the directory that the output directory is below.
        storage: its deadline ends the upload.
        succeeded: whether the code succeeded; a failed run has a prefix of its own.
        find: finds the files.
    """
    if rules.upload_policy == NEVER or not (succeeded or rules.upload_policy == ALWAYS):
        return Stored()
    started = time.monotonic()
    found = find(workspace, rules)
    if not found.files:
        return Stored(skipped=found.skipped, failed=found.failed, note=found.note)
    if not rules.bucket:
        found.failed.append(f"{counted(len(found.files), 'file')}: there is no bucket for outputs")
        return Stored(skipped=found.skipped, failed=found.failed, note=found.note)
    stored = _Uploader(rules, workspace, storage, succeeded=succeeded).store_all(found)
    millis = int((time.monotonic() - started) * 1000)
    log("outputs-stored", files=len(stored), failed=len(found.failed), ms=millis)
    return Stored(
        files=stored, skipped=found.skipped, failed=found.failed, millis=millis, note=found.note
    )


class Hashing:
    """Reads a file in chunks, any number of times, and hashes it each time."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._hash = hashlib.sha256()

    def chunks(self) -> Iterator[bytes]:
        """The content from the beginning.

        Raises:
            OSError: the size is not the one that the walk found.
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
        """The SHA-256 of the last reading."""
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
        """Upload small files in parallel, large files one by one with their parts in parallel."""
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
        """Upload one file: the stored file, or the error, or None when it is too late."""
        path, size = file
        try:
            self.storage.deadline.check()
            return self._upload(path, size)
        except DeadlineError as error:
            warn("output-late", path=path, error=error)
            return None
        except (OSError, StorageError) as error:
            warn("output-failed", path=path, error=error)
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
