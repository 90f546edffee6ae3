"""Copying planned files from S3, several at once, with a line in the log now and then."""

import os
import threading
import time
from typing import Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor import parts
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.plan import Planned, SyncError
from nanogrid_executor.pool import each
from nanogrid_executor.s3 import Storage
from nanogrid_executor.target import Received, Target, TooLongError

WORKERS: Final = 16
PROGRESS_SECONDS: Final = 5.0
MEGABYTE: Final = 1_000_000


class Progress:
    """What has been copied so far, for the log and for the message of a sync that ends early."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.expected_files = 0
        self.expected_bytes = 0
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._next = self._started + PROGRESS_SECONDS

    def expect(self, files: int, size: int) -> None:
        """There is more to copy."""
        self.expected_files += files
        self.expected_bytes += size

    def add(self, count: int) -> None:
        """So many more bytes have come; called by any thread."""
        with self._lock:
            self.bytes += count
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + PROGRESS_SECONDS
            rate = self.bytes / MEGABYTE / (now - self._started)
        log(
            "sync-progress",
            files=f"{self.files}/{self.expected_files}",
            bytes=f"{self.bytes}/{self.expected_bytes}",
            rate=f"{rate:.1f}MB/s",
        )

    def file_done(self) -> None:
        """One more file is whole."""
        with self._lock:
            self.files += 1

    def __str__(self) -> str:
        return (
            f"{self.files} of {self.expected_files} files, "
            f"{self.bytes} of {self.expected_bytes} bytes"
        )


class Fetcher:
    """Copies files, and notes for each what proves it."""

    def __init__(self, storage: Storage, paths: Paths) -> None:
        self.storage = storage
        self.paths = paths
        self.progress = Progress()
        self.entries: list[wire.ManifestEntry] = []

    def fetch(self, files: list[Planned]) -> None:
        """Copy all files; the first failure ends it.

        Raises:
            SyncError, StorageError, DeadlineError: with the reason.
        """
        for folder in sorted({os.path.dirname(file.path) for file in files}):
            os.makedirs(self.paths.real(folder), exist_ok=True)
        large = [file for file in files if file.object.size >= parts.LARGE_BYTES]
        small = [file for file in files if file.object.size < parts.LARGE_BYTES]
        for file in large:  # each of them is many requests at once
            self._one(file)
        if len(small) == 1:
            self._one(small[0])
        else:
            each(self._one, small, WORKERS, self.storage.deadline)
            self.storage.deadline.check()

    def archive(
        self, source: wire.S3Source, local: str, max_bytes: int, too_large: Reason
    ) -> Received:
        """Copy one ZIP to a place of its own; what is in it is noted later.

        Args:
            source: the ZIP.
            local: where it goes.
            max_bytes: most bytes that it may have.
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
        """One more entry of the manifest."""
        self.entries.append(
            wire.ManifestEntry(path=path, bytes=size, sha256=digest, source=source, etag=etag)
        )

    def _one(self, file: Planned) -> None:
        target = Target(self.paths.real(file.path), self.progress.add, None)
        received = parts.download(self.storage, file.bucket, file.object, target)
        check_hash(file.source, file.sha256, received.sha256)
        if received.size != file.object.size:
            raise SyncError(
                Reason.INPUT_INCOMPLETE,
                f"{file.source} gave {received.size} bytes of {file.object.size}",
            )
        self.note(file.path, received.size, received.sha256, file.source, file.object.etag)
        self.progress.file_done()


def check_hash(source: str, wanted: str | None, got: str) -> None:
    """Compare a content's SHA-256 with what the spec asks for, if it does.

    Raises:
        SyncError: they differ.
    """
    if wanted is not None and wanted.lower() != got:
        said = f"{source} has sha256 {got}, the spec asks for {wanted}"
        raise SyncError(Reason.CHECKSUM_MISMATCH, said)
