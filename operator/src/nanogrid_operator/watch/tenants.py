"""Keeps the tenants current: LISTs the NanoGridTenants of the release's namespace.

There are few of them and they change rarely, so a LIST every few seconds is enough and has fewer
states than a watch. A change applies to pods that are created after it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nanogrid import names
from nanogrid.backoff import exponential, jitter
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, KubeError, collection
from nanogrid.types import Json
from nanogrid_operator.model.tenant import Tenants

log = logging.getLogger("nanogrid.tenants")

POLL_SECONDS = 10.0
FIRST_RETRY_SECONDS = 2.0
MOST_SECONDS = 30.0  # between tries of the first LIST


@dataclass(slots=True, kw_only=True)
class TenantPoll:
    """:meth:`first` before any worker starts, then :meth:`run` for ever.

    Attributes:
        kube: The API server.
        namespace: The release's namespace. If it is empty, the defaults apply to all namespaces:
            objects of other namespaces have no effect, because tenants may be able to write them.
        tenants: Receives the objects.
        on_change: Receives the names of the tenants that have changed.
        on_invalid: Receives an object that is not valid, and what is wrong with it.
    """

    kube: KubeApi
    namespace: str
    tenants: Tenants
    on_change: Callable[[Iterable[str]], None]
    on_invalid: Callable[[Json, str], None]
    # The version of each object of the last LIST, by name; None before the first LIST.
    _versions: dict[str, str] | None = field(default=None, init=False)

    async def first(self) -> None:
        """Read the tenants once; tries again until the API server answers.

        Without them it is unknown what a namespace may do, so no job starts before.
        """
        if not self.namespace:
            log.warning(
                "NANOGRID_NAMESPACE is not set: no %s is read, and the defaults apply to all "
                "namespaces", names.TENANT_KIND,
            )  # fmt: skip
            return
        failures = 0
        while True:
            try:
                await self.poll()
                return
            except KubeError as e:
                pause = jitter(exponential(failures, FIRST_RETRY_SECONDS, MOST_SECONDS), 0.8, 1.0)
                failures += 1
                log.error(
                    "cannot list %ss in namespace %s, trying again in %.1f s: %s",
                    names.TENANT_KIND, self.namespace, pause, e,
                )  # fmt: skip
                await asyncio.sleep(pause)

    async def run(self) -> None:
        """Read the tenants at the interval. After an error the last known tenants apply."""
        while self.namespace:
            await asyncio.sleep(jitter(POLL_SECONDS, 0.9, 1.1))
            try:
                await self.poll()
            except KubeError as e:
                log.warning("cannot list %ss, the known ones apply: %s", names.TENANT_KIND, e)

    async def poll(self) -> None:
        """Read the tenants, and take over what has changed.

        Raises:
            KubeError: The API server refused, or did not answer.
        """
        path = collection(JOBS, names.TENANT_PLURAL, self.namespace)
        try:
            found, _ = await self.kube.list(path)
        except KubeError as e:
            if e.code != 404 or self._versions:
                raise
            if self._versions is None:
                log.info("the CRD of %s is not installed: the defaults apply", names.TENANT_KIND)
            found = []
        self._take(found)

    def _take(self, found: list[Json]) -> None:
        old = self._versions or {}
        new = {body["metadata"]["name"]: _version(body) for body in found}
        first, self._versions = self._versions is None, new
        changed = {name for name in old | new if old.get(name) != new.get(name)}
        if not (changed or first):
            return
        invalid = self.tenants.replace(found)
        for body in found:
            name = body["metadata"]["name"]
            if name in changed and name in invalid:
                log.error("%s %s is not valid: %s", names.TENANT_KIND, name, invalid[name])
                self.on_invalid(body, invalid[name])
        log.info("%d tenants, changed: %s", len(found), ", ".join(sorted(changed)) or "none")
        self.on_change(sorted(changed))


def _version(body: Json) -> str:
    return f"{body['metadata']['uid']}/{body['metadata']['resourceVersion']}"
