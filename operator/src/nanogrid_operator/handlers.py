"""Kopf's part: note each event in the store and enqueue its job. Nothing else happens here.

Low-level ``on.event`` handlers only: they cost no write, add no finalizer and keep no state in the
objects. Kopf swallows their errors, so they must not do anything that can fail.
"""

from collections.abc import Iterable
from typing import Any

import kopf

from nanogrid import names
from nanogrid_operator.facts import Json
from nanogrid_operator.kube import PAGE
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.slim import ended, inert
from nanogrid_operator.store import Store, version_of
from nanogrid_operator.workqueue import WorkQueue

WATCH_BACKOFFS = (1, 1, 2, 3, 5)  # seconds; Kopf starts anew when they are used up
# The type of Kopf's events for what a LIST shows. At a start our own LIST has shown it before, and
# what was due is in the queue: thousands of jobs need not be looked at twice.
LISTED = None
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
        note_job(event["type"], dict(event["object"]), store, queue, liveness)

    @kopf.on.event("", "v1", "pods", labels={names.LABEL_JOB_UID: kopf.PRESENT}, registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:
        note_pod(event["type"], dict(event["object"]), store, queue, liveness)


def note_job(
    kind: str | None, body: Json, store: Store, queue: WorkQueue, liveness: Liveness
) -> None:
    """Take in a job, and enqueue it unless a LIST shows what is known and worked on already."""
    liveness.seen(names.PLURAL, version_of(body))
    if kind == "DELETED":
        store.drop_job(body["metadata"]["uid"])
        return
    known = kind is LISTED and not store.news([body])
    # What is left to do for an ended job may hang on this event alone: see webhooks, time to live.
    due = ended(body) and not inert(body)
    uid = store.put_job(body)
    if due or not known:
        queue.add(uid)


def note_pod(
    kind: str | None, body: Json, store: Store, queue: WorkQueue, liveness: Liveness
) -> None:
    """Take in a pod, and enqueue its job unless a LIST shows what is known already."""
    liveness.seen("pods", version_of(body))
    if kind == "DELETED":
        queue.add(store.drop_pod(body))
        return
    known = kind is LISTED and not store.news([body], pods=True)
    uid = store.put_pod(body)
    if not known:
        queue.add(uid)


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
