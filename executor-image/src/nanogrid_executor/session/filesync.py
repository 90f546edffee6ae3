"""Copies files from S3 into the data directory while a session runs.

Only the session's own sources are allowed. Files are written like uploads: no link is followed,
even if user code changes files at the same time. ``inputs/`` copies the inputs before the session
starts.
"""

import os
import posixpath
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.plurals import counted
from nanogrid.reasons import Reason
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.inputs.fetch import WORKERS
from nanogrid_executor.inputs.plan import (
    Planned,
    SyncError,
    plan_input,
    refuse_conflicts,
    refuse_unsafe_source,
)
from nanogrid_executor.log import log, warn
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError
from nanogrid_executor.session.workspace import Workspace, explained, relative
from nanogrid_executor.storage import multipart
from nanogrid_executor.storage.download import Target
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.listing import list_source
from nanogrid_executor.storage.parallel import each
from nanogrid_executor.storage.s3 import Storage

LISTED: Final = 1000
STATUSES: Final = {
    Reason.INPUT_NOT_FOUND: 404,
    Reason.INPUT_ACCESS_DENIED: 502,
    Reason.INPUT_INCOMPLETE: 502,
    Reason.INPUT_TOO_LARGE: 413,
    Reason.PATH_CONFLICT: 409,
    Reason.UNSAFE_PATH: 400,
    Reason.INPUT_ARCHIVED: 409,
    Reason.STORAGE_UNAVAILABLE: 503,
}


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A client's request, checked: an S3 source and the folder in the pod."""

    source: wire.S3Source
    folder: str


def check_request(task: wire.PodTask, bucket: str, prefix: str, local_path: str) -> SyncRequest:
    """Check a client's request. Pure.

    Raises:
        ApiError: 403 the source is not one of this session's, 400 a path is unsafe.
    """
    folder = f"{names.WORKSPACE}/{relative(local_path)}"
    data = names.DEFAULT_DATA_PATH
    if not local_path.startswith("/") or not (folder == data or folder.startswith(f"{data}/")):
        message = f"local_path {local_path!a} is not in {data}. Use {data} or a path below it."
        raise ApiError(400, Reason.UNSAFE_PATH, message)
    for item in task.inputs:
        if item.s3.key is not None and (bucket, prefix) == (item.s3.bucket, item.s3.key):
            return SyncRequest(item.s3, folder)
    source = wire.S3Source(bucket=bucket, prefix=prefix)
    try:
        refuse_unsafe_source(source)
    except SyncError as error:
        raise ApiError(400, error.reason, f"s3_key_prefix: {error}.") from error
    own = task.key(names.session_prefix(task.request_id))
    allowed = [(task.bucket, own)] if task.bucket else []
    allowed += [(i.s3.bucket, i.s3.prefix) for i in task.inputs if i.s3.prefix is not None]
    if not any(bucket == one and _within(prefix, top) for one, top in allowed):
        listed = ", ".join(f"s3://{one}/{top}" for one, top in allowed) or "nothing"
        message = f"s3://{bucket}/{prefix} is not one of this session's sources ({listed})."
        raise ApiError(403, Reason.PREFIX_NOT_ALLOWED, message)
    return SyncRequest(source, folder)


def _within(prefix: str, root: str) -> bool:
    folder = root.rstrip("/")
    return not folder or prefix.rstrip("/") == folder or prefix.startswith(f"{folder}/")


class FileSync:
    """One copy operation."""

    def __init__(self, workspace: Workspace, storage: Storage, request: SyncRequest) -> None:
        self.workspace, self.storage = workspace, storage
        self.request = request
        self.copied = 0
        self._lock = threading.Lock()

    def run(self) -> dict[str, Any]:
        """Copy all files; returns the response's body.

        Raises:
            ApiError: with the reason; files that are complete by then are kept.
        """
        started = time.monotonic()
        source = self.request.source
        log("file-sync-start", source=source.uri(), folder=self.request.folder)
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
        source = self.request.source
        item = wire.Input(name="file-sync", s3=source, mount_path=self.request.folder)
        files = plan_input(item, list_source(self.storage, source))
        refuse_conflicts((file.path, file.source) for file in files)
        return files

    def _copy(self, file: Planned) -> None:
        path = posixpath.relpath(file.path, names.WORKSPACE)
        with explained(path), self.workspace.create(path) as new:
            target = Target(new.reopenable, _uncounted, None)
            received = multipart.download(self.storage, file.bucket, file.object, target)
            size = os.fstat(new.file.fileno()).st_size
            if not received.size == size == file.object.size:
                message = f"{file.source} gave {size} bytes of {file.object.size}"
                raise SyncError(Reason.INPUT_INCOMPLETE, message)
            new.commit()
        with self._lock:
            self.copied += 1

    def _failed(self, status: int, reason: Reason, detail: str) -> ApiError:
        warn("file-sync-failed", reason=reason, detail=detail)
        after = RETRY_SECONDS if status == 503 else None
        message = f"{detail}. Copied before the failure: {counted(self.copied, 'file')}."
        return ApiError(status, reason, message, retry_after=after)


def _uncounted(size: int) -> None:
    """A file sync reports no progress."""
