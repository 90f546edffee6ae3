"""What the operator measures, for Prometheus. Each metric is declared here, and nowhere else.

The parts of the operator get one method of :class:`OperatorMetrics` each, so they know nothing of
Prometheus. Gauges that need all jobs are refreshed by :mod:`nanogrid_operator.gauges`.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from nanogrid import names
from nanogrid.logs import about, fields_of_job
from nanogrid.metrics.registry import (
    DELIVERY_SECONDS,
    JOB_SECONDS,
    QUEUE_SECONDS,
    REQUEST_SECONDS,
    RUN_BYTES,
    RUN_SECONDS,
    BoundedLabels,
    GaugeSet,
    KubernetesRequests,
    Metrics,
)
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.pool_metrics import PoolMetrics
from nanogrid_operator.status.function import run_of

log = logging.getLogger("nanogrid.metrics")

NAMESPACES: Final = 500  # with series of their own
FUNCTIONS: Final = 500
FUNCTIONS_OF_NAMESPACE: Final = 100  # so that one namespace does not take the places of all others


class OperatorMetrics:
    """The metrics of one operator process."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self.registry = metrics.registry
        self.kubernetes = KubernetesRequests(metrics)
        self.queue = QueueMetrics(metrics)
        self._failed = False  # whether a job could not be read
        self._namespaces = BoundedLabels(NAMESPACES, forget=self._forget_namespace, clock=clock)
        self._functions = BoundedLabels(
            FUNCTIONS, FUNCTIONS_OF_NAMESPACE, forget=self._forget_function, clock=clock
        )
        self._declare_jobs(metrics)
        self._declare_functions(metrics)
        self._declare_deliveries(metrics)
        self._declare_state(metrics)
        self.pools = PoolMetrics(metrics, self._namespaces.bound, clock)

    def _declare_jobs(self, metrics: Metrics) -> None:
        self._finished = metrics.counter(
            "nanogrid_jobs_finished_total",
            "Jobs whose terminal status this process has written. `reason`: see docs/reasons.md.",
            ("namespace", "mode", "phase", "reason"),
        )
        self._retries = metrics.counter(
            "nanogrid_job_retries_total",
            "Attempts that another attempt follows, by the reason why they ended.",
            ("namespace", "reason"),
        )
        self._queued = metrics.histogram(
            "nanogrid_job_queue_seconds",
            "Finished jobs: from the creation of the job to the creation of its last pod; whole "
            "seconds.",
            QUEUE_SECONDS,
            ("namespace",),
        )
        parts = {
            "start": "Finished jobs: start of the process.",
            "sync": "Finished jobs: copy and verification of the inputs.",
            "execution": "Finished jobs: run time of the code.",
            "upload": "Finished jobs: upload of the outputs.",
            "total": "Finished jobs: from the creation of the job to its terminal status.",
        }
        self._parts = {
            f"{part}Millis": metrics.histogram(f"nanogrid_job_{part}_seconds", about, JOB_SECONDS)
            for part, about in parts.items()
        }
        self._delivery = metrics.histogram(
            "nanogrid_job_delivery_seconds",
            "From the end of the code, with the upload of its outputs, to Redis having the result; "
            "after an outage of Redis from the terminal status. Sessions, and jobs whose code did "
            "not run, are left out.",
            DELIVERY_SECONDS,
        )
        self._watch_lag = metrics.histogram(
            "nanogrid_watch_lag_seconds",
            "From the creation of a job to the watch's event about it. The creation has whole "
            "seconds, so half a second is normal.",
            DELIVERY_SECONDS,
        )
        self._reports = metrics.counter(
            "nanogrid_reports_total",
            "Reports of agents: accepted by this process, forwarded to the leader that accepted "
            "them, or refused.",
            ("outcome",),
        )

    def _declare_functions(self, metrics: Metrics) -> None:
        labels = ("namespace", "function")
        self._runs = metrics.counter(
            "nanogrid_function_runs_total",
            f"Finished runs of functions. Beyond {FUNCTIONS} functions, or "
            f"{FUNCTIONS_OF_NAMESPACE} of one namespace, `function` is `_other`.",
            (*labels, "phase"),
        )
        self._run_seconds = metrics.histogram(
            "nanogrid_function_execution_seconds", "Run time of a function.", RUN_SECONDS, labels
        )
        self._run_bytes = metrics.histogram(
            "nanogrid_function_peak_memory_bytes",
            "Peak memory of a run of a function.",
            RUN_BYTES,
            labels,
        )

    def _declare_deliveries(self, metrics: Metrics) -> None:
        self.deliveries_pending = GaugeSet(
            metrics.gauge(
                "nanogrid_deliveries_pending",
                "Finished jobs whose result this target (redis, s3, webhook) does not have yet.",
                ("target",),
            )
        )
        self.deliveries_oldest = GaugeSet(
            metrics.gauge(
                "nanogrid_deliveries_oldest_pending_seconds",
                "How long the result that waits longest for this target waits; 0 if none does.",
                ("target",),
            )
        )
        self._attempts = metrics.counter(
            "nanogrid_delivery_attempts_total",
            "Tries to deliver a result. `outcome`: success, or error if the target did not answer "
            "or did not take it.",
            ("target", "outcome"),
        )
        self._attempt_seconds = metrics.histogram(
            "nanogrid_delivery_attempt_seconds",
            "Time of one try to deliver a result.",
            REQUEST_SECONDS,
            ("target",),
        )

    def _declare_state(self, metrics: Metrics) -> None:
        def gauge(name: str, about: str, *labels: str) -> GaugeSet:
            return GaugeSet(metrics.gauge(name, about, labels))

        self.jobs = gauge(
            "nanogrid_jobs",
            "Jobs that exist, also finished ones. Only the leader has it.",
            "namespace",
            "phase",
        )
        self.oldest_phase = gauge(
            "nanogrid_jobs_oldest_phase_seconds",
            "How long the job that has been in this phase longest has been in it; 0 if no job is. "
            "After a restart of the operator, Syncing and Running count from the pod's creation.",
            "phase",
        )
        self.queue_length = gauge(
            "nanogrid_queue_length", "Jobs that wait for room and have no pod.", "namespace"
        )
        self.queue_oldest = gauge(
            "nanogrid_queue_oldest_wait_seconds",
            "Age of the oldest job that waits for room; 0 if none does.",
            "namespace",
        )
        self.sessions = gauge(
            "nanogrid_sessions",
            "Sessions that have not ended. `state`: Starting, Suspended, NotReady, Idle, Busy.",
            "namespace",
            "state",
        )
        self.dependencies = gauge(
            "nanogrid_dependency_up",
            "Whether the last check of a dependency (crd, redis, s3) succeeded: 1 or 0.",
            "dependency",
        )
        self.leader = metrics.gauge(
            "nanogrid_leader", "Whether this process leads (1) or stands by (0)."
        )

    def _forget_namespace(self, namespace: str) -> None:
        self._metrics.forget({"namespace": namespace})
        self._functions.leave(namespace)

    def _forget_function(self, function: str, namespace: str) -> None:
        self._metrics.forget({"namespace": namespace, "function": function})

    def finished(self, job: Json) -> None:
        """A job whose terminal status this process has written. Never raises."""
        try:
            self._count_job(job)
            self._count_run(job)
        except Exception:
            if not self._failed:  # one line: thousands of jobs may be like this one
                with about(fields_of_job(job)):
                    log.exception("the job is not in the metrics: its object cannot be read")
            self._failed = True

    def _count_job(self, job: Json) -> None:
        status, mode = job["status"], (job.get("spec") or {}).get("mode") or names.MODE_BATCH
        namespace = self._namespaces.bound(job["metadata"]["namespace"])
        reason = status.get("reason") or ""
        self._finished.labels(namespace, mode, status["phase"], reason).inc()
        timings = status.get("timings") or {}
        if (queued := timings.get("pendingMillis")) is not None:
            self._queued.labels(namespace).observe(queued / 1000)
        for name, histogram in self._parts.items():
            if (millis := timings.get(name)) is not None:
                histogram.observe(millis / 1000)

    def _count_run(self, job: Json) -> None:
        run = run_of(job)
        if run is None or not run.sure:
            return  # a functionId can be any text
        namespace = self._namespaces.bound(run.namespace)
        function = self._functions.bound(run.function, namespace)
        self._runs.labels(namespace, function, job["status"]["phase"]).inc()
        if (millis := run.entry.get("durationMillis")) is not None:
            self._run_seconds.labels(namespace, function).observe(millis / 1000)
        if (peak := run.entry.get("peakMemoryBytes")) is not None:
            self._run_bytes.labels(namespace, function).observe(peak)

    def retried(self, namespace: str, reason: str) -> None:
        """An attempt has ended, and another one follows."""
        self._retries.labels(self._namespaces.bound(namespace), reason).inc()

    def delivered(self, seconds_after_end: float) -> None:
        """Redis has a result, so long after the end of its code."""
        self._delivery.observe(max(0.0, seconds_after_end))

    def attempted(self, target: str, success: bool, took: float) -> None:
        """One try to deliver a result has ended after ``took`` seconds."""
        self._attempts.labels(target, "success" if success else "error").inc()
        self._attempt_seconds.labels(target).observe(took)

    def watched(self, job: Json, now: float) -> None:
        """The watch shows a job that was not known before; ``now`` in seconds since the epoch."""
        created = seconds(job["metadata"].get("creationTimestamp"))
        if created is not None:
            self._watch_lag.observe(max(0.0, now - created))

    def reported(self, outcome: str) -> None:
        """A report of an agent was accepted, forwarded or refused."""
        self._reports.labels(outcome).inc()


