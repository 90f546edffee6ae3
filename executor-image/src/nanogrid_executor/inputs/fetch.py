"""Copies planned files from S3, several at once, and logs the progress."""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.sizes import size_text
from nanogrid_executor.inputs.plan import Planned, SyncError
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage import multipart
from nanogrid_executor.storage.download import Received, Target, TooLongError
from nanogrid_executor.storage.parallel import each
from nanogrid_executor.storage.s3 import Storage

WORKERS: Final = 16
PROGRESS_SECONDS: Final = 5.0


class Progress:
    """Counts copied files and bytes, for the log and for the message of a sync that times out."""

    def __init__(
        self,
        interval: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self.expected_files = 0
        self.expected_bytes = 0
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock()
        self._next = self._started + interval

    def expect(self, files: int, size: int) -> None:
        """Add to the expected counts."""
        self.expected_files += files
        self.expected_bytes += size

    def add(self, count: int) -> None:
        """Count received bytes, in any thread; logs at most once per interval."""
        with self._lock:
            self.bytes += count
            now = self._clock()
            if now < self._next:
                return
            self._next = now + self._interval
            rate = self.bytes / (now - self._started)
        log(
            "sync-progress",
            files=f"{self.files}/{self.expected_files}",
            bytes=f"{self.bytes}/{self.expected_bytes}",
            rate=f"{size_text(rate)}/s",
        )

    def file_done(self) -> None:
        """Count a complete file."""
        with self._lock:
            self.files += 1

    def __str__(self) -> str:
        return (
            f"{self.files} of {self.expected_files} files, "
            f"{self.bytes} of {self.expected_bytes} bytes"
        )


class Fetcher:
    """Copies files and collects their manifest entries."""

    def __init__(self, storage: Storage, paths: Paths, progress: Progress) -> None:
        self.storage = storage
        self.paths = paths
        self.progress = progress
        self.entries: list[wire.ManifestEntry] = []

    def fetch(self, files: list[Planned]) -> None:
        """Copy all files; the first failure ends the work.

        Raises:
            SyncError, StorageError, DeadlineError: with the reason.
        """
        for folder in sorted({os.path.dirname(file.path) for file in files}):
            os.makedirs(self.paths.real(folder), exist_ok=True)
        large = [file for file in files if file.object.size >= multipart.LARGE_BYTES]
        small = [file for file in files if file.object.size < multipart.LARGE_BYTES]
        for file in large:  # each is several requests at once
            self._one(file)
        if len(small) == 1:
            self._one(small[0])
        else:
            each(self._one, small, WORKERS, self.storage.deadline)
            self.storage.deadline.check()

    def archive(
        self, source: wire.S3Source, local: str, max_bytes: int, too_large: Reason
    ) -> Received:
        """Copy one ZIP to a local path; the manifest gets its files, not the ZIP.

        Args:
            source: the ZIP in S3.
            local: the path on this machine.
            max_bytes: most bytes that the ZIP may have.
            too_large: the reason of the failure if it has more.

        Raises:
            SyncError, StorageError, DeadlineError: with the reason.
        """
        target = Target(local, self.progress.add, max_bytes)
        key, version = source.key or "", source.version_id
        try:
            received = self.storage.download(source.bucket, key, target, version)
        except TooLongError as error:
            raise SyncError(too_large, f"{source.uri()}: {error}") from error
        check_hash(source.uri(), source.sha256, received.sha256)
        return received

    def note(self, path: str, size: int, digest: str, source: str, etag: str | None) -> None:
        """Add an entry to the manifest."""
        self.entries.append(
            wire.ManifestEntry(path=path, bytes=size, sha256=digest, source=source, etag=etag)
        )

    def _one(self, file: Planned) -> None:
        target = Target(self.paths.real(file.path), self.progress.add, None)
        received = multipart.download(self.storage, file.bucket, file.object, target)
        check_hash(file.source, file.sha256, received.sha256)
        if received.size != file.object.size:
            raise SyncError(
                Reason.INPUT_INCOMPLETE,
                f"{file.source} gave {received.size} bytes of {file.object.size}",
            )
        self.note(file.path, received.size, received.sha256, file.source, file.object.etag)
        self.progress.file_done()


def check_hash(source: str, expected: str | None, got: str) -> None:
    """Compare the SHA-256 of a content with that of the spec, if it has one.

    Raises:
        SyncError: they differ.
    """
    if expected is not None and expected.lower() != got:
        message = f"{source} has sha256 {got}, the spec asks for {expected}"
        raise SyncError(Reason.CHECKSUM_MISMATCH, message)
