"""The init container: inputs and code from S3 into the workspace, proven complete.

User code cannot start before this has exited with 0. All listings come first, so that what is
missing is known before a byte is copied; then code, then inputs, each hashed while it is written;
then every file is compared with its listing; and last of all the manifest appears, by a rename.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import archive
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.plan import Planned, SyncError, plan_input, refuse_conflicts
from nanogrid_executor.s3 import Object, Received, Storage, StorageError

WORKERS: Final = 16
MESSAGE_CAPS: Final = (3000, 600)  # the second for text that JSON makes six times as long
ARCHIVE_NAME: Final = "code.zip"
MANY: Final = 10


class Sync:
    """One run of the sync."""

    def __init__(self, task: wire.Task, paths: Paths, storage: Storage) -> None:
        self.task = task
        self.paths = paths
        self.storage = storage
        self.entries: list[wire.ManifestEntry] = []

    def run(self) -> wire.InputReport:
        """Copy and verify everything; the manifest is on disk when this returns.

        Raises:
            SyncError, StorageError, ArchiveError: with the reason.
        """
        started = time.monotonic()
        log("sync-start", inputs=len(self.task.inputs), code=_uri(self.task.code_s3))
        by_input = [(item, self._plan(item)) for item in self.task.inputs]
        planned = [file for _, files in by_input for file in files]
        taken = [(file.path, file.source) for file in planned]
        refuse_conflicts(taken)
        code = self._unpack_code()
        refuse_conflicts(taken + [(path, "the code") for path in code])
        for item, files in by_input:
            self._fetch(item, files)
        self._verify(planned)
        report = wire.InputReport(
            files=len(self.entries),
            bytes=sum(entry.bytes for entry in self.entries),
            duration_millis=int((time.monotonic() - started) * 1000),
            retries=self.storage.retries,
        )
        self._write_manifest(report)
        millis, retries = report.duration_millis, report.retries
        log("sync-end", files=report.files, bytes=report.bytes, ms=millis, retries=retries)
        return report

    def _plan(self, item: wire.Input) -> list[Planned]:
        """List one input in S3."""
        log("input-start", name=item.name, source=item.s3.uri(), mount=item.mount_path)
        started = time.monotonic()
        try:
            objects = self._list(item.s3)
        except StorageError as error:
            if error.reason is Reason.INPUT_NOT_FOUND:
                if not item.required:
                    return []
                raise SyncError(
                    Reason.INPUT_NOT_FOUND,
                    f"input {item.name!r}: found 0 files, at least {item.min_files} expected; "
                    f"{error}",
                ) from error
            raise
        files = plan_input(item, objects)
        size = sum(found.size for found in objects)
        log("input-listed", name=item.name, files=len(files), bytes=size, ms=_millis(started))
        return files

    def _list(self, source: wire.S3Source) -> list[Object]:
        if source.key is not None:
            return [self.storage.head(source.bucket, source.key)]
        prefix = (source.prefix or "").rstrip("/")
        found = self.storage.listing(source.bucket, prefix)
        return [item for item in found if not self._is_marker(source.bucket, prefix, item)]

    def _is_marker(self, bucket: str, prefix: str, item: Object) -> bool:
        """Whether an empty object is a "directory": its key ends in a slash.

        obstore's listing shows ``a/b/`` as ``a/b``; only asking for ``a/b`` tells the two apart.
        """
        if item.size > 0:
            return False
        if item.key == prefix:
            return True
        try:
            self.storage.head(bucket, item.key)
        except StorageError as error:
            if error.reason is Reason.INPUT_NOT_FOUND:
                return True
            raise
        return False

    def _unpack_code(self) -> list[str]:
        """Unpack the code's ZIP; the absolute paths of the code's files."""
        workspace = names.WORKSPACE
        if self.task.code_s3 is None:
            return [f"{workspace}/{names.ENTRYPOINT}"]  # the agent writes it later
        source = self.task.code_s3
        started = time.monotonic()
        local = os.path.join(self.paths.run_dir, ARCHIVE_NAME)
        try:
            received = self._download_code(source, local)
            files = archive.extract(local, self.paths.workspace)
        finally:
            if os.path.exists(local):
                os.unlink(local)
        self._find_entrypoint(files)
        log("code-end", files=len(files), bytes=received.size, ms=_millis(started))
        for path in files:
            real = os.path.join(self.paths.workspace, path)
            size, digest = os.path.getsize(real), _hash_file(real)
            self._add(f"{workspace}/{path}", size, digest, source.uri(), None)
        return [f"{workspace}/{path}" for path in files]

    def _download_code(self, source: wire.S3Source, local: str) -> Received:
        def create() -> IO[bytes]:
            return open(local, "wb")

        received = self.storage.download(source.bucket, source.key or "", None, create)
        _check_hash(source.uri(), source.sha256, received.sha256)
        return received

    def _find_entrypoint(self, files: list[str]) -> None:
        """With the default command main.py must be there; name what is there instead."""
        if names.ENTRYPOINT not in self.task.command or names.ENTRYPOINT in files:
            return
        nested = [path for path in files if path.endswith(f"/{names.ENTRYPOINT}")]
        if nested:
            folder = nested[0].rpartition("/")[0]
            hint = f"{names.ENTRYPOINT} is in the folder {folder}: zip that folder's content"
        else:
            more = ", ..." if len(files) > MANY else ""
            hint = f"the archive holds {', '.join(files[:MANY])}{more}"
        raise SyncError(
            Reason.ENTRYPOINT_NOT_FOUND, f"no {names.ENTRYPOINT} at the top level; {hint}"
        )

    def _fetch(self, item: wire.Input, files: list[Planned]) -> None:
        """Copy the files of one input, several at once."""
        started = time.monotonic()
        for folder in sorted({os.path.dirname(file.path) for file in files}):
            os.makedirs(self.paths.real(folder), exist_ok=True)
        if len(files) > 1:
            self._fetch_together(files)
        else:
            for file in files:
                self._fetch_one(file)
        size = sum(file.object.size for file in files)
        log("input-end", name=item.name, files=len(files), bytes=size, ms=_millis(started))

    def _fetch_together(self, files: list[Planned]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # late: 10 ms that one file does not need

        pool = ThreadPoolExecutor(WORKERS)
        try:
            for _ in pool.map(self._fetch_one, files):
                pass  # the first failure is raised here
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch_one(self, file: Planned) -> None:
        real = self.paths.real(file.path)

        def create() -> IO[bytes]:
            return open(real, "wb")

        etag = file.object.etag
        received = self.storage.download(file.bucket, file.object.key, etag, create)
        _check_hash(file.source, file.sha256, received.sha256)
        self._add(file.path, received.size, received.sha256, file.source, etag)

    def _add(self, path: str, size: int, digest: str, source: str, etag: str | None) -> None:
        self.entries.append(
            wire.ManifestEntry(path=path, bytes=size, sha256=digest, source=source, etag=etag)
        )

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
        copied = {entry.path for entry in self.entries} & {file.path for file in planned}
        if len(copied) != len(planned):
            raise SyncError(
                Reason.INPUT_INCOMPLETE, f"{len(copied)} of {len(planned)} files were copied"
            )

    def _write_manifest(self, report: wire.InputReport) -> None:
        entries = sorted(self.entries, key=lambda entry: entry.path)
        manifest = wire.Manifest(report=report, entries=entries)
        temporary = f"{self.paths.manifest}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(wire.dumps(manifest))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.paths.manifest)


def _check_hash(source: str, wanted: str | None, got: str) -> None:
    if wanted is not None and wanted.lower() != got:
        raise SyncError(
            Reason.CHECKSUM_MISMATCH, f"{source} has sha256 {got}, the spec asks for {wanted}"
        )


def _hash_file(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _uri(source: wire.S3Source | None) -> str:
    return source.uri() if source else "none"


def _millis(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def run(
    task: wire.Task, paths: Paths, make_storage: Callable[[], Storage] = Storage
) -> wire.InputReport | wire.SyncFailure:
    """Sync, and turn whatever goes wrong into a failure with a reason."""
    try:
        os.makedirs(paths.run_dir, exist_ok=True)
        return Sync(task, paths, make_storage()).run()
    except (SyncError, StorageError, archive.ArchiveError) as error:
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


def main(paths: Paths) -> int:
    """Entry point of the init container."""
    outcome = run(wire.loads(wire.Task, os.environ[names.ENV_TASK]), paths)
    paths.write_termination(wire.dumps(outcome))
    return 1 if isinstance(outcome, wire.SyncFailure) else 0
