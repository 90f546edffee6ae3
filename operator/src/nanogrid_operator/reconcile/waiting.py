"""What a job waits for outside of its pod: its place in the queue, and scheduling gates."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from nanogrid.reasons import Reason
from nanogrid_operator.decision import retry
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.pod_use import NO_NEED, Need, need_of
from nanogrid_operator.decision.position import PositionUpdates
from nanogrid_operator.decision.snapshot import QUEUE_CHECK_SECONDS
from nanogrid_operator.manifests.task import base_memory_limit, resources
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod


class QueuePlace(NamedTuple):
    """Where a job is in the queue; without a reason it has a slot."""

    reason: str = ""
    check: float = QUEUE_CHECK_SECONDS  # when it looks again
    due: bool = False  # whether the status should show the position now


@dataclass(slots=True)
class Waiting:
    """The queue as one job sees it, and when its pod lost its scheduling gates."""

    admission: AdmissionQueue
    clock: Callable[[], float]
    _positions: PositionUpdates = field(init=False)
    # When an attempt's pod lost its last scheduling gate, in epoch seconds; None: it has one.
    _ungated: dict[tuple[str, int], float | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._positions = PositionUpdates(self.clock)

    def place(self, job: Job) -> QueuePlace:
        """Where a job without a slot is in the queue."""
        reason = self.admission.wait_reason(job, self._need(job))
        if not reason:
            return QueuePlace()
        position, length = self.admission.position(job)
        shown = job.status.get("reason") == Reason.QUEUED
        return QueuePlace(
            f"Position {position} of {length} in the queue of the namespace: {reason}",
            self.admission.check_seconds(job),
            shown and self._positions.due(job.uid, position),
        )

    def enqueue(self, job: Job) -> None:
        """Add a job to the queue."""
        self.admission.enqueue(job, self._need(job))

    def written(self, job: Job) -> None:
        """The status shows the job's position now."""
        self._positions.written(job.uid, self.admission.position(job)[0])

    def leave(self, job: Job) -> bool:
        """Remove a job from the queue; returns whether it had a place or a slot."""
        self._positions.forget(job.uid)
        return self.admission.leave(job.uid)

    def forget(self, uid: str) -> None:
        """The job was deleted."""
        self._positions.forget(uid)
        for attempt in [a for a in self._ungated if a[0] == uid]:
            del self._ungated[attempt]

    def ungated_at(self, job: Job, pod: Pod | None) -> float | None:
        """Since when the pod has no scheduling gates; None if it had none, as far as known."""
        if pod is None:
            return None
        key, now = (job.uid, job.attempt), self.clock()
        if pod.gated:
            self._ungated[key] = None
        elif key in self._ungated and self._ungated[key] is None:
            self._ungated[key] = now
        elif pod.queued_by_kueue:  # its gates were removed before this process started
            self._ungated.setdefault(key, pod.scheduled_at or now)
        return self._ungated.get(key)

    def _need(self, job: Job) -> Need:
        if job.spec is None:
            return NO_NEED
        try:
            settings = self.admission.settings_of(job.namespace)
            memory = retry.memory_limit(job, base_memory_limit(job.spec, settings))
            return need_of(resources(job.spec, settings, memory)[0])
        except InvalidSpecError:
            return NO_NEED  # the job ends when it is its turn
