"""Rules for what is left to do after an attempt, or the whole job, has ended. Pure.

They are part of the table in :mod:`nanogrid_operator.decision.decide`.
"""

from nanogrid_operator.decision.actions import (
    Action,
    DeleteJob,
    Deliver,
    Nothing,
    RemovePod,
    Wait,
)
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.model.lifecycle import time_to_live
from nanogrid_operator.model.pod_facts import Pod

# That a pod may outlive the end of its attempt, besides its drain; its agent needs at most 40.
LINGER_SECONDS = 60.0
UNSTORED_SECONDS = 86_400.0  # the longest that a job outlives its time to live until S3 has it


def expired(snapshot: Snapshot) -> Action | None:
    """The time to live of a finished job is over; its pods are deleted with it."""
    left = _ttl_left(snapshot)
    return DeleteJob() if left is not None and left <= 0 else None


def lingering(snapshot: Snapshot) -> Action | None:
    """A pod outlives its attempt: an image reports its end and runs on."""
    for left, pod in _outliving(snapshot):
        if left <= 0:
            return RemovePod(pod)
    return None


def finished(snapshot: Snapshot) -> Action | None:
    """A finished job stays finished. Its delivery can be pending, a check can be due later."""
    job = snapshot.job
    if not job.finished:
        return None
    if job.undelivered:
        return Deliver()
    ttl_left = _ttl_left(snapshot)
    checks = [left for left, _ in _outliving(snapshot)] + ([] if ttl_left is None else [ttl_left])
    return Wait(min(checks)) if checks else Nothing()


def _ttl_left(snapshot: Snapshot) -> float | None:
    """Seconds until a finished job is deleted; None while a receiver still lacks its result."""
    job = snapshot.job
    # Webhooks have a queue of their own, which keeps the job until then.
    if not job.finished or job.undelivered or job.webhook_pending:
        return None
    ttl = time_to_live(job.ttl_seconds, job.kept, snapshot.default_ttl)
    if ttl is None or job.completed is None:
        return None
    stays = max(ttl, UNSTORED_SECONDS if job.unstored else 0.0)
    return job.completed + stays - snapshot.now


def _outliving(snapshot: Snapshot) -> list[tuple[float, Pod]]:
    """Live pods of ended attempts, and the seconds that each of them has left."""
    job, found = snapshot.job, []
    ends = {attempt.number: attempt.ended for attempt in job.attempts}
    for pod in snapshot.other_pods:
        end = ends.get(pod.attempt) or job.completed
        if end is not None and not pod.over and not pod.deleting:
            found.append((end + LINGER_SECONDS + pod.drain_seconds - snapshot.now, pod))
    return found