class QueueMetrics:
    """The work queue of jobs, as :class:`nanogrid_operator.workqueue.QueueObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self.depth = metrics.gauge(
            "nanogrid_workqueue_depth", "Jobs that are ready to be worked on."
        )
        self.longest_running = metrics.gauge(
            "nanogrid_workqueue_longest_running_seconds",
            "How long the job that a worker has had longest has been worked on; 0 if none is.",
        )
        self._adds = metrics.counter(
            "nanogrid_workqueue_adds_total", "Jobs that became ready to be worked on."
        )
        self._retries = metrics.counter(
            "nanogrid_workqueue_retries_total", "Jobs that are worked on again after a back-off."
        )
        self._wait = metrics.histogram(
            "nanogrid_workqueue_wait_seconds",
            "How long a job is ready until a worker takes it.",
            REQUEST_SECONDS,
        )
        self._work = metrics.histogram(
            "nanogrid_workqueue_work_seconds",
            "How long a worker works on a job at a time.",
            REQUEST_SECONDS,
        )

    def added(self) -> None:
        """A key is ready."""
        self._adds.inc()

    def retried(self) -> None:
        """A worker asked for a retry of its key."""
        self._retries.inc()

    def taken(self, waited: float) -> None:
        """A worker took a key that was ready for so many seconds."""
        self._wait.observe(waited)

    def worked(self, took: float) -> None:
        """A worker is finished with a key after so many seconds."""
        self._work.observe(took)
