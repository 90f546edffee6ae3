"""The operator's parts over the API server, Redis and S3 in memory, with a clock of their own."""

import asyncio
import contextlib
import copy
from collections.abc import Coroutine
from typing import Any

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.metrics.registry import Metrics
from nanogrid.traces.export import Tracing
from nanogrid.types import Json
from nanogrid_operator.decision.webhook import FIRST_PAUSE_SECONDS
from nanogrid_operator.delivery.webhook_client import WebhookClient
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.parts.build import build
from nanogrid_operator.parts.clients import Clients
from nanogrid_operator.settings import Settings
from support.builders import CREATED, JOB_UID, a_job_body, a_pod_body, some_settings
from support.operator_fakes import JOBS, PODS, FakeKube, FakePublisher, FakeResults, RecordingQueue


async def run_for(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Run an endless coroutine for this many seconds of the loop's time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


class World:
    """One job in a cluster, and an operator that watches it."""

    def __init__(
        self,
        settings: Settings | None = None,
        body: Json | None = None,
        *,
        first_webhook_pause: float = FIRST_PAUSE_SECONDS,
        tracing: Tracing | None = None,
        **job: Any,
    ) -> None:
        self.settings = settings or some_settings(watch_namespaces="team-a", s3_secret="")
        self.kube, self.redis, self.s3 = FakeKube(), FakePublisher(), FakeResults()
        self.now = CREATED + 1
        self.first_webhook_pause = first_webhook_pause
        self.tracing = tracing
        self.kube.clock = lambda: self.now
        self.start()
        body = body or a_job_body(**job)
        self.kube.put(JOBS, body)
        self.cache.put_job(copy.deepcopy(body))

    def start(self, *, standby: bool = False) -> None:
        """Start an operator that knows nothing yet."""
        self.queue = RecordingQueue(paused=standby)
        self.metrics = self.new_metrics()
        self.webhook_client = WebhookClient(self.settings, attempted=self.metrics.attempted)
        self.parts = build(
            self.settings,
            Clients(
                kube=self.kube,
                watched=self.kube,
                publisher=self.redis,
                results=self.s3,
                webhook=self.webhook_client,
                clock=lambda: self.now + self.kube.server_clock.offset,
            ),
            self.queue,
            metrics=self.metrics,
            monotonic=lambda: self.now,
            first_webhook_pause=self.first_webhook_pause,
            tracing=self.tracing,
        )
        self.cache = self.parts.cache

    def new_metrics(self) -> OperatorMetrics:
        """What a new operator measures."""
        return OperatorMetrics(Metrics("operator"))

    async def reconcile(self) -> None:
        """Reconcile the job once; the Events of this pass are sent."""
        await self.parts.reconciler.reconcile(JOB_UID)
        await asyncio.sleep(0)

    async def work(self, seconds: float = 1.0) -> None:
        """Run the workers for a while."""
        self.queue.add(JOB_UID)
        await run_for(seconds, self.parts.workers.run())

    async def store_late(self, seconds: float = 1.0) -> None:
        """Run the outbox for a while."""
        await run_for(seconds, self.parts.outbox.run())

    def measured(self, name: str, **labels: str) -> float | None:
        """The value of a metric, without its prefix; None if it has no such series."""
        return self.metrics.registry.get_sample_value(f"nanogrid_{name}", labels)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """All series of a metric by the values of their labels, without those that are 0."""
        full = f"nanogrid_{name}"
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == full and sample.value
        }

    async def resync(self) -> None:
        """LIST everything."""
        await self.parts.resync.resync()

    async def restart(self) -> None:
        """Restart the operator: it lists everything and finds missed pods."""
        self.start()
        await self.parts.resync.first()

    async def stand_by(self) -> None:
        """Start an operator that does not lead, and lists everything."""
        self.start(standby=True)
        await self.parts.resync.first()

    async def confirm(self) -> None:
        """After :meth:`Resync.take_over`: the new leader lists everything."""
        await self.parts.resync.first()

    def lose_next_answer(self, code: int = 0, reason: str = "TimeoutError") -> None:
        """The next write of a status succeeds, and this error is its answer; code 0: none."""
        write = self.kube.patch_status

        async def lose(path: str, name: str, body: Json) -> Json:
            self.kube.patch_status = write  # type: ignore[method-assign]
            await write(path, name, body)
            raise KubeError(code, reason, "no answer")

        self.kube.patch_status = lose  # type: ignore[method-assign]

    def see_pod(self, **state: Any) -> None:
        """The watch brings the pod."""
        self.kube.put(PODS, a_pod_body(**state))
        self.cache.put_pod(a_pod_body(**state))

    def push(self, report: wire.Report) -> None:
        """The agent POSTs a report."""
        self.cache.put_report(JOB_UID, report, self.parts.reconciler.clock())

    def change_spec(self, **spec: Any) -> None:
        """The user changes the job, and the watch brings it."""
        body = self.kube.objects[f"{JOBS}/sales"]
        body["spec"] |= spec
        body["metadata"]["generation"] += 1
        self.kube.touch(JOBS, "sales")
        self.cache.put_job(copy.deepcopy(self.kube.objects[f"{JOBS}/sales"]))

    @property
    def events(self) -> list[str]:
        """The reasons of the Events on the job, in order."""
        return [event["reason"] for event in self.kube.events]

    @property
    def status(self) -> Json:
        status: Json = self.kube.objects[f"{JOBS}/sales"].get("status", {})
        return status

    @property
    def end(self) -> tuple[str | None, str | None, str | None]:
        """Phase, reason and delivery, as kubectl shows them."""
        delivery = self.status.get("delivery", {}).get("state")
        return self.status.get("phase"), self.status.get("reason"), delivery
