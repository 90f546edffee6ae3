"""The parts of one gateway process, made from its settings and closed together."""

import logging
import threading
import time
from typing import Final

from nanogrid_gateway.api.auth import Auth, make_auth
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.feed import Feed
from nanogrid_gateway.api.functions import Functions
from nanogrid_gateway.api.kube import Kube
from nanogrid_gateway.api.limits import Limits, Places
from nanogrid_gateway.api.loop import Loop
from nanogrid_gateway.api.objects import Objects
from nanogrid_gateway.api.runs import Runs
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway")

CHECK_SECONDS: Final = 5.0  # what readiness probes hear may be so old


class Gateway:
    """Everything that requests need."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = Loop()
        self.kube = Kube(self.loop, settings.namespace, settings.kube_timeout_seconds)
        self.auth: Auth = make_auth(settings, self.kube)
        self.objects = Objects(settings)
        self.feed = Feed(self.loop, self.kube.cluster, self.kube.jobs, settings)
        self.functions = Functions(self.kube, self.objects, settings.runtimes)
        self.runs = Runs(self.kube, self.objects, self.feed, self.functions, settings)
        self.limits = Limits(
            rate=settings.rate_per_second,
            burst=settings.rate_burst,
            concurrent=settings.max_concurrent,
        )
        self.streams = Places(settings.max_streams)
        self._checking = threading.Lock()
        self._checked = 0.0
        self._missing: list[str] = []

    @property
    def draining(self) -> bool:
        """Whether the process has been told to stop."""
        return self.feed.draining

    def missing(self) -> list[str]:
        """What the gateway cannot do without and does not have; empty when it is ready.

        Redis is not in it: without Redis, results are read from the jobs.
        """
        if self.draining:
            return ["the gateway is stopping"]
        with self._checking:
            if time.monotonic() - self._checked > CHECK_SECONDS:
                self._missing = self._check()
                self._checked = time.monotonic()
            return self._missing

    def warnings(self) -> list[str]:
        """What is wrong and does not keep the gateway from its work."""
        trouble = self.feed.trouble
        return [f"Redis: {trouble}; results come from the jobs"] if trouble else []

    def drain(self) -> None:
        """Send home all who wait; callable from a signal handler."""
        self.feed.drain()

    def close(self) -> None:
        """Close all connections."""
        self.feed.close()
        self.kube.close()
        self.loop.close()

    def _check(self) -> list[str]:
        missing = []
        try:
            self.kube.check()
        except KubeError as e:
            missing.append(f"Kubernetes: {e}")
        try:
            self.objects.check()
        except ApiError as e:
            missing.append(f"S3: {e}")
        if missing:
            log.warning("not ready: %s", "; ".join(missing))
        return missing
