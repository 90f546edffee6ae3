"""Which jobs may have a pod now: in each namespace so many, the oldest jobs first. No I/O.

Pods that wait for a node are a queue that nobody sees, and the timeouts of their start run in it.
So only some of a namespace's pods may wait there. Further jobs wait here, without a pod, and the
oldest is woken when a place is free. Namespaces do not know of each other: no tenant's queue is
another's.

Places are counted by the pods themselves, so a restart forgets nothing: jobs that find no place
queue up again.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nanogrid.reasons import Reason
from nanogrid_operator.facts import Job, pod_facts
from nanogrid_operator.settings import Settings
from nanogrid_operator.view import blocked_pod, started, syncing

Json = dict[str, Any]
Entry = tuple[float, str, str]  # the job's creation in seconds since the epoch, its name, its uid

# What keeps such a pod is its own spec: it takes no place in the nodes' queue.
OWN_FAULTS = frozenset({Reason.IMAGE_PULL_FAILED, Reason.CONFIG_ERROR})


def waits(body: Json) -> bool:
    """Whether a pod waits for a node, or for its node to start it."""
    if (
        body["status"].get("phase", "Pending") != "Pending"
        or "deletionTimestamp" in body["metadata"]
    ):
        return False
    pod = pod_facts(body)
    stuck = blocked_pod(pod)
    return not (started(pod) or syncing(pod) or (stuck is not None and stuck[0] in OWN_FAULTS))


def lives(body: Json) -> bool:
    """Whether a pod has not ended."""
    return body["status"].get("phase") not in ("Succeeded", "Failed")


class Places:
    """See the module's docstring.

    Args:
        settings: ``max_pods`` and ``max_waiting_pods``, of one namespace; 0 is no limit.
        known: whether a job of this uid is still there.
        wake: reconcile the job of this uid.
    """

    def __init__(
        self, settings: Settings, known: Callable[[str], bool], wake: Callable[[str], None]
    ) -> None:
        self._most, self._most_waiting = settings.max_pods, settings.max_waiting_pods
        self._known, self._wake = known, wake
        self._live: defaultdict[str, set[str]] = defaultdict(set)  # names of pods by namespace
        self._waiting: defaultdict[str, set[str]] = defaultdict(set)  # those of them that wait
        self._coming: defaultdict[str, set[str]] = defaultdict(set)  # those that are being created
        self._queues: defaultdict[str, list[Entry]] = defaultdict(list)
        self._queued: dict[str, tuple[str, Entry]] = {}  # by the job's uid

    def saw(self, namespace: str, name: str, body: Json | None) -> None:
        """A pod has changed, or is gone (None)."""
        for names, counts in ((self._live, lives), (self._waiting, waits)):
            if body is not None and counts(body):
                names[namespace].add(name)
            else:
                names[namespace].discard(name)
        self.wake_next(namespace)

    @contextmanager
    def taken(self, namespace: str, name: str) -> Iterator[None]:
        """Keep a place for a pod while it is being created."""
        self._coming[namespace].add(name)
        try:
            yield
        finally:
            self._coming[namespace].discard(name)
            self.wake_next(namespace)

    def crowded(self, job: Job) -> str:
        """Why there is no place for a job's pod now; empty when there is one.

        Older jobs of its namespace that wait have the first of the free places.
        """
        free, why = self._free(job.namespace)
        if not why:
            return ""
        self._prune(job.namespace)
        ahead = bisect_left(self._queues[job.namespace], _entry(job))
        return "" if ahead < free else why

    def enqueue(self, job: Job) -> None:
        """Let a job wait for its turn; one that waits already keeps its place."""
        if job.uid not in self._queued:
            entry = _entry(job)
            insort(self._queues[job.namespace], entry)
            self._queued[job.uid] = job.namespace, entry

    def leave(self, uid: str) -> bool:
        """A job does not wait any more; whether it did."""
        namespace, entry = self._queued.pop(uid, ("", None))
        if entry is None:
            return False
        queue = self._queues[namespace]
        del queue[bisect_left(queue, entry)]
        return True

    def wake_next(self, namespace: str) -> None:
        """Have the first that wait looked at, as many as there are places."""
        if not self._queues.get(namespace):
            return
        self._prune(namespace)
        free, _ = self._free(namespace)
        for _, _, uid in self._queues[namespace][: max(0, free)]:
            self._wake(uid)

    def waiting(self, namespace: str) -> list[str]:
        """The uids of the jobs that wait, the next one first."""
        return [uid for _, _, uid in self._queues.get(namespace, [])]

    def _prune(self, namespace: str) -> None:
        """Jobs that were deleted while they waited are nobody's predecessors."""
        queue = self._queues[namespace]
        while queue and not self._known(queue[0][2]):
            self.leave(queue[0][2])

    def _free(self, namespace: str) -> tuple[int, str]:
        """How many places are free, and what limits them; no words without any limit."""
        coming = self._coming[namespace]
        limits = [
            (
                most - len(some[namespace] | coming),
                f"{most} pods of this namespace {doing}, which is the most at once ({value})",
            )
            for most, some, doing, value in (
                (self._most_waiting, self._waiting, "wait for a node", "sandbox.maxWaitingPods"),
                (self._most, self._live, "live", "sandbox.maxPods"),
            )
            if most > 0
        ]
        return min(limits, default=(0, ""))


def _entry(job: Job) -> Entry:
    return job.created, job.name, job.uid
