"""The parts of one gateway process, built from its settings and closed together."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Final

from nanogrid.connection_limits import Slots
from nanogrid.kube.conventions import KubeError
from nanogrid.threads import Threads
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.auth import Auth, make_auth
from nanogrid_gateway.api.bodies import Bodies
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.api.functions.upload import Uploads
from nanogrid_gateway.api.limits import Limits
from nanogrid_gateway.api.object_store import Objects
from nanogrid_gateway.api.runs.logs import LogStreams
from nanogrid_gateway.api.runs.result_feed import ResultFeed
from nanogrid_gateway.api.runs.runs import Runs
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.kube.client import Kube
from nanogrid_gateway.metrics import GatewayMetrics

log = logging.getLogger("nanogrid.gateway")

CHECK_SECONDS: Final = 5.0  # readiness probes may get an answer of this age


@dataclass(kw_only=True)
class Gateway:
    """Everything that requests need; ``slow_clients`` has a slot for each slow client."""

    settings: Settings
    kube: Kube
    auth: Auth
    limits: Limits
    slow_clients: Slots
    threads: Threads
    bodies: Bodies
    objects: AsyncObjects
    feed: ResultFeed
    functions: Functions
    uploads: Uploads
    runs: Runs
    streams: LogStreams
    metrics: GatewayMetrics
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _checked: float = 0.0
    _missing: list[str] = field(default_factory=list)

    @property
    def draining(self) -> bool:
        """Whether the process is stopping."""
        return self.feed.draining

    async def missing(self) -> list[str]:
        """The dependencies that are missing for readiness; empty when the gateway is ready.

        Redis is not one of them: without Redis, results are read from the jobs.
        """
        if self.draining:
            return ["the gateway is stopping"]
        async with self._checking:
            if time.monotonic() - self._checked > CHECK_SECONDS:
                self._missing = await self._check()
                self._checked = time.monotonic()
            return self._missing

    def warnings(self) -> list[str]:
        """Degraded dependencies that do not affect readiness."""
        error = self.feed.error
        return [f"Redis: {error}; results come from the jobs"] if error else []

    async def close(self) -> None:
        """Close all connections."""
        await self.feed.close()
        await self.kube.close()
        self.threads.close()

    async def _check(self) -> list[str]:
        missing = []
        try:
            await self.kube.check()
        except KubeError as e:
            missing.append(f"Kubernetes: {e}")
        try:
            await self.objects.check()
        except ApiError as e:
            missing.append(f"S3: {e}")
        if missing:
            log.warning("not ready: %s", "; ".join(missing))
        return missing


async def open_gateway(settings: Settings, metrics: GatewayMetrics) -> Gateway:
    """Build all parts, from the leaves up.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    kube = await Kube.connect(
        settings.namespace, settings.kube_timeout_seconds, metrics.kubernetes.answered
    )
    threads = Threads(settings.storage_threads)
    objects = AsyncObjects(await threads.call(Objects, settings), threads)
    feed = ResultFeed(kube.cluster, kube.jobs, settings)
    functions = Functions(kube, objects)
    slow_clients = Slots(settings.max_slow_clients)
    return Gateway(
        settings=settings,
        kube=kube,
        auth=make_auth(settings, kube),
        limits=Limits(
            rate=settings.rate_per_second,
            burst=settings.rate_burst,
            concurrent=settings.max_concurrent,
        ),
        slow_clients=slow_clients,
        threads=threads,
        bodies=Bodies(settings.read_seconds, slow_clients, threads),
        objects=objects,
        feed=feed,
        functions=functions,
        uploads=Uploads(kube, objects, functions, settings.runtimes, threads),
        runs=Runs(kube, objects, feed, functions, settings, metrics),
        streams=LogStreams(settings.max_streams, lambda: feed.draining),
        metrics=metrics,
    )
