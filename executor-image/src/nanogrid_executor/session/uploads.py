"""Files that a client sends: into the workspace, and a copy of each into S3."""

import os
from collections.abc import Callable
from typing import IO, Any, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import log
from nanogrid_executor.outputs import SMALL_BYTES, Hashing, content_type
from nanogrid_executor.s3 import Storage
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.session.errors import ApiError, bad_request
from nanogrid_executor.session.workspace import Workspace

MAX_BYTES: Final = 1 << 30
CHUNK_BYTES: Final = 256 * 1024
STORE_SECONDS: Final = 120.0
DATA_FOLDER: Final = "data/"
OTHER_FOLDER: Final = ".app/"  # of the copies of files that are not below the data directory

Read = Callable[[int], bytes]


def copy_key(request_id: str, path: str) -> str:
    """Where in S3 the copy of a workspace file is: ``data/x`` at ``data/x``, others apart.

    Raises:
        ApiError: 400, the name is kept for others.
    """
    prefix = names.session_prefix(request_id) + names.SESSION_DATA
    if path.startswith(DATA_FOLDER + OTHER_FOLDER):
        said = f"{DATA_FOLDER}{OTHER_FOLDER} is reserved. Choose another folder."
        raise ApiError(400, Reason.UNSAFE_PATH, said)
    if path.startswith(DATA_FOLDER):
        return prefix + path.removeprefix(DATA_FOLDER)
    return prefix + OTHER_FOLDER + path


def refuse_length(length: int | None, limit: int = MAX_BYTES) -> None:
    """Refuse a body by its announced length.

    Raises:
        ApiError: 413.
    """
    if length is not None and length > limit:
        said = f"The file has {length} bytes, at most {limit} are taken. Put it into S3 and use"
        raise ApiError(413, Reason.FILE_TOO_LARGE, f"{said} /file-sync.")


def receive(
    task: wire.Task,
    workspace: Workspace,
    path: str,
    read: Read,
    length: int | None,
    limit: int = MAX_BYTES,
) -> dict[str, Any]:
    """Write a request's body to a file and copy it to S3; the answer's body.

    Should S3 not take the copy, the file stays: the code may use it, and sending it again mends it.

    Args:
        task: the session's.
        workspace: where the file goes.
        path: relative to it.
        read: gives the body in pieces, nothing at its end.
        length: how many bytes it should have, if it said so.
        limit: how many it may have.

    Raises:
        ApiError: 400, 409, 413, 502 or 507.
    """
    key = copy_key(task.request_id, path)
    refuse_length(length, limit)
    with workspace.create(path) as new:
        size = _write(new.file, read, limit)
        if length is not None and size != length:
            raise bad_request(f"The body had {size} bytes of the {length} announced. Send again.")
        new.commit()
        hashing = Hashing(new.file, size)
        url = _copy(task, key, path, hashing, size)
        if url is None:
            for _ in hashing.chunks():  # nobody read it for S3
                pass
    log("file-received", path=path, bytes=size, stored=bool(url))
    return {"path": path, "bytes": size, "sha256": hashing.digest(), "url": url}


def _write(file: IO[bytes], read: Read, limit: int) -> int:
    size = 0
    while chunk := read(CHUNK_BYTES):
        size += len(chunk)
        refuse_length(size, limit)
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    return size


def _copy(task: wire.Task, key: str, path: str, hashing: Hashing, size: int) -> str | None:
    """Store the copy; its URI, or nothing when the session has no bucket."""
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
        said = f"{path} is in the workspace, its copy is not in S3: {error}. Send it again."
        raise ApiError(502, Reason.STORAGE_UNAVAILABLE, said) from error
    return f"s3://{task.bucket}/{key}"
