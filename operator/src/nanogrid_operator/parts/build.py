"""All parts of one operator, built from the leaves up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid.metrics.registry import Metrics
from nanogrid.traces.export import NoTracing, Tracing
from nanogrid.types import Json
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.output_bytes import OutputBytes
from nanogrid_operator.decision.webhook import FIRST_PAUSE_SECONDS
from nanogrid_operator.delivery.cloudwatch.sender import CloudWatchMetrics
from nanogrid_operator.delivery.cloudwatch.targets import target_of
from nanogrid_operator.delivery.function_runs import FunctionRuns
from nanogrid_operator.delivery.outbox import Outbox
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.delivery.webhook_queue import Webhooks
from nanogrid_operator.gauges import Gauges
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.parts.clients import Clients
from nanogrid_operator.parts.delivery import build_delivery
from nanogrid_operator.parts.pools import build_pools, build_waiting
from nanogrid_operator.parts.reconciler import build_reconciler
from nanogrid_operator.parts.shared import Shared
from nanogrid_operator.reconcile.claims import PodClaims
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.reconcile.pools import PoolKeeper
from nanogrid_operator.reconcile.reconciler import Reconciler
from nanogrid_operator.reconcile.worker import Workers
from nanogrid_operator.server.authentication import make_authenticator
from nanogrid_operator.server.forwarder import ReportForwarder
from nanogrid_operator.server.health import Health, dependency_checks
from nanogrid_operator.server.results import ResultsApi
from nanogrid_operator.server.senders import Senders
from nanogrid_operator.server.tasks import TaskApi
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.events import Events
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import Writer
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.handlers import EventHandlers
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.pod_watch import PodWatch
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.watch.resync import Resync
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.watch.tenants import TenantPoll
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that :func:`run` starts, and those that tests look into."""

    tenants: Tenants
    tenant_poll: TenantPoll
    cache: JobCache
    queue: WorkQueue
    admission: AdmissionQueue
    pending_results: PendingResults
    liveness: Liveness
    health: Health
    gauges: Gauges
    api: ResultsApi
    handlers: EventHandlers
    pod_watch: PodWatch
    reconciler: Reconciler
    workers: Workers
    resync: Resync
    webhooks: Webhooks
    outbox: Outbox
    function_runs: FunctionRuns
    cloudwatch: CloudWatchMetrics
    network: NetworkProbe
    memory: LiveMemory
    selection: Selection
    pools: PoolCache
    agents: WaitingAgents
    pool_keeper: PoolKeeper
    claims: PodClaims


