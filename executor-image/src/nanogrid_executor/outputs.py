"""Storing what the code left in its output directory.

The directory is the work of a stranger, so it is walked by file descriptors: no symbolic link is
followed at any level, and only regular files that have one name are read. A link to the agent's
token, or a FIFO that never ends, is left out and named in the result's message.
"""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

from nanogrid import wire
from nanogrid_executor.log import log
from nanogrid_executor.result import Stored

MAX_FILES: Final = 1000
MAX_BYTES: Final = 1024 * 1024 * 1024
MAX_DEPTH: Final = 32
SMALL_BYTES: Final = 2 * 1024 * 1024  # up to here a file is one request, from memory
CHUNK_BYTES: Final = 1024 * 1024
WORKERS: Final = 8

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

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


@dataclass(slots=True)
class Found:
    """What a walk found: files to store as (path, bytes), and what will not be stored."""

    files: list[tuple[str, int]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    total: int = 0


def content_type(name: str) -> str:
    """The Content-Type of a file name."""
    lower = name.lower()
    for suffix, type_ in CONTENT_TYPES.items():
        if lower.endswith(suffix):
            return type_
    return OTHER_TYPE


def walk(workspace: str, output_path: str) -> Found:
    """Find the output files; paths are relative to the output directory."""
    found = Found()
    try:
        top = _open_directory(workspace, output_path)
    except FileNotFoundError:
        return found  # the code removed it: there are no outputs
    except OSError as error:
        tricked = error.errno in (errno.ENOTDIR, errno.ELOOP)
        where = found.skipped if tricked else found.failed
        where.append(f"{output_path} is no directory to read ({error.strerror})")
        return found
    try:
        _walk(top, "", 0, found)
    finally:
        os.close(top)
    found.files.sort()
    return found


def store(task: wire.Task, workspace: str) -> Stored:
    """Upload all output files of a job."""
    found = walk(workspace, task.outputs.path)
    if not found.files:
        return Stored([], found.skipped, found.failed)
    if not task.outputs.bucket:
        found.failed.append(f"{len(found.files)} files: there is no bucket for outputs")
        return Stored([], found.skipped, found.failed)
    started = time.monotonic()
    uploader = _Uploader(task, workspace, started + task.upload_timeout_seconds)
    stored = uploader.store_all(found)
    millis = int((time.monotonic() - started) * 1000)
    log("outputs-stored", files=len(stored), failed=len(found.failed), ms=millis)
    return Stored(stored, found.skipped, found.failed, millis)


def _open_directory(workspace: str, path: str) -> int:
    """Open a directory below the workspace without following a link on the way."""
    current = os.open(workspace, _DIRECTORY)
    for part in os.path.normpath(path).split("/"):
        try:
            current, parent = os.open(part, _DIRECTORY, dir_fd=current), current
        except OSError:
            os.close(current)
            raise
        os.close(parent)
    return current


def _walk(directory: int, prefix: str, depth: int, found: Found) -> None:
    for name in sorted(os.listdir(directory)):
        path = prefix + name
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            if depth == MAX_DEPTH:
                found.failed.append(f"{_shown(path)} is more than {MAX_DEPTH} folders deep")
                continue
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=directory)
            except OSError as error:  # the code took away our right to read its own folder
                found.failed.append(f"{_shown(path)}: {error.strerror}")
                continue
            try:
                _walk(inner, f"{path}/", depth + 1, found)
            finally:
                os.close(inner)
        else:
            _note(path, info, found)


def _note(path: str, info: os.stat_result, found: Found) -> None:
    """Put one directory entry where it belongs."""
    if not stat.S_ISREG(info.st_mode):
        found.skipped.append(f"{_shown(path)} is {_kind(info.st_mode)}")
    elif info.st_nlink != 1:
        found.skipped.append(f"{_shown(path)} has {info.st_nlink} names (hard links)")
    elif not path.isprintable():
        found.failed.append(f"{_shown(path)} has a name that cannot be an S3 key")
    elif len(found.files) >= MAX_FILES:
        found.failed.append(f"{_shown(path)} is one file more than {MAX_FILES}")
    elif found.total + info.st_size > MAX_BYTES:
        found.failed.append(f"{_shown(path)} would make it more than {MAX_BYTES} bytes")
    else:
        found.total += info.st_size
        found.files.append((path, info.st_size))


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a FIFO" if stat.S_ISFIFO(mode) else "no regular file"


def _shown(path: str) -> str:
    """A path as text that can be read and sent: names are bytes, and any bytes."""
    return path if path.isprintable() else ascii(path)


class _Hashing:
    """Reads a file in chunks, any number of times, and knows the last reading's size and hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning."""
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self.size = 0
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    def digest(self) -> str:
        """The last reading's SHA-256."""
        return self._hash.hexdigest()


class _Uploader:
    """Uploads the files of one job before a deadline."""

    def __init__(self, task: wire.Task, workspace: str, deadline: float) -> None:
        from nanogrid_executor.s3 import Storage

        self.storage = Storage()
        self.bucket = task.outputs.bucket
        prefix = task.outputs.prefix.rstrip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.workspace = workspace
        self.output_path = task.outputs.path
        self.deadline = deadline

    def store_all(self, found: Found) -> list[wire.OutputFile]:
        """Upload small files side by side, large ones (in parts side by side) one by one."""
        small = [path for path, size in found.files if size <= SMALL_BYTES]
        large = [path for path, size in found.files if size > SMALL_BYTES]
        results = [self._try(path) for path in large]
        if len(small) > 1:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(WORKERS) as pool:
                results += pool.map(self._try, small)
        else:
            results += [self._try(path) for path in small]
        found.failed += [result for result in results if isinstance(result, str)]
        files = [result for result in results if not isinstance(result, str)]
        return sorted(files, key=lambda file: file.path)

    def _try(self, path: str) -> wire.OutputFile | str:
        """One upload: the stored file, or what went wrong."""
        from nanogrid_executor.s3 import StorageError

        if time.monotonic() > self.deadline:
            return f"{path}: no time was left to upload it"
        try:
            return self._upload(path)
        except (OSError, StorageError) as error:
            log("output-failed", path=path, error=error)
            return f"{path}: {error}"

    def _upload(self, path: str) -> wire.OutputFile:
        folder, name = os.path.split(path)
        directory = _open_directory(self.workspace, os.path.join(self.output_path, folder))
        try:
            descriptor = os.open(name, _FILE, dir_fd=directory)
        finally:
            os.close(directory)
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                raise OSError("it was exchanged for something else")
            key, type_ = self.prefix + path, content_type(name)
            if info.st_size <= SMALL_BYTES:
                body = file.read(SMALL_BYTES)
                self.storage.put_bytes(self.bucket, key, body, type_)
                size, digest = len(body), hashlib.sha256(body).hexdigest()
            else:
                hashing = _Hashing(file)
                self.storage.put_stream(self.bucket, key, hashing.chunks, type_)
                size, digest = hashing.size, hashing.digest()
        return wire.OutputFile(
            path=path,
            url=f"s3://{self.bucket}/{key}",
            bytes=size,
            sha256=digest,
            content_type=type_,
        )
