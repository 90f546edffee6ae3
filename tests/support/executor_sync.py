"""Runs the input sync in this process, with inputs and ZIPs made for it."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any, Final

from nanogrid import wire
from nanogrid_executor.clock import Deadline
from nanogrid_executor.inputs import sync
from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.s3 import Storage
from support.s3_server import BUCKET, make_task

SOURCE: Final = ("key", "prefix", "sha256", "version_id")


def fast_storage(deadline: Deadline) -> Storage:
    """A client that does not wait between two tries."""
    return Storage(deadline, pause=lambda seconds: None)


def make_input(name: str = "data", **changes: Any) -> wire.Input:
    """An input; the fields of its source are given like its own."""
    source = {key: changes.pop(key) for key in SOURCE if key in changes}
    bucket = changes.pop("bucket", BUCKET)
    mount = changes.pop("mount_path", "/app/data")
    return wire.Input(
        name=name, s3=wire.S3Source(bucket=bucket, **source), mount_path=mount, **changes
    )


def make_code(key: str, **changes: Any) -> dict[str, Any]:
    """The fields of a task whose code is a ZIP in S3."""
    source = wire.S3Source(bucket=BUCKET, key=key, **changes)
    return {"code_inline": None, "code_s3": source}


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP of stored files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, body in files.items():
            opened.writestr(name, body)
    return buffer.getvalue()


def run_sync(
    paths: Paths, *inputs: wire.Input, progress: Progress | None = None, **changes: Any
) -> wire.InputReport | wire.SyncFailure:
    """Run a task's sync."""
    task = make_task(inputs=list(inputs), **changes)
    return sync.run(task, paths, fast_storage, progress)


def succeed(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.Manifest:
    """Run a sync that succeeds; its manifest."""
    outcome = run_sync(paths, *inputs, **changes)
    assert isinstance(outcome, wire.InputReport), outcome
    manifest = wire.loads(wire.Manifest, Path(paths.manifest).read_bytes())
    assert manifest.report == outcome
    return manifest


def fail(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.SyncFailure:
    """Run a sync that fails; the failure. There is no manifest then."""
    outcome = run_sync(paths, *inputs, **changes)
    assert isinstance(outcome, wire.SyncFailure), outcome
    assert not os.path.exists(paths.manifest), "a failed sync has no manifest"
    return outcome
