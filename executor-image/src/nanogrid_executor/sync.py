"""The init container: inputs and code from S3 into the workspace, proven complete.

User code cannot start before this has exited with 0. All listings come first, so that what is
missing is known before a byte is copied; then ZIPs, which are checked before they are unpacked;
then files, each hashed while it is written; then every file is compared with its listing; and last
of all the manifest appears, by a rename.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NoReturn

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import archive, entrypoint
from nanogrid_executor.archive_checks import ArchiveError
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.fetch import Fetcher
from nanogrid_executor.listing import list_source
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.plan import (
    Planned,
    SyncError,
    mount_of,
    plan_input,
    refuse_conflicts,
    refuse_too_few,
    refuse_unsafe_source,
)
from nanogrid_executor.s3 import Storage
from nanogrid_executor.s3_errors import StorageError

MESSAGE_CAPS: Final = (3000, 600)  # the second for text that JSON makes six times as long
ARCHIVE_NAME: Final = ".nanogrid-archive.zip"
LATE_SECONDS: Final = 5.0  # a request that will not end is given up so long after the timeout


class Sync:
    """One run of the sync."""

    def __init__(self, task: wire.Task, paths: Paths, storage: Storage) -> None:
        self.task = task
        self.paths = paths
        self.storage = storage
        self.fetcher = Fetcher(storage, paths)
        self.taken: list[tuple[str, str]] = []  # (path, source) of every file there will be

    def run(self) -> wire.InputReport:
        """Copy and verify everything; the manifest is on disk when this returns.

        Raises:
            SyncError, StorageError, ArchiveError: with the reason.
        """
        started = time.monotonic()
        log("sync-start", inputs=len(self.task.inputs), code=_uri(self.task.code_s3))
        try:
            planned = self._plan_all()
            self._unpack_code()
            for item in self.task.inputs:
                if item.unpack:
                    self._unpack_input(item)
            self._fetch_all(planned)
        except DeadlineError as error:
            said = f"{self.fetcher.progress} were copied; {error}"
            raise SyncError(Reason.INPUT_SYNC_TIMEOUT, said) from error
        self._verify([file for _, files in planned for file in files])
        return self._prove(started)

    def _plan_all(self) -> list[tuple[wire.Input, list[Planned]]]:
        """List every input that is not a ZIP."""
        for source in [item.s3 for item in self.task.inputs] + [self.task.code_s3]:
            if source is not None:
                refuse_unsafe_source(source)
        planned = [(item, self._plan(item)) for item in self.task.inputs if not item.unpack]
        self._take([(file.path, file.source) for _, files in planned for file in files])
        if self.task.code_s3 is None:  # the agent writes it later
            self._take([(f"{names.WORKSPACE}/{names.ENTRYPOINT}", "the code")])
        return planned

    def _take(self, files: list[tuple[str, str]]) -> None:
        self.taken += files
        refuse_conflicts(self.taken)

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
        self.fetcher.progress.expect(len(files), size)
        log("input-listed", name=item.name, files=len(files), bytes=size, ms=_millis(started))
        return files

    def _may_be_missing(self, item: wire.Input, error: StorageError) -> bool:
        if error.reason is not Reason.INPUT_NOT_FOUND:
            return False
        if item.required:
            raise SyncError(
                Reason.INPUT_NOT_FOUND,
                f"input {item.name!r}: found 0 files, at least {item.min_files} expected; {error}",
            ) from error
        log("input-missing", name=item.name, required=False)
        return True

    def _unpack_code(self) -> None:
        source = self.task.code_s3
        if source is None:
            return
        workspace = f"{names.WORKSPACE}/"
        others = {path.removeprefix(workspace) for path, _ in self.taken}

        def settle(opened: archive.Archive) -> None:
            entrypoint.settle(opened, self.task.command, others)

        too_large = Reason.ARCHIVE_TOO_LARGE
        self._unpack(source, names.WORKSPACE, archive.MAX_BYTES, too_large, settle)

    def _unpack_input(self, item: wire.Input) -> None:
        log("input-start", name=item.name, source=item.s3.uri(), mount=item.mount_path, unpack=True)
        limit = archive.MAX_BYTES if item.max_bytes is None else item.max_bytes
        try:
            self._unpack(
                item.s3,
                mount_of(item),
                limit,
                Reason.INPUT_TOO_LARGE,
                lambda opened: refuse_too_few(item, len(opened.files)),
            )
        except StorageError as error:
            if not self._may_be_missing(item, error):
                raise

    def _unpack(
        self,
        source: wire.S3Source,
        mount: str,
        max_bytes: int,
        too_large: Reason,
        settle: Callable[[archive.Archive], None],
    ) -> None:
        """Copy one ZIP into the workspace, check it, unpack it, and remove it."""
        started = time.monotonic()
        local = os.path.join(self.paths.workspace, ARCHIVE_NAME)
        try:
            self.fetcher.archive(source, local, max_bytes, too_large)
            with archive.opened(local, max_bytes) as opened:
                settle(opened)
                self._take([(f"{mount}/{path}", source.uri()) for path in opened.files])
                target = self.paths.real(mount)
                os.makedirs(target, exist_ok=True)
                files = opened.extract(target, self.storage.deadline.check)
        finally:
            if os.path.exists(local):
                os.unlink(local)
        for path, size, digest in files:
            self.fetcher.note(f"{mount}/{path}", size, digest, source.uri(), None)
        size = sum(file.bytes for file in files)
        where = source.uri()
        log("unpacked", source=where, files=len(files), bytes=size, ms=_millis(started))

    def _fetch_all(self, planned: list[tuple[wire.Input, list[Planned]]]) -> None:
        for item, files in planned:
            started = time.monotonic()
            self.fetcher.fetch(files)
            size = sum(file.object.size for file in files)
            log("input-end", name=item.name, files=len(files), bytes=size, ms=_millis(started))

    def _verify(self, planned: list[Planned]) -> None:
        """Compare what is on disk with what was listed."""
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

    def _prove(self, started: float) -> wire.InputReport:
        """Write the manifest, to S3 and to disk; what is reported of it."""
        entries = sorted(self.fetcher.entries, key=lambda entry: entry.path)
        report = wire.InputReport(
            files=len(entries),
            bytes=sum(entry.bytes for entry in entries),
            duration_millis=_millis(started),
            retries=self.storage.retries,
        )
        key = names.manifest_object(self.task.request_id)
        uri = f"s3://{self.task.bucket}/{key}" if self.task.bucket else None
        manifest = wire.Manifest(report=replace(report, manifest=uri), entries=entries)
        if uri is not None and not self._put_manifest(key, manifest):
            manifest = replace(manifest, report=report)
        self.paths.write_manifest(wire.dumps(manifest))
        millis, retries = report.duration_millis, report.retries
        log("sync-end", files=report.files, bytes=report.bytes, ms=millis, retries=retries)
        return manifest.report

    def _put_manifest(self, key: str, manifest: wire.Manifest) -> bool:
        """Store a copy for people; the proof is the one on disk."""
        try:
            body = wire.dumps(manifest).encode()
            self.storage.put_bytes(self.task.bucket, key, body, "application/json")
        except (StorageError, DeadlineError) as error:
            log("manifest-not-stored", key=key, message=error)
            return False
        return True


def _uri(source: wire.S3Source | None) -> str:
    return source.uri() if source else "none"


def _millis(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def run(
    task: wire.Task,
    paths: Paths,
    make_storage: Callable[[Deadline], Storage] = Storage,
    on_begin: Callable[[Sync], None] = lambda sync: None,
) -> wire.InputReport | wire.SyncFailure:
    """Sync, and turn whatever goes wrong into a failure with a reason."""
    try:
        os.makedirs(paths.run_dir, exist_ok=True)
        sync = Sync(task, paths, make_storage(Deadline(task.input_sync_timeout_seconds)))
        on_begin(sync)
        return sync.run()
    except (SyncError, StorageError, ArchiveError) as error:
        reason, message = error.reason, str(error)
    except Exception as error:  # the boundary: a pod must never end without a reason
        traceback.print_exc(file=sys.stdout)
        reason, message = Reason.SYNC_FAILED, f"{type(error).__name__}: {error}"
    log("sync-failed", reason=reason, message=message)
    return _fitting(reason, message)


def _fitting(reason: Reason, message: str) -> wire.SyncFailure:
    """A failure that the kubelet will not cut."""
    for cap in MESSAGE_CAPS:
        failure = wire.SyncFailure(reason=reason.value, message=shorten_text(message, cap))
        if len(wire.dumps(failure).encode()) <= wire.TERMINATION_CAP_BYTES:
            break
    return failure


def main(paths: Paths, session_port: int = names.SESSION_PORT) -> NoReturn:
    """Entry point of the init container; exits with 0 only when there is a manifest."""
    task = wire.loads(wire.Task, os.environ[names.ENV_TASK])
    _give_up_after(task.input_sync_timeout_seconds, paths)
    syncs: list[Sync] = []
    if task.session is not None:
        from nanogrid_executor.session.progress import ProgressServer

        look = lambda: syncs[0].fetcher.progress if syncs else None  # noqa: E731
        ProgressServer(task.request_id, look).start(session_port)
    outcome = run(task, paths, on_begin=syncs.append)
    paths.write_termination(wire.dumps(outcome))
    sys.stdout.flush()
    os._exit(1 if isinstance(outcome, wire.SyncFailure) else 0)  # whatever requests still hang


def _give_up_after(seconds: float, paths: Paths) -> None:
    """End the process should a request outlive the timeout: nothing can interrupt one."""

    def give_up() -> None:
        said = f"A request to S3 did not end; the sync was given {seconds:g} s"
        log("sync-failed", reason=Reason.INPUT_SYNC_TIMEOUT, message=said)
        paths.write_termination(wire.dumps(_fitting(Reason.INPUT_SYNC_TIMEOUT, said)))
        os._exit(1)

    timer = threading.Timer(seconds + LATE_SECONDS, give_up)
    timer.daemon = True
    timer.start()
