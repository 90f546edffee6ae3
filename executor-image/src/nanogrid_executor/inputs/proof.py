"""The manifest: the proof, written last, that all inputs are in place."""

import os
import posixpath
import time
from typing import Final

from nanogrid import names, wire
from nanogrid.record import replace
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.log import log, warn
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.s3 import Storage

NOTES: Final = 3  # in the report, which has to fit a termination message; the log has all


def prove(
    task: wire.PodTask,
    paths: Paths,
    storage: Storage,
    entries: list[wire.ManifestEntry],
    notes: list[str],
    started: float,
) -> wire.InputReport:
    """Write the manifest to S3 and to disk; its report.

    Args:
        task: the job's.
        paths: of the pod.
        storage: its deadline ends the request.
        entries: all files that were written.
        notes: what had to be guessed, for people.
        started: when the sync began, as of ``time.monotonic``.
    """
    entries = sorted(entries, key=lambda entry: entry.path)
    report = wire.InputReport(
        files=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        duration_millis=millis_since(started),
        retries=storage.retries,
        notes=notes[:NOTES],
    )
    key = task.key(names.manifest_object(task.request_id))
    uri = f"s3://{task.bucket}/{key}" if task.bucket else None
    manifest = wire.Manifest(
        report=replace(report, manifest=uri),
        entries=entries,
        shipped=_shipped(task, paths, entries),
    )
    if uri is not None and not _put(storage, task.bucket, key, manifest):
        manifest = replace(manifest, report=report)
    paths.write_manifest(wire.dumps(manifest))
    millis, retries = report.duration_millis, report.retries
    log("sync-end", files=report.files, bytes=report.bytes, ms=millis, retries=retries)
    return manifest.report


def millis_since(started: float) -> int:
    """Milliseconds since a moment of ``time.monotonic``."""
    return int((time.monotonic() - started) * 1000)


def _shipped(task: wire.PodTask, paths: Paths, entries: list[wire.ManifestEntry]) -> dict[str, int]:
    """The code's own files below the output directory; see :class:`nanogrid.wire.Manifest`."""
    if task.code_s3 is None:
        return {}
    source, top = task.code_s3.uri(), posixpath.normpath(f"{names.WORKSPACE}/{task.outputs.path}")
    return {
        entry.path.removeprefix(f"{top}/"): os.stat(paths.real(entry.path)).st_ctime_ns
        for entry in entries
        if entry.source == source and entry.path.startswith(f"{top}/")
    }


def _put(storage: Storage, bucket: str, key: str, manifest: wire.Manifest) -> bool:
    """Store a copy for people; the one on disk is the proof."""
    try:
        storage.put_bytes(bucket, key, wire.dumps(manifest).encode(), "application/json")
    except (StorageError, DeadlineError) as error:
        warn("manifest-not-stored", key=key, detail=error)
        return False
    return True