def build(
    settings: Settings,
    clients: Clients,
    queue: WorkQueue,
    *,
    metrics: OperatorMetrics | None = None,
    leader: Callable[[], LeaderAddress | None] = lambda: None,
    monotonic: Callable[[], float] = time.monotonic,
    first_webhook_pause: float = FIRST_PAUSE_SECONDS,
    tracing: Tracing | None = None,
) -> Parts:
    """Build all parts, from the leaves up.

    While the queue is paused, this process stands by: its parts write nothing.

    Args:
        settings: The operator's settings.
        clients: The connections to other processes.
        queue: The queue of jobs to reconcile.
        metrics: What this process measures; None: nothing reads it.
        leader: Where another process, the leader, takes reports.
        monotonic: The clock for durations, in seconds.
        first_webhook_pause: The shortest pause between two requests to a webhook, in seconds.
        tracing: Where the spans of jobs go; None: nowhere.
    """
    kube, clock = clients.kube, clients.clock
    metrics = metrics or OperatorMetrics(Metrics("operator"))
    queue.observe(metrics.queue)
    waiting = build_waiting(settings.result_key_master, clock)
    cache = JobCache(
        settings.default_ttl,
        confirmed=not queue.paused,
        proofs=waiting.proofs,
        waiting=waiting.pools.has_pod,
    )
    selection = Selection(settings.controller_class)
    tenants = Tenants(settings, cache.namespaces)
    outputs = OutputBytes(tenants)
    admission = AdmissionQueue(settings, queue.add, tenants, outputs, clock)
    cache.add_observer(admission)
    memory = LiveMemory(settings.memory_writes_per_second, queue.add)
    cache.add_observer(memory)
    events = Events(kube)
    writer = Writer(cache=cache, kube=kube, events=events, clock=clock)
    keys = ResultKeys(settings.result_key_master)
    network = NetworkProbe(kube, settings, clock)
    traces = JobTraces(tracing=tracing or NoTracing(), clock=clock)
    shared = Shared(
        settings,
        tenants,
        keys,
        clients,
        queue,
        admission,
        network,
        cache,
        writer,
        memory,
        metrics,
        traces,
    )
    function_runs = FunctionRuns(kube, clock)
    cloudwatch = CloudWatchMetrics(
        target_of(settings),
        interval=settings.cloudwatch_interval_seconds,
        max_series=settings.cloudwatch_max_functions,
    )
    delivery = build_delivery(shared, first_webhook_pause)
    receivers = (metrics.finished, function_runs.offer, outputs.offer, cloudwatch.offer)
    on_finished = _each(*receivers)
    pools = build_pools(shared, waiting, monotonic)
    reconciler = build_reconciler(shared, pools, delivery, on_finished)
    liveness = Liveness(queue, settings.resync_seconds, monotonic)
    checks = dependency_checks(kube, clients.publisher, clients.results, settings)
    health = Health(checks, liveness.problem, monotonic)
    handlers = EventHandlers(
        cache,
        queue,
        liveness,
        selection,
        lambda job: metrics.watched(job, clock()),
        waiting.pools,
    )
    return Parts(
        tenants=tenants,
        tenant_poll=TenantPoll(
            kube=kube,
            namespace=settings.namespace,
            tenants=tenants,
            on_change=admission.wake_all,
            on_invalid=_when_leading(
                queue, lambda body, problem: events.post_tenant(body, problem, clock())
            ),
        ),
        cache=cache,
        queue=queue,
        admission=admission,
        pending_results=delivery.pending_results,
        liveness=liveness,
        health=health,
        gauges=Gauges(
            metrics=metrics,
            cache=cache,
            admission=admission,
            queue=queue,
            health=health,
            pools=pools.keeper,
            clock=clock,
        ),
        api=ResultsApi(
            senders=Senders(
                authenticator=make_authenticator(settings, kube),
                cache=cache,
                monotonic=monotonic,
            ),
            keys=keys,
            cache=cache,
            queue=queue,
            health=health,
            network=lambda: network.condition,
            memory=memory,
            forwarder=ReportForwarder(leader, monotonic),
            tasks=TaskApi(
                pools=waiting.pools,
                agents=waiting.agents,
                queue=queue,
                task_of=pools.claims.task_of,
                silent=pools.claims.give_up,
                monotonic=monotonic,
            ),
            counted=metrics.reported,
            clock=clock,
        ),
        handlers=handlers,
        pod_watch=PodWatch(
            kube=clients.watched,
            selection=selection,
            namespaces=settings.namespaces,
            handlers=handlers,
        ),
        reconciler=reconciler,
        workers=Workers(queue, reconciler.reconcile, settings.workers, cache.log_fields),
        resync=Resync(
            settings=settings,
            selection=selection,
            cache=cache,
            pools=waiting.pools,
            proofs=waiting.proofs,
            queue=queue,
            kube=kube,
            liveness=liveness,
            on_job=_each(_when_leading(queue, function_runs.offer_listed), outputs.offer),
            clock=clock,
        ),
        webhooks=delivery.webhooks,
        outbox=delivery.outbox,
        function_runs=function_runs,
        cloudwatch=cloudwatch,
        network=network,
        memory=memory,
        selection=selection,
        pools=waiting.pools,
        agents=waiting.agents,
        pool_keeper=pools.keeper,
        claims=pools.claims,
    )


def _each(*receivers: Callable[[Json], None]) -> Callable[[Json], None]:
    """One function that gives a job to each of these, and never raises: the job goes on."""

    def give(job: Json) -> None:
        for receiver in receivers:
            try:
                receiver(job)
            except Exception:
                log.exception("%s failed for an ended job", getattr(receiver, "__qualname__", ""))

    return give


def _when_leading(queue: WorkQueue, act: Callable[..., None]) -> Callable[..., None]:
    """A function that does nothing while this process stands by."""

    def maybe_act(*args: object) -> None:
        if not queue.paused:
            act(*args)

    return maybe_act
