"""The init container: copies inputs and code from S3 to the workspace and proves them complete.

User code cannot start before this exits with 0. The order:
1. List everything: a missing input is known before a byte is copied.
2. Check and unpack the ZIPs.
3. Copy the files, and hash each while it is written.
4. Compare every file with its listing.
5. Write the manifest by a rename.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.first_connection import await_s3
from nanogrid_executor.inputs.fetch import Fetcher, Progress
from nanogrid_executor.inputs.plan import (
    Planned,
    SyncError,
    plan_input,
    refuse_conflicts,
    refuse_unsafe_source,
)
from nanogrid_executor.inputs.proof import millis_since, prove
from nanogrid_executor.log import about_task, log, warn
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.listing import list_source
from nanogrid_executor.storage.s3 import Storage

MESSAGE_CAPS: Final = (3000, 600)  # the second is for text that JSON makes six times as long
LATE_SECONDS: Final = 5.0  # after the timeout; then a request that hangs is given up


class Sync:
    """One run of the sync."""

    def __init__(
        self, task: wire.PodTask, paths: Paths, storage: Storage, progress: Progress
    ) -> None:
        self.task = task
        self.paths = paths
        self.storage = storage
        self.progress = progress
        self.fetcher = Fetcher(storage, paths, progress)
        self.reserved: list[tuple[str, str]] = []  # (path, source) of every file to write
        self.notes: list[str] = []

    def run(self) -> wire.InputReport:
        """Copy and verify everything; the manifest is on disk when this returns.

        Raises:
            SyncError, StorageError: the sync fails; ``reason`` is why.
        """
        started = time.monotonic()
        log("sync-start", inputs=len(self.task.inputs), code=_uri(self.task.code_s3))
        try:
            planned = self._plan_all()
            self._unpack_all()
            self._fetch_all(planned)
        except DeadlineError as error:
            message = f"{self.progress} were copied; {error}"
            raise SyncError(Reason.INPUT_SYNC_TIMEOUT, message) from error
        self._verify([file for _, files in planned for file in files])
        entries = self.fetcher.entries
        return prove(self.task, self.paths, self.storage, entries, self.notes, started)

    def _plan_all(self) -> list[tuple[wire.Input, list[Planned]]]:
        """List every input that is not to be unpacked."""
        for source in [item.s3 for item in self.task.inputs] + [self.task.code_s3]:
            if source is not None:
                refuse_unsafe_source(source)
        planned = [(item, self._plan(item)) for item in self.task.inputs if not item.unpack]
        self._reserve([(file.path, file.source) for _, files in planned for file in files])
        if self.task.code_s3 is None:  # the agent writes it later
            self._reserve([(f"{names.WORKSPACE}/{names.ENTRYPOINT}", "the code")])
        return planned

    def _reserve(self, files: list[tuple[str, str]]) -> None:
        self.reserved += files
        refuse_conflicts(self.reserved)

    def _plan(self, item: wire.Input) -> list[Planned]:
        log("input-start", name=item.name, source=item.s3.uri(), mount=item.mount_path)
        started = time.monotonic()
        try:
            objects = list_source(self.storage, item.s3)
        except StorageError as error:
            if self._may_be_missing(item, error):
                return []
            raise
        files = plan_input(item, objects)
        size = sum(found.size for found in objects)
        self.progress.expect(len(files), size)
        log("input-listed", name=item.name, files=len(files), bytes=size, ms=millis_since(started))
        return files

    def _may_be_missing(self, item: wire.Input, error: StorageError) -> bool:
        if error.reason is not Reason.INPUT_NOT_FOUND:
            return False
        if item.required:
            hint = "" if item.s3.key is None else " (if it is a folder, use prefix instead of key)"
            message = f"input {item.name!r}: found 0 files, at least {item.min_files} expected"
            raise SyncError(Reason.INPUT_NOT_FOUND, f"{message}; {error}{hint}") from error
        warn("input-missing", name=item.name, required=False)
        return True

    def _unpack_all(self) -> None:
        """Unpack the ZIPs of the code and of inputs."""
        inputs = [item for item in self.task.inputs if item.unpack]
        if self.task.code_s3 is None and not inputs:
            return
        # Late: a sync without ZIPs does not pay for the modules that read them.
        from nanogrid_executor.inputs.unpack import Unpacker

        unpacker = Unpacker(self.paths, self.fetcher, self._reserve, self.notes)
        if self.task.code_s3 is not None:
            unpacker.code(self.task, self.task.code_s3, [path for path, _ in self.reserved])
        for item in inputs:
            try:
                unpacker.input(item)
            except StorageError as error:
                if not self._may_be_missing(item, error):
                    raise

    def _fetch_all(self, planned: list[tuple[wire.Input, list[Planned]]]) -> None:
        for item, files in planned:
            started = time.monotonic()
            self.fetcher.fetch(files)
            size = sum(file.object.size for file in files)
            log("input-end", name=item.name, files=len(files), bytes=size, ms=millis_since(started))

    def _verify(self, planned: list[Planned]) -> None:
        """Compare the files on disk with the listing."""
        for file in planned:
            real = self.paths.real(file.path)
            size = os.path.getsize(real) if os.path.exists(real) else None
            if size != file.object.size:
                raise SyncError(
                    Reason.INPUT_INCOMPLETE,
                    f"{file.path} has {size} bytes, {file.source} has {file.object.size}",
                )
        copied = {entry.path for entry in self.fetcher.entries} & {file.path for file in planned}
        if len(copied) != len(planned):
            raise SyncError(
                Reason.INPUT_INCOMPLETE, f"{len(copied)} of {len(planned)} files were copied"
            )


def _uri(source: wire.S3Source | None) -> str:
    return source.uri() if source else "none"


def run(
    task: wire.PodTask,
    paths: Paths,
    make_storage: Callable[[Deadline], Storage] = Storage,
    progress: Progress | None = None,
) -> wire.InputReport | wire.SyncFailure:
    """Sync, and turn every error into a failure with a reason."""
    try:
        os.makedirs(paths.run_dir, exist_ok=True)
        storage = make_storage(Deadline(task.input_sync_timeout_seconds))
        return Sync(task, paths, storage, progress or Progress()).run()
    except (SyncError, StorageError) as error:
        reason, message = error.reason, str(error)
    except Exception as error:  # the boundary: a pod never ends without a reason
        import traceback  # late: few syncs have one

        traceback.print_exc(file=sys.stdout)
        reason, message = Reason.SYNC_FAILED, f"{type(error).__name__}: {error}"
    warn("sync-failed", reason=reason, detail=message)
    return _fitting(reason, message)


def _fitting(reason: Reason, message: str) -> wire.SyncFailure:
    """A failure that fits the termination message, so that the kubelet does not cut it."""
    for cap in MESSAGE_CAPS:
        failure = wire.SyncFailure(reason=reason.value, message=shorten_text(message, cap))
        if len(wire.dumps(failure).encode()) <= wire.TERMINATION_CAP_BYTES:
            break
    return failure


def run_in_time(
    task: wire.PodTask,
    paths: Paths,
    end: Callable[[wire.InputReport | wire.SyncFailure], None],
    make_storage: Callable[[Deadline], Storage] = Storage,
    progress: Progress | None = None,
) -> None:
    """Sync, and say how it ended even if a request hangs: nothing can interrupt a request.

    ``end`` gets the outcome. Only its first call counts: a late sync makes a second one.
    """
    await_s3()
    seconds = task.input_sync_timeout_seconds

    def give_up() -> None:
        message = f"A request to S3 did not end; the timeout of the sync is {seconds:g} s"
        warn("sync-failed", reason=Reason.INPUT_SYNC_TIMEOUT, detail=message)
        end(_fitting(Reason.INPUT_SYNC_TIMEOUT, message))

    timer = threading.Timer(seconds + LATE_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    outcome = run(task, paths, make_storage, progress)
    timer.cancel()
    end(outcome)


def main(paths: Paths, session_port: int = names.SESSION_PORT) -> NoReturn:
    """Entry point of the init container; exits with 0 only when the manifest exists."""
    task = wire.loads(wire.PodTask, os.environ[names.ENV_TASK])
    about_task(task)
    progress = Progress()
    if task.session is not None:
        from nanogrid_executor.inputs.progress_server import ProgressServer

        ProgressServer(task.request_id, lambda: progress).start(session_port)

    def end(outcome: wire.InputReport | wire.SyncFailure) -> None:
        paths.write_termination(wire.dumps(outcome))
        sys.stdout.flush()
        # Not sys.exit, which would wait for requests that hang.
        os._exit(1 if isinstance(outcome, wire.SyncFailure) else 0)

    run_in_time(task, paths, end, progress=progress)
    raise AssertionError("unreachable: the end of the sync ends the process")
