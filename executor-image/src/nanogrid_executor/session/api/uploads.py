"""Files that a client sends: written to the workspace, and a copy of each to S3."""

import os
from collections.abc import Callable
from typing import IO, Any, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import log
from nanogrid_executor.outputs.upload import SMALL_BYTES, Hashing, content_type
from nanogrid_executor.session.errors import ApiError, bad_request
from nanogrid_executor.session.workspace import Workspace
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.s3 import Storage

MAX_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 256 * 1024
STORE_SECONDS: Final = 120.0
DATA_FOLDER: Final = "data/"
OTHER_FOLDER: Final = ".app/"  # for copies of files that are not in the data directory

Read = Callable[[int], bytes]


def copy_key(request_id: str, path: str) -> str:
    """The S3 key of a workspace file's copy: ``data/x`` at ``data/x``, others in a folder apart.

    It is relative to the root of the namespace.

    Raises:
        ApiError: 400, the path is reserved for those others.
    """
    prefix = names.session_prefix(request_id) + names.SESSION_DATA
    if path.startswith(DATA_FOLDER + OTHER_FOLDER):
        message = f"{DATA_FOLDER}{OTHER_FOLDER} is reserved. Use another folder."
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    if path.startswith(DATA_FOLDER):
        return prefix + path.removeprefix(DATA_FOLDER)
    return prefix + OTHER_FOLDER + path


def check_length(length: int | None, limit: int = MAX_BYTES) -> None:
    """Refuse a body by its announced length.

    Raises:
        ApiError: 413.
    """
    if length is not None and length > limit:
        message = f"The file has {length} bytes; the maximum is {limit}."
        hint = "Upload it to S3 and use POST /file-sync."
        raise ApiError(413, Reason.FILE_TOO_LARGE, f"{message} {hint}")


def receive(
    task: wire.PodTask,
    workspace: Workspace,
    path: str,
    read: Read,
    length: int | None,
    limit: int = MAX_BYTES,
) -> dict[str, Any]:
    """Write a request's body to a file and copy it to S3; returns the response's body.

    If S3 does not accept the copy, the file stays: user code may use it, and the client can send it
    again.

    Args:
        task: the session's.
        workspace: of the file.
        path: relative to the workspace.
        read: gives the body in pieces, and an empty one at its end.
        length: the announced length in bytes, if any.
        limit: the maximum length in bytes.

    Raises:
        ApiError: 400, 409, 413, 502 or 507.
    """
    key = task.key(copy_key(task.request_id, path))
    check_length(length, limit)
    with workspace.create(path) as new:
        size = _write(new.file, read, limit)
        if length is not None and size != length:
            message = f"The body has {size} bytes, but Content-Length is {length}."
            raise bad_request(f"{message} Send the file again.")
        new.commit()
        hashing = Hashing(new.file, size)
        url = _copy(task, key, path, hashing, size)
        if url is None:
            for _ in hashing.chunks():  # without S3, only the hash needs the content
                pass
    log("file-received", path=path, bytes=size, stored=bool(url))
    return {"path": path, "bytes": size, "sha256": hashing.digest(), "url": url}


def _write(file: IO[bytes], read: Read, limit: int) -> int:
    size = 0
    while chunk := read(CHUNK_BYTES):
        size += len(chunk)
        check_length(size, limit)
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    return size


def _copy(task: wire.PodTask, key: str, path: str, hashing: Hashing, size: int) -> str | None:
    """Store the copy; returns its URI, or None when the session has no bucket."""
    if not task.bucket:
        return None
    storage = Storage(Deadline(STORE_SECONDS), delays=(1.0,))
    type_ = content_type(os.path.basename(path))
    try:
        if size <= SMALL_BYTES:
            storage.put_bytes(task.bucket, key, b"".join(hashing.chunks()), type_)
        else:
            storage.put_stream(task.bucket, key, hashing.chunks, type_)
    except (StorageError, DeadlineError, OSError) as error:
        message = f"{path} is in the workspace, but S3 has no copy: {error}."
        hint = "Send the file again."
        raise ApiError(502, Reason.STORAGE_UNAVAILABLE, f"{message} {hint}") from error
    return f"s3://{task.bucket}/{key}"
