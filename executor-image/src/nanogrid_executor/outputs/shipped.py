"""Files below the output directory that came with the code's ZIP and that the code did not write.

A folder that was packed after a run still has its old ``output/``. Those files are not results of
this run. The sync notes when each of them was last changed; a file with another time was written
later. The times are compared for equality, because a clock may be set back while the code runs.
Inputs below the output directory are delivered: the user put them there on purpose.
"""

import os
from typing import NamedTuple

from nanogrid import wire
from nanogrid_executor.log import warn
from nanogrid_executor.paths import Paths


class Shipped(NamedTuple):
    """Times of change (``st_ctime_ns``) by path, relative to the output directory."""

    changed: dict[str, int]

    def has(self, path: str, info: os.stat_result) -> bool:
        """Whether a file is one of them, unchanged. User code cannot set the time of a change."""
        return self.changed.get(path) == info.st_ctime_ns


NOTHING = Shipped({})


def shipped_outputs(task: wire.PodTask, paths: Paths) -> Shipped:
    """What the code's ZIP has put below the output directory of a job.

    Nothing without a readable manifest: then an old file is delivered, and no result is lost.
    """
    if task.code_s3 is None:
        return NOTHING
    try:
        with open(paths.manifest, encoding="utf-8") as file:
            return Shipped(wire.loads(wire.Manifest, file.read()).shipped)
    except (OSError, ValueError) as error:
        warn("manifest-not-read", error=error)
        return NOTHING
