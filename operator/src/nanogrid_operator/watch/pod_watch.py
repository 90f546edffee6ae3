"""Watches the pods of jobs and pools. Kopf watches jobs and pools: decision 030 says why not pods.

After a watch that is too old, a LIST shows what is there. What was deleted meanwhile is dropped by
the next resync (:mod:`.resync`).
"""

import asyncio
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, collection
from nanogrid.kube.reflector import Reflector, Sink
from nanogrid.types import Json
from nanogrid_operator.watch.handlers import LISTED, EventHandlers
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.watch.transform import transform_pod

log = logging.getLogger("nanogrid.watch")

WATCH_SECONDS: Final = 300.0  # of one request: a connection that hangs is noticed then
LONGEST_PAUSE_SECONDS: Final = 5.0  # after an outage of any length


@dataclass(slots=True, kw_only=True)
class PodWatch:
    """:meth:`run` gives each event of a pod to the handlers, for ever.

    ``kube`` has a connection for each of ``namespaces``; none of them: one for the cluster.
    """

    kube: KubeApi
    selection: Selection
    namespaces: list[str]
    handlers: EventHandlers

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            for namespace in self.namespaces or [""]:
                group.create_task(self._reflector(namespace).run(), name=f"pods {namespace}")

    def _reflector(self, namespace: str) -> Reflector:
        return Reflector(
            self.kube,
            collection(CORE, "pods", namespace),
            Sink(
                replace=self._listed,
                put=lambda body: self._take("MODIFIED", body),
                drop=lambda body: self._take("DELETED", body),
            ),
            labels=self.selection.pod_labels,
            trim=transform_pod,
            resync=math.inf,
            watch=WATCH_SECONDS,
            longest_pause=LONGEST_PAUSE_SECONDS,
        )

    def _listed(self, bodies: Iterable[Json]) -> None:
        for body in bodies:
            self._take(LISTED, body)

    def _take(self, kind: str | None, body: Json) -> None:
        """Take in an event. One that cannot be read must not keep the others from their jobs."""
        try:
            self.handlers.on_pod(kind, body)
        except Exception:
            log.exception("cannot take in an event of pod %s", body["metadata"].get("name"))
