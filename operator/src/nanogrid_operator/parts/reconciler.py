"""Builds what decides and acts for one job, from its start to its end."""

from collections.abc import Callable

from nanogrid.types import Json
from nanogrid_operator.parts.delivery import DeliveryParts
from nanogrid_operator.parts.pools import PoolParts
from nanogrid_operator.parts.shared import Shared
from nanogrid_operator.reconcile.exposures import Exposures
from nanogrid_operator.reconcile.finish import JobFinisher
from nanogrid_operator.reconcile.reconciler import Reconciler
from nanogrid_operator.reconcile.recovery import ResultRecovery
from nanogrid_operator.reconcile.start import PodStarter
from nanogrid_operator.reconcile.waiting import Waiting
from nanogrid_operator.status.session import SessionStatusTracker


def build_reconciler(
    shared: Shared,
    pools: PoolParts,
    delivery: DeliveryParts,
    on_finished: Callable[[Json], None],
) -> Reconciler:
    """Build it with what it acts through; ``on_finished`` gets each job that has ended."""
    settings, clients = shared.settings, shared.clients
    tracker = SessionStatusTracker(settings)
    exposures = Exposures(settings=settings, kube=clients.kube, clock=clients.clock)
    starter = PodStarter(
        settings=settings,
        tenants=shared.tenants,
        cache=shared.cache,
        queue=shared.queue,
        kube=clients.kube,
        secrets=pools.secrets,
        policies=pools.policies,
        admission=shared.admission,
        exposures=exposures,
        preparation=pools.preparation,
        claims=pools.claims,
        writer=shared.writer,
        traces=shared.traces,
        on_started=shared.metrics.pools.started,
        clock=clients.clock,
    )
    recovery = ResultRecovery(
        tenants=shared.tenants,
        keys=shared.keys,
        results=clients.results,
        writer=shared.writer,
        clock=clients.clock,
    )
    finisher = JobFinisher(
        settings=settings,
        tenants=shared.tenants,
        keys=shared.keys,
        cache=shared.cache,
        queue=shared.queue,
        kube=clients.kube,
        publisher=clients.publisher,
        results=clients.results,
        pending_results=delivery.pending_results,
        writer=shared.writer,
        tracker=tracker,
        memory=shared.memory,
        exposures=exposures,
        traces=shared.traces,
        store_late=delivery.outbox.offer,
        on_finished=on_finished,
        on_retried=shared.metrics.retried,
        on_delivered=shared.metrics.delivered,
        clock=clients.clock,
    )
    return Reconciler(
        settings=settings,
        cache=shared.cache,
        queue=shared.queue,
        kube=clients.kube,
        secrets=pools.secrets,
        admission=shared.admission,
        waiting=Waiting(shared.admission, clients.clock),
        network=shared.network,
        pending_results=delivery.pending_results,
        writer=shared.writer,
        tracker=tracker,
        memory=shared.memory,
        exposures=exposures,
        claims=pools.claims,
        starter=starter,
        recovery=recovery,
        finisher=finisher,
        delivery=delivery.results,
        traces=shared.traces,
        send_webhook=delivery.webhooks.offer,
        store_late=delivery.outbox.offer,
        clock=clients.clock,
    )
