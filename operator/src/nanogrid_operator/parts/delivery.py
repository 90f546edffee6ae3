"""Builds what brings results to Redis, S3 and webhooks."""

from dataclasses import dataclass

from nanogrid_operator.delivery.delivery import ResultDelivery
from nanogrid_operator.delivery.outbox import Outbox
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.delivery.webhook_queue import Webhooks
from nanogrid_operator.parts.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParts:
    """``results`` delivers to Redis and writes what became of each target."""

    pending_results: PendingResults
    results: ResultDelivery
    outbox: Outbox
    webhooks: Webhooks


def build_delivery(shared: Shared, first_webhook_pause: float) -> DeliveryParts:
    """Build them; ``first_webhook_pause`` in seconds, see :class:`Webhooks`."""
    clients, cache = shared.clients, shared.cache
    pending_results = PendingResults()
    delivery = ResultDelivery(
        tenants=shared.tenants,
        keys=shared.keys,
        cache=cache,
        queue=shared.queue,
        publisher=clients.publisher,
        results=clients.results,
        pending_results=pending_results,
        writer=shared.writer,
        on_delivered=shared.metrics.delivered,
        traces=shared.traces,
        clock=clients.clock,
    )
    outbox = Outbox(
        cache=cache,
        publisher=clients.publisher,
        results=clients.results,
        tenants=shared.tenants,
        pending_results=pending_results,
        delivery=delivery,
    )
    webhooks = Webhooks(
        settings=shared.settings,
        cache=cache,
        client=clients.webhook,
        delivery=delivery,
        clock=clients.clock,
        first_pause_seconds=first_webhook_pause,
    )
    return DeliveryParts(
        pending_results=pending_results, results=delivery, outbox=outbox, webhooks=webhooks
    )
