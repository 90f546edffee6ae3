"""Files below the output directory that came with the code's ZIP and that the code did not write.

A folder that was packed after a run still has its old ``output/``. Those files are not results of
this run. The manifest is written when all files are in place and before the code starts, so a file
that changed later is newer. Inputs below the output directory are delivered: the user put them
there on purpose.
"""

import os
import posixpath
from dataclasses import dataclass, field

from nanogrid import names, wire
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths


@dataclass(frozen=True, slots=True)
class Shipped:
    """Sizes by path, relative to the output directory, and when all files were in place."""

    sizes: dict[str, int] = field(default_factory=dict)
    complete_ns: int = 0

    def has(self, path: str, info: os.stat_result) -> bool:
        """Whether a file is one of them, unchanged. User code cannot set the time of a change."""
        return self.sizes.get(path) == info.st_size and info.st_ctime_ns <= self.complete_ns


NOTHING = Shipped()


def shipped_outputs(task: wire.PodTask, paths: Paths) -> Shipped:
    """What the code's ZIP has put below the output directory of a job.

    Nothing without a readable manifest: then an old file is delivered, and no result is lost.
    """
    if task.code_s3 is None:
        return NOTHING
    try:
        complete = os.stat(paths.manifest).st_mtime_ns
        with open(paths.manifest, encoding="utf-8") as file:
            manifest = wire.loads(wire.Manifest, file.read())
    except (OSError, ValueError) as error:
        log("manifest-not-read", error=error)
        return NOTHING
    source = task.code_s3.uri()
    top = posixpath.normpath(f"{names.WORKSPACE}/{task.outputs.path}") + "/"
    sizes = {
        entry.path.removeprefix(top): entry.bytes
        for entry in manifest.entries
        if entry.source == source and entry.path.startswith(top)
    }
    return Shipped(sizes, complete)
