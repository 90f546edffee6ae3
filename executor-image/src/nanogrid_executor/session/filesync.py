"""Copies files from S3 into the data directory while a session lives; see also ``sync.py``.

Only sources of this session's own are allowed, and files are written as uploads are: no link is
followed, whatever the code may do meanwhile.
"""

import os
import posixpath
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import parts
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.fetch import WORKERS
from nanogrid_executor.listing import list_source
from nanogrid_executor.log import log
from nanogrid_executor.plan import (
    Planned,
    SyncError,
    plan_input,
    refuse_conflicts,
    refuse_unsafe_source,
)
from nanogrid_executor.pool import each
from nanogrid_executor.s3 import Storage
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError
from nanogrid_executor.session.workspace import Workspace, explained, relative
from nanogrid_executor.target import Target

LISTED: Final = 1000
STATUSES: Final = {
    Reason.INPUT_NOT_FOUND: 404,
    Reason.INPUT_ACCESS_DENIED: 502,
    Reason.INPUT_INCOMPLETE: 502,
    Reason.INPUT_TOO_LARGE: 413,
    Reason.PATH_CONFLICT: 409,
    Reason.UNSAFE_PATH: 400,
    Reason.STORAGE_UNAVAILABLE: 503,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for, checked: where from, and where to in the pod."""

    source: wire.S3Source
    folder: str


def allow(task: wire.Task, bucket: str, prefix: str, local_path: str) -> Wanted:
    """What may be copied. Pure.

    Raises:
        ApiError: 403 it is not this session's own, 400 a path that is unsafe.
    """
    folder = f"{names.WORKSPACE}/{relative(local_path)}"
    data = names.DEFAULT_DATA_PATH
    if not local_path.startswith("/") or not (folder == data or folder.startswith(f"{data}/")):
        said = f"local_path {local_path!a} does not lie in {data}. Give a path below it."
        raise ApiError(400, Reason.UNSAFE_PATH, said)
    for item in task.inputs:
        if item.s3.key is not None and (bucket, prefix) == (item.s3.bucket, item.s3.key):
            return Wanted(item.s3, folder)
    source = wire.S3Source(bucket=bucket, prefix=prefix)
    try:
        refuse_unsafe_source(source)
    except SyncError as error:
        raise ApiError(400, error.reason, f"s3_key_prefix: {error}.") from error
    allowed = [(task.bucket, names.session_prefix(task.request_id))] if task.bucket else []
    allowed += [(i.s3.bucket, i.s3.prefix) for i in task.inputs if i.s3.prefix is not None]
    if not any(bucket == own and _within(prefix, root) for own, root in allowed):
        listed = ", ".join(f"s3://{own}/{root}" for own, root in allowed) or "nothing"
        said = f"s3://{bucket}/{prefix} is not one of this session's sources, which are: {listed}."
        raise ApiError(403, Reason.PREFIX_NOT_ALLOWED, said)
    return Wanted(source, folder)


def _within(prefix: str, root: str) -> bool:
    folder = root.rstrip("/")
    return not folder or prefix.rstrip("/") == folder or prefix.startswith(f"{folder}/")


class FileSync:
    """One copy."""

    def __init__(self, workspace: Workspace, storage: Storage, wanted: Wanted) -> None:
        self.workspace = workspace
        self.storage = storage
        self.wanted = wanted
        self.copied = 0
        self._lock = threading.Lock()

    def run(self) -> dict[str, Any]:
        """Copy everything; the answer's body.

        Raises:
            ApiError: with the reason; files that were whole by then stay.
        """
        started = time.monotonic()
        source = self.wanted.source
        log("file-sync-start", source=source.uri(), folder=self.wanted.folder)
        try:
            files = self._plan()
            each(self._copy, files, WORKERS, self.storage.deadline)
            self.storage.deadline.check()
        except DeadlineError as error:
            raise self._failed(504, Reason.INPUT_SYNC_TIMEOUT, str(error)) from error
        except (StorageError, SyncError) as error:
            status = STATUSES.get(error.reason, 502)
            raise self._failed(status, error.reason, str(error)) from error
        size = sum(file.object.size for file in files)
        millis = int((time.monotonic() - started) * 1000)
        retries = self.storage.retries
        log("file-sync-end", files=len(files), bytes=size, ms=millis, retries=retries)
        return {
            "status": "success",
            "files": len(files),
            "bytes": size,
            "durationMillis": millis,
            "retries": retries,
            "files_list": [file.path for file in files[:LISTED]],
            "truncated": len(files) > LISTED,
        }

    def _plan(self) -> list[Planned]:
        source = self.wanted.source
        item = wire.Input(name="file-sync", s3=source, mount_path=self.wanted.folder)
        files = plan_input(item, list_source(self.storage, source))
        refuse_conflicts((file.path, file.source) for file in files)
        return files

    def _copy(self, file: Planned) -> None:
        path = posixpath.relpath(file.path, names.WORKSPACE)
        with explained(path), self.workspace.create(path) as new:
            target = Target(new.reopenable, _uncounted, None)
            received = parts.download(self.storage, file.bucket, file.object, target)
            size = os.fstat(new.file.fileno()).st_size
            if not received.size == size == file.object.size:
                said = f"{file.source} gave {size} bytes of {file.object.size}"
                raise SyncError(Reason.INPUT_INCOMPLETE, said)
            new.commit()
        with self._lock:
            self.copied += 1

    def _failed(self, status: int, reason: Reason, said: str) -> ApiError:
        log("file-sync-failed", reason=reason, message=said)
        after = RETRY_SECONDS if status == 503 else None
        whole = f"{said}. {self.copied} files were copied before."
        return ApiError(status, reason, whole, retry_after=after)


def _uncounted(size: int) -> None:
    """Nobody looks at the progress of a file sync."""
