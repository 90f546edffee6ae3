"""Put each event into the cache and enqueue its job. Nothing else happens here.

Events of jobs and pools come from Kopf, to low-level ``on.event`` handlers: they write nothing, add
no finalizer and keep no state in the objects. Kopf swallows their errors, so they must not do
anything that can fail. Events of pods come from :mod:`.pod_watch`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import kopf

from nanogrid import names
from nanogrid.kube.conventions import PAGE
from nanogrid.lifecycle import finished
from nanogrid.types import Json
from nanogrid_operator.model.claim import is_claimed, is_of_pool
from nanogrid_operator.model.versions import version_of
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.workqueue import WorkQueue

WATCH_BACKOFFS = (1, 1, 2, 3, 5)  # seconds; Kopf starts over after the last one
# The type of events for objects of a LIST, as Kopf has it. At the start, the resync has shown them
# before and their jobs are in the queue. So thousands of jobs are not reconciled twice.
LISTED = None
IDLE_SECONDS = 0.5  # how long Kopf keeps the last event of an object after it was handled


class NoDiffs(kopf.DiffBaseStorage):
    """Tells Kopf that objects never differ.

    Kopf compares objects for handlers of changes. The operator has none, and without this class
    Kopf would deep-copy the object of every event.
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


class NoProgress(kopf.ProgressStorage):
    """Tells Kopf that no handler has begun: those of events keep no state.

    Without it, Kopf would copy and search the content of each event twice.
    """

    def fetch(self, **_: Any) -> kopf.ProgressRecord | None:
        """Nothing has begun."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is written."""

    def purge(self, **_: Any) -> None:
        """Nothing is written."""

    def touch(self, **_: Any) -> None:
        """Nothing is written."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """There is nothing to remove."""
        return essence


class EventHandlers:
    """Takes in the events of jobs and pods.

    ``on_new`` receives each job that the watch of a leader shows first; it does not raise.
    """

    def __init__(
        self,
        cache: JobCache,
        queue: WorkQueue,
        liveness: Liveness,
        selection: Selection,
        on_new: Callable[[Json], None],
        pools: PoolCache,
    ) -> None:
        self._cache = cache
        self._pools = pools
        self._queue = queue
        self._liveness = liveness
        self._selection = selection
        self._on_new = on_new

    def on_job(self, kind: str | None, body: Json) -> None:
        """Take in a job, and enqueue it unless a LIST shows a version that is known already."""
        self._liveness.seen(names.PLURAL, version_of(body))
        if not self._selection.serves(body):
            return  # another installation's; an old API server cannot select
        if kind == "DELETED":
            self._cache.drop_job(body["metadata"]["uid"])
            return
        new = kind == "ADDED" and self._cache.job(body["metadata"]["uid"]) is None
        if new and not self._queue.paused:
            self._on_new(body)
        known = kind is LISTED and not self._cache.newest_unknown_job([body])
        # This event alone may trigger what is left to do for a finished job: its webhook, or its
        # deletion after the time to live.
        due = finished(body) and not self._cache.inert(body)
        uid = self._cache.put_job(body)
        if due or not known:
            self._queue.add(uid)

    def on_pod(self, kind: str | None, body: Json) -> None:
        """Take in a pod, and enqueue its job if a decision may depend on what is new."""
        self._liveness.seen("pods", version_of(body))
        if is_of_pool(body):
            self._on_pool_pod(kind, body)
            if not is_claimed(body):
                return  # no job is concerned
        if kind == "DELETED":
            self._queue.add(self._cache.drop_pod(body))
            return
        known = kind is LISTED and not self._cache.newest_unknown_pod([body])
        uid, news = self._cache.take_pod(body)
        if news and not known:
            self._queue.add(uid)

    def _on_pool_pod(self, kind: str | None, body: Json) -> None:
        if kind == "DELETED":
            self._pools.drop_pod(body)
        else:
            self._pools.put_pod(body)

    def on_pool(self, kind: str | None, body: Json) -> None:
        """Take in a pool."""
        if not self._selection.serves(body):
            return
        if kind == "DELETED":
            self._pools.drop_pool(body)
        else:
            self._pools.put_pool(body)


def register(registry: kopf.OperatorRegistry, handlers: EventHandlers) -> None:
    """Attach the handlers of one operator for jobs and pools to a registry."""

    @kopf.on.login(registry=registry)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**kwargs)
        return in_cluster or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def on_job(event: kopf.RawEvent, **_: Any) -> None:
        handlers.on_job(event["type"], dict(event["object"]))

    @kopf.on.event(names.GROUP, names.VERSION, names.POOL_PLURAL, registry=registry)
    async def on_pool(event: kopf.RawEvent, **_: Any) -> None:
        handlers.on_pool(event["type"], dict(event["object"]))


def configure(settings: kopf.OperatorSettings, selection: Selection) -> None:
    """Configure Kopf: it logs little, selects objects on the server, and writes nothing itself."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # After an outage of any length, Kopf watches the API server again within seconds.
    settings.networking.error_backoffs = WATCH_BACKOFFS
    # The API server selects.
    if selection.job_fields:
        jobs = (names.GROUP, names.VERSION, names.PLURAL)
        settings.watching.field_selectors[jobs] = selection.job_fields
    # Thousands of objects come page by page at a start, and Kopf keeps none of them for long.
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.persistence.diffbase_storage = NoDiffs()
    settings.persistence.progress_storage = NoProgress()
