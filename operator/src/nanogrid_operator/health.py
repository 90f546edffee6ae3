"""Start-up checks, repeated for the readiness probe: CRD, Redis, S3; one log line per change."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from nanogrid import names
from nanogrid_operator.kube import JOBS, KubeApi, collection
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.health")

CHECK_SECONDS = 15.0
CHECK_TIMEOUT_SECONDS = 10.0


class Health:
    """What the probes answer."""

    def __init__(self, vitals: Callable[[], str] = str) -> None:
        """``vitals`` says what else must live, or why it does not: :mod:`.liveness`."""
        self._vitals = vitals
        self._missing: dict[str, str] = {"start": "the first checks have not ended"}
        self._beat = time.monotonic()

    def missing(self) -> dict[str, str]:
        """What does not answer, with the error; empty when ready."""
        return dict(self._missing)

    def stuck(self) -> str:
        """Why the operator should be restarted; empty while it is well."""
        silent = time.monotonic() - self._beat
        if silent > 4 * (CHECK_SECONDS + CHECK_TIMEOUT_SECONDS):
            return f"the checks have not run for {silent:.0f} s"
        return self._vitals()

    async def watch(self, checks: dict[str, Callable[[], Awaitable[object]]]) -> None:
        """Run the checks for ever, logging each change once."""
        seen: dict[str, str | None] = {}
        while True:
            results = await asyncio.gather(*(_attempt(check) for check in checks.values()))
            for name, error in zip(checks, results, strict=True):
                if name not in seen or (seen[name] is None) != (error is None):
                    if error is None:
                        log.info("check %s: ok", name)
                    else:
                        log.error("check %s: %s", name, error)
                seen[name] = error
            self._missing = {n: e for n, e in seen.items() if e is not None}
            self._beat = time.monotonic()
            await asyncio.sleep(CHECK_SECONDS if not self._missing else CHECK_SECONDS / 5)


async def _attempt(check: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except Exception as e:  # whatever it is, it is the probe's answer and in the log
        return f"{type(e).__name__}: {e}"
    return None


def checks(
    kube: KubeApi, publisher: Publisher, results: ResultStore, settings: Settings
) -> dict[str, Callable[[], Awaitable[object]]]:
    """The checks by name."""
    namespaces = settings.namespaces or [""]

    async def crd() -> None:
        await kube.probe(collection(JOBS, names.PLURAL, namespaces[0]))

    found: dict[str, Callable[[], Awaitable[object]]] = {"crd": crd, "redis": publisher.check}
    if results.bucket:
        found["s3"] = results.check
    return found
