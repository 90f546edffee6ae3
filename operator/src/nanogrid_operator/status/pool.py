"""The status of a pool as the operator writes it. Pure."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from nanogrid_operator.decision.pool_size import PoolPlan
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model.pool import Pool
from nanogrid_operator.status.shorten import MESSAGE_CAP_BYTES, head

READY: Final = "Ready"
RECENT_CLAIMS: Final = 100


@dataclass(slots=True)
class PoolCounts:
    """What jobs wanted of a pool; it goes on from the numbers of the status."""

    claims: int = 0
    misses: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_CLAIMS))

    @classmethod
    def of(cls, pool: Pool) -> "PoolCounts":
        """The counts that the status of a pool shows."""
        return cls(int(pool.status.get("claims") or 0), int(pool.status.get("misses") or 0))


def pool_status(
    pool: Pool, plan: PoolPlan | None, target: int, claimed: int, counts: PoolCounts, now: float
) -> Json:
    """The status of a pool.

    Args:
        pool: The pool.
        plan: What it has; None: it is not valid.
        target: How many pods should wait.
        claimed: In how many a job runs.
        counts: What jobs wanted.
        now: Seconds since the epoch.
    """
    status: Json = {
        "observedGeneration": pool.generation,
        "target": target,
        "ready": plan.ready if plan else 0,
        "starting": plan.starting if plan else 0,
        "claimed": claimed,
        "claims": counts.claims,
        "misses": counts.misses,
        "conditions": [_ready(pool, plan, target, now)],
    }
    if counts.seconds:
        status["claimP50Millis"] = round(1000 * median(counts.seconds))
    return status


def invalid_status(pool: Pool, why: str, claimed: int, counts: PoolCounts, now: float) -> Json:
    """The status of a pool that can have no pods."""
    status = pool_status(pool, None, 0, claimed, counts, now)
    status["conditions"] = [_condition(pool, "False", Reason.POOL_INVALID, why, now)]
    return status


def changed(pool: Pool, status: Json) -> bool:
    """Whether a status says something new."""
    return any(pool.status.get(name) != value for name, value in status.items())


def _ready(pool: Pool, plan: PoolPlan | None, target: int, now: float) -> Json:
    if plan is not None and plan.problem:
        return _condition(pool, "False", Reason.POOL_NOT_READY, plan.problem, now)
    if plan is None or plan.ready < min(target, 1):
        return _condition(pool, "False", Reason.POOL_STARTING, "", now)
    return _condition(pool, "True", Reason.POOL_READY, "", now)


def _condition(pool: Pool, state: str, reason: Reason, detail: str, now: float) -> Json:
    old: Json = next((c for c in pool.status.get("conditions") or [] if c["type"] == READY), {})
    same = old.get("status") == state
    return {
        "type": READY,
        "status": state,
        "reason": reason.value,
        "message": head(sentence(reason, detail), MESSAGE_CAP_BYTES),
        "lastTransitionTime": old["lastTransitionTime"] if same else timestamp(now),
        "observedGeneration": pool.generation,
    }
