"""What the operator measures of warm pools, and how jobs start: a part of its metrics.

Only the leader starts jobs and keeps pools, so a process that stands by counts nothing here.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from nanogrid.metrics.registry import CLAIM_SECONDS, OTHER, BoundedLabels, GaugeSet, Metrics
from nanogrid_operator.model.pool import Miss, Pool, PoolSize

POOLS: Final = 500  # with series of their own
POOLS_OF_NAMESPACE: Final = 100  # so that one namespace does not take the places of all others
LABELS: Final = ("namespace", "pool")


class PoolMetrics:
    """Claims and misses of pools, and their pods.

    Args:
        metrics: Where they are declared.
        namespace_label: The label of a namespace.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        namespace_label: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._namespace_label = namespace_label
        self._pools = BoundedLabels(POOLS, POOLS_OF_NAMESPACE, forget=self._forget, clock=clock)
        self._started = metrics.counter(
            "nanogrid_jobs_started_total",
            "Attempts that got a pod. `start`: Warm, from a pool; Cold, created for the attempt.",
            ("namespace", "start"),
        )
        self._claims = metrics.counter(
            "nanogrid_pool_claims_total",
            f"Attempts that took a pod of a pool. Beyond {POOLS} pools, or {POOLS_OF_NAMESPACE} of "
            "one namespace, `namespace` and `pool` are `_other`.",
            LABELS,
        )
        self._misses = metrics.counter(
            "nanogrid_pool_misses_total",
            "Attempts that have a pool and start cold. `reason`: `empty`, no pod was ready; "
            "`misfit`, the job needs another pod than the pool has; `conflict`, pods were ready, "
            "but none could be claimed.",
            (*LABELS, "reason"),
        )
        self._seconds = metrics.histogram(
            "nanogrid_pool_claim_seconds",
            "From the choice of a pod to the hand-over of the task to its agent.",
            CLAIM_SECONDS,
            LABELS,
        )
        self._pods = GaugeSet(
            metrics.gauge(
                "nanogrid_pool_pods",
                "Pods of a pool. `state`: `ready`, its agent waits for a task; `starting`; "
                "`claimed`, a job runs in it. Only the leader has it.",
                (*LABELS, "state"),
            )
        )
        self._target = GaugeSet(
            metrics.gauge(
                "nanogrid_pool_target",
                "Pods of a pool that should be ready, between minReady and maxReady. Only the "
                "leader has it.",
                LABELS,
            )
        )

    def started(self, namespace: str, start: str) -> None:
        """An attempt has its pod; ``start`` as in status.start."""
        self._started.labels(self._namespace_label(namespace), start).inc()

    def claimed(self, pool: Pool, seconds: float) -> None:
        """An attempt has taken a pod, after so many seconds."""
        labels = self._labels(pool)
        self._claims.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)

    def missed(self, pool: Pool, reason: Miss) -> None:
        """An attempt starts cold, although it has a pool."""
        self._misses.labels(*self._labels(pool), reason.value).inc()

    def show(self, sizes: Iterable[PoolSize]) -> None:
        """These are all pools now; the gauges of others disappear."""
        pods: Counter[tuple[str, ...]] = Counter()
        targets: Counter[tuple[str, ...]] = Counter()
        for size in sizes:
            labels = self._labels(size.pool)
            self._begin(labels)
            targets[labels] += size.target
            pods[*labels, "ready"] += size.ready
            pods[*labels, "starting"] += size.starting
            pods[*labels, "claimed"] += size.claimed
        self._pods.replace(pods)
        self._target.replace(targets)

    def _begin(self, labels: tuple[str, str]) -> None:
        """The counters of a pool are 0 before its first job: `increase()` needs a value before."""
        self._claims.labels(*labels)
        for reason in Miss:
            self._misses.labels(*labels, reason.value)

    def _labels(self, pool: Pool) -> tuple[str, str]:
        known = self._pools.bound(pool.key, pool.namespace) != OTHER
        return (pool.namespace, pool.name) if known else (OTHER, OTHER)

    def _forget(self, key: str, namespace: str) -> None:
        self._metrics.forget({"namespace": namespace, "pool": key.removeprefix(f"{namespace}/")})
