"""The connections of the operator to other processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.delivery.webhook_client import WebhookClient
from nanogrid_operator.kube.server_clock import ServerClock
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.settings import Settings

KUBE_CONNECTIONS: Final = 32  # open at the same time
UNLIMITED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The connections to other processes.

    Attributes:
        kube: for requests.
        watched: for the watches of pods: each namespace has its own, and holds a connection.
        publisher: Redis.
        results: S3.
        webhook: the users' servers.
        clock: the API server's, in epoch seconds.
    """

    kube: KubeApi
    watched: KubeApi
    publisher: Publisher
    results: ResultStore
    webhook: WebhookClient
    clock: Callable[[], float]

    @classmethod
    async def connect(cls, settings: Settings, metrics: OperatorMetrics) -> "Clients":
        """The clients of the real services."""
        keys = ResultKeys(settings.result_key_master)
        server_clock = ServerClock()
        kube = await KubeApi.connect(
            settings.kube_timeout_seconds,
            user_agent=names.MANAGED_BY,
            connections=KUBE_CONNECTIONS,
            observe=server_clock.observe,
            answered=metrics.kubernetes.answered,
        )
        watched = await KubeApi.connect(
            settings.kube_timeout_seconds,
            user_agent=names.MANAGED_BY,
            connections=UNLIMITED,
            answered=metrics.kubernetes.answered,
        )
        return cls(
            kube=kube,
            watched=watched,
            publisher=Publisher(settings, keys, attempted=metrics.attempted),
            results=ResultStore(settings, keys, metrics.attempted),
            webhook=WebhookClient(settings, attempted=metrics.attempted),
            clock=server_clock.now,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.webhook.close()
        await self.publisher.close()
        await self.watched.close()
        await self.kube.close()
