"""Kopf's part: note each event in the store and enqueue its job. Nothing else happens here.

Low-level ``on.event`` handlers only: they cost no write, add no finalizer and keep no state in the
objects. Kopf swallows their errors, so they must not do anything that can fail.
"""

from typing import Any

import kopf

from nanogrid import names
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.store import Store, version_of
from nanogrid_operator.workqueue import WorkQueue

WATCH_BACKOFFS = (1, 1, 2, 3, 5)  # seconds; Kopf starts anew when they are used up


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
