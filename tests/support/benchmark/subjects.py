"""What `make bench` compares, and the names in its JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FIRST, RESULT, TERMINAL = COLUMNS = ("first", "result", "terminal")
TITLES: Final = {
    FIRST: "first instruction",
    RESULT: "result known",
    TERMINAL: "terminal state",
}
# Further columns, of the jobs' rows only: the steps of the timeline.
POD_CREATED, POD_BOUND, PROCESS_STARTED = "pod", "bound", "process"


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of the latency table; ``key`` names it in options and in the JSON."""

    key: str
    title: str


POD: Final = Subject("pod", "bare pod")
POD_VOLUME: Final = Subject("pod-volume", "bare pod + emptyDir")
POD_INIT: Final = Subject("pod-init", "bare pod + init container + emptyDir")
POD_SYNC: Final = Subject(
    "pod-sync", "bare pod + the init container and volumes of an ExecutionJob"
)
BATCH: Final = Subject("batch", "batch/v1 Job")
BATCH_INIT: Final = Subject("batch-init", "batch/v1 Job + init container")
INLINE: Final = Subject("inline", "ExecutionJob, inline")
S3_INIT: Final = Subject("s3-init", "ExecutionJob, S3 input (init container)")
S3_AGENT: Final = Subject("s3-agent", "ExecutionJob, S3 input (inputStrategy: Agent)")
WARM: Final = Subject("warm", "ExecutionJob on a pool")
WARM_S3: Final = Subject("warm-s3", "ExecutionJob on a pool, S3 input")
PROCESS: Final = Subject("process", "session, POST /execute: process")
CONTEXT: Final = Subject("context", "session, POST /execute: context")

LATENCY: Final = (
    POD, POD_VOLUME, POD_INIT, POD_SYNC, BATCH, BATCH_INIT,
    INLINE, S3_INIT, S3_AGENT, WARM, WARM_S3, PROCESS, CONTEXT,
)  # fmt: skip

BURST_JOBS: Final = Subject("burst-jobs", "ExecutionJobs")
BURST_PODS: Final = Subject("burst-pods", "bare pods of the same two containers and volumes")
BURST_BATCH: Final = Subject("burst-batch", "batch/v1 Jobs")
BURST_POOL: Final = Subject("burst-pool", "ExecutionJobs on a pool")
BURSTS: Final = (BURST_PODS, BURST_BATCH, BURST_JOBS)

# Parts of the measurement besides the subjects of the table.
LATENCY_PART, BURST_PART, POOL_PART, SYNC_PART, CONTROL_PLANE_PART = PARTS = (
    "latency", "burst", "pools", "sync", "controlplane",
)  # fmt: skip


class UnknownNameError(ValueError):
    """No subject or part has this name; the message lists all names."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What one run measures; ``complete`` if nothing is left out."""

    parts: tuple[str, ...]
    latency: tuple[Subject, ...]
    complete: bool


def select(only: Sequence[str]) -> Selection:
    """The parts and subjects with these names; all without a name.

    Raises:
        UnknownNameError: a name is unknown.
    """
    if not only:
        return Selection(PARTS, LATENCY, complete=True)
    keys = [subject.key for subject in LATENCY]
    if unknown := [name for name in only if name not in (*PARTS, *keys)]:
        known = ", ".join((*PARTS, *keys))
        raise UnknownNameError(f"{', '.join(unknown)}: unknown; choose from: {known}")
    named = tuple(subject for subject in LATENCY if subject.key in only)
    parts = [part for part in PARTS if part in only]
    if named and LATENCY_PART not in parts:
        parts.insert(0, LATENCY_PART)
    return Selection(tuple(parts), named or LATENCY, complete=False)
