"""Kopf's part: note each event in the store and enqueue its job. Nothing else happens here.

Low-level ``on.event`` handlers only: they cost no write, add no finalizer and keep no state in the
objects. Kopf swallows their errors, so they must not do anything that can fail.
"""

from collections.abc import Iterable
from typing import Any

import kopf

from nanogrid import names
from nanogrid_operator.kube import PAGE
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.store import Store, version_of
from nanogrid_operator.workqueue import WorkQueue

WATCH_BACKOFFS = (1, 1, 2, 3, 5)  # seconds; Kopf starts anew when they are used up
IDLE_SECONDS = 0.5  # for which Kopf keeps the last event of an object after it was handled


class NoDiffs(kopf.DiffBaseStorage):
    """Tells Kopf that nothing ever differs.

    It compares objects for handlers of changes, of which there are none here, and without this it
    would deep-copy the object of every event for them.
    """

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None
    ) -> kopf.BodyEssence:
        """Nothing of an object matters."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing was known before."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written."""


def register(
    registry: kopf.OperatorRegistry, store: Store, queue: WorkQueue, liveness: Liveness
) -> None:
    """Attach the handlers of one operator to a registry."""

    @kopf.on.login(registry=registry)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**kwargs)
        return in_cluster or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        body: dict[str, Any] = dict(event["object"])
        liveness.seen(names.PLURAL, version_of(body))
        if event["type"] == "DELETED":
            store.drop_job(body["metadata"]["uid"])
        else:
            queue.add(store.put_job(body))

    @kopf.on.event("", "v1", "pods", labels={names.LABEL_JOB_UID: kopf.PRESENT}, registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        body: dict[str, Any] = dict(event["object"])
        liveness.seen("pods", version_of(body))
        gone = event["type"] == "DELETED"
        queue.add(store.drop_pod(body) if gone else store.put_pod(body))


def configure(settings: kopf.OperatorSettings) -> None:
    """Quiet, selective, and without anything written by Kopf itself."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # An API server that is back is watched again within seconds, however long it was away.
    settings.networking.error_backoffs = WATCH_BACKOFFS
    settings.watching.label_selectors["v1/pods"] = names.LABEL_JOB_UID  # on the server's side
    # A start among thousands of objects: they come page by page, and none is kept for long.
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.persistence.diffbase_storage = NoDiffs()
