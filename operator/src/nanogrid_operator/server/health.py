"""Checks of CRD, Redis and S3 at the start, repeated for the readiness probe.

Each change is one log line.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, collection
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.health")

CHECK_SECONDS = 15.0
CHECK_TIMEOUT_SECONDS = 10.0

Checks = Mapping[str, Callable[[], Awaitable[object]]]


class Health:
    """The answers of the probes."""

    def __init__(
        self,
        checks: Checks,
        problem: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``problem`` says why the process needs a restart: see :mod:`..watch.liveness`."""
        self._checks = checks
        self._problem = problem
        self._clock = clock
        self._missing: dict[str, str] = {"start": "the first checks have not ended"}
        self._checked = clock()
        self._up: dict[str, bool] = {}

    def missing(self) -> dict[str, str]:
        """The checks that fail, with their errors; empty when ready."""
        return dict(self._missing)

    def checked(self) -> dict[str, bool]:
        """Whether the last run of each check succeeded; empty before the first one ended."""
        return dict(self._up)

    def stuck(self) -> str:
        """Why the operator should be restarted; empty while it works."""
        silent = self._clock() - self._checked
        if silent > 4 * (CHECK_SECONDS + CHECK_TIMEOUT_SECONDS):
            return f"the checks have not run for {silent:.0f} s"
        return self._problem()

    async def run(self) -> None:
        """Run the checks for ever, and log each change once."""
        errors: dict[str, str | None] = {}
        while True:
            results = await asyncio.gather(*(_attempt(check) for check in self._checks.values()))
            for name, error in zip(self._checks, results, strict=True):
                if name not in errors or (errors[name] is None) != (error is None):
                    if error is None:
                        log.info("check %s: ok", name)
                    else:
                        log.error("check %s: %s", name, error)
                errors[name] = error
            self._missing = {n: e for n, e in errors.items() if e is not None}
            self._up = {n: e is None for n, e in errors.items()}
            self._checked = self._clock()
            await asyncio.sleep(CHECK_SECONDS if not self._missing else CHECK_SECONDS / 5)


async def _attempt(check: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except Exception as e:  # any error is the probe's answer, and in the log
        return f"{type(e).__name__}: {e}"
    return None


def dependency_checks(
    kube: KubeApi, publisher: Publisher, results: ResultStore, settings: Settings
) -> Checks:
    """The checks by name."""
    namespaces = settings.namespaces or [""]

    async def crd() -> None:
        await kube.probe(collection(JOBS, names.PLURAL, namespaces[0]))

    checks: dict[str, Callable[[], Awaitable[object]]] = {"crd": crd, "redis": publisher.check}
    if results.bucket:
        checks["s3"] = results.check
    return checks
