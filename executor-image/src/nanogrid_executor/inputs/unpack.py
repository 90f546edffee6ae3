"""Copies ZIPs from S3, checks them and unpacks them. The sync imports this if there are some."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from nanogrid import archive, names, wire
from nanogrid.archive import Archive, ArchiveError, Limits
from nanogrid.reasons import Reason
from nanogrid_executor.capture import shorten_line
from nanogrid_executor.inputs.archive import extract
from nanogrid_executor.inputs.fetch import Fetcher
from nanogrid_executor.inputs.plan import SyncError, mount_of, refuse_long_paths, refuse_too_few
from nanogrid_executor.inputs.proof import millis_since
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths

NOTE_BYTES: Final = 400


class Unpacker:
    """Unpacks the ZIPs of one sync.

    Args:
        paths: of the pod.
        fetcher: copies a ZIP, and notes its files for the manifest.
        reserve: called with (path, source) of all files of a ZIP before any is written; refuses a
            conflict.
        notes: receives what had to be guessed, for people.
    """

    def __init__(
        self,
        paths: Paths,
        fetcher: Fetcher,
        reserve: Callable[[list[tuple[str, str]]], None],
        notes: list[str],
    ) -> None:
        self._paths = paths
        self._fetcher = fetcher
        self._reserve = reserve
        self._notes = notes

    def code(self, task: wire.PodTask, source: wire.S3Source, others: Sequence[str]) -> None:
        """Unpack the code; ``others`` are paths of other files, one of which may be its entry.

        Raises:
            SyncError, StorageError, DeadlineError: with the reason.
        """
        workspace = f"{names.WORKSPACE}/"
        relative = {path.removeprefix(workspace) for path in others}
        entry = archive.entry_point_of(task.command)
        if task.session is not None:
            entry = entry._replace(required=False)  # its requests bring the code that runs

        def check(opened: Archive) -> None:
            opened.locate(entry, relative)

        most = archive.LIMITS.unpacked_bytes
        self._unpack(source, names.WORKSPACE, most, Reason.ARCHIVE_TOO_LARGE, check)

    def input(self, item: wire.Input) -> None:
        """Unpack an input.

        Raises:
            SyncError, StorageError, DeadlineError: with the reason.
        """
        log("input-start", name=item.name, source=item.s3.uri(), mount=item.mount_path, unpack=True)
        most = archive.LIMITS.unpacked_bytes if item.max_bytes is None else item.max_bytes
        mount = mount_of(item)

        def check(opened: Archive) -> None:
            refuse_too_few(item, len(opened.files))
            refuse_long_paths(f"{mount}/{path}" for path in opened.files)

        self._unpack(item.s3, mount, most, Reason.INPUT_TOO_LARGE, check)

    def _unpack(
        self,
        source: wire.S3Source,
        mount: str,
        max_bytes: int,
        too_large: Reason,
        check: Callable[[Archive], None],
    ) -> None:
        """Copy one ZIP to the workspace, check it, unpack it, and remove it."""
        started = time.monotonic()
        # A random name: an entry of the ZIP may have any other.
        local = os.path.join(self._paths.workspace, f".archive-{os.urandom(8).hex()}.zip")
        try:
            self._fetcher.archive(source, local, max_bytes, too_large)
            limits = Limits(unpacked_bytes=max_bytes)
            with open(local, "rb") as file, archive.opened(file, limits) as opened:
                check(opened)
                self._reserve([(f"{mount}/{path}", source.uri()) for path in opened.files])
                target = self._paths.real(mount)
                os.makedirs(target, exist_ok=True)
                self._note_guesses(opened, source)
                files = extract(opened, target, self._fetcher.storage.deadline.check)
        except ArchiveError as error:
            raise SyncError(error.reason, str(error)) from error
        finally:
            if os.path.exists(local):
                os.unlink(local)
        for path, size, digest in files:
            self._fetcher.note(f"{mount}/{path}", size, digest, source.uri(), None)
        size = sum(file.bytes for file in files)
        where = source.uri()
        log("unpacked", source=where, files=len(files), bytes=size, ms=millis_since(started))

    def _note_guesses(self, opened: Archive, source: wire.S3Source) -> None:
        """Report names whose encoding the ZIP does not say."""
        if guesses := opened.guesses:
            log("names-guessed", source=source.uri(), names=guesses)
            self._notes.append(shorten_line(f"{source.uri()}: {guesses}", NOTE_BYTES))
