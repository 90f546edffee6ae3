"""Events go to the cache and enqueue their jobs. A LIST of known versions enqueues nothing."""

from typing import Any

import kopf
import pytest
from kopf._cogs.structs.ids import HandlerId
from kopf._cogs.structs.references import Resource

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.handlers import LISTED, EventHandlers, configure, register
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.workqueue import WorkQueue
from support.builders import JOB_UID, a_job_body, a_pod_body, ended
from support.pool_parts import no_pools

NEWER = 10_000
DELIVERED = {"phase": "Succeeded", "delivery": {"state": "Delivered"}}
UNDELIVERED = {"phase": "Succeeded", "delivery": {"state": "Pending"}}


class Operator:
    """An operator that has listed one job and its pod."""

    def __init__(self, default_ttl: int | None = None, **job: Any) -> None:
        self.job, self.pod = a_job_body(**job), a_pod_body()
        self.cache, self.queue = JobCache(default_ttl), WorkQueue()
        self.handlers = EventHandlers(
            self.cache,
            self.queue,
            Liveness(self.queue, 300),
            Selection(""),
            lambda job: None,
            no_pools().pools,
        )
        self.cache.replace([self.job], [self.pod], 1)

    async def job_enqueued_by(self, kind: str | None, version: int | None = None) -> bool:
        """Whether an event of the job enqueues it."""
        self.handlers.on_job(kind, versioned(self.job, version))
        return await self._taken()

    async def pod_enqueued_by(self, kind: str | None, version: int | None = None) -> bool:
        """Whether an event of the pod enqueues its job."""
        self.handlers.on_pod(kind, versioned(self.pod, version))
        return await self._taken()

    async def _taken(self) -> bool:
        if not len(self.queue):
            return False
        key = await self.queue.get()
        self.queue.done(key)
        assert key == JOB_UID
        return True


def versioned(body: Json, version: int | None) -> Json:
    """The body, with another version if one is given."""
    own = body["metadata"]["resourceVersion"] if version is None else str(version)
    return {**body, "metadata": {**body["metadata"], "resourceVersion": own}}


async def test_a_list_of_known_versions_enqueues_nothing() -> None:
    operator = Operator()

    assert not await operator.job_enqueued_by(LISTED)
    assert not await operator.pod_enqueued_by(LISTED)


@pytest.mark.parametrize("kind", [LISTED, "ADDED", "MODIFIED"])
async def test_a_newer_version_is_kept_and_enqueues_the_job(kind: str | None) -> None:
    operator = Operator()
    operator.pod["status"] = {"phase": "Running"}

    assert await operator.job_enqueued_by(kind, NEWER)
    assert await operator.pod_enqueued_by(kind, NEWER)
    stored = (operator.cache.job(JOB_UID), operator.cache.pod(JOB_UID, 0))
    assert [body and body["metadata"]["resourceVersion"] for body in stored] == [str(NEWER)] * 2


async def test_an_event_of_a_job_enqueues_it_even_if_its_version_is_known() -> None:
    """It may be the operator's own write, and only the event triggers what follows."""
    operator = Operator()

    assert await operator.job_enqueued_by("MODIFIED")


@pytest.mark.parametrize("version", [None, NEWER], ids=["known", "newer"])
async def test_an_event_of_a_pod_that_has_not_changed_for_the_job_enqueues_nothing(
    version: int | None,
) -> None:
    operator = Operator()

    assert not await operator.pod_enqueued_by("MODIFIED", version)


@pytest.mark.parametrize(
    ("job", "due"),
    [
        ({"status": UNDELIVERED}, True),
        ({"status": DELIVERED, "ttlSecondsAfterFinished": 60}, True),
        ({"status": DELIVERED, "default_ttl": 60}, True),
        ({"status": DELIVERED}, False),
        ({"status": {"phase": "Running"}, "default_ttl": 60}, False),
    ],
    ids=["not delivered", "time to live", "default time to live", "nothing left", "running"],
)
async def test_a_list_enqueues_finished_jobs_with_work_left(job: Json, due: bool) -> None:
    assert await Operator(**job).job_enqueued_by(LISTED) is due


@pytest.mark.parametrize(
    ("status", "due"),
    [(DELIVERED, False), (UNDELIVERED, True), ({"phase": "Running"}, True)],
    ids=["settled", "not delivered", "running"],
)
async def test_the_end_of_a_pod_enqueues_its_job_unless_that_is_settled(
    status: Json, due: bool
) -> None:
    operator = Operator(status=status)
    operator.pod = a_pod_body(version=NEWER, phase="Succeeded", agent=ended(), sandbox=ended())

    assert await operator.pod_enqueued_by("MODIFIED") is due


async def test_a_pod_that_comes_after_its_job_is_settled_enqueues_it() -> None:
    operator = Operator(status=DELIVERED)
    operator.cache.replace([operator.job], [], NEWER)
    operator.pod = a_pod_body(uid="another", version=NEWER + 1)

    assert await operator.pod_enqueued_by("ADDED")


async def test_deleted_objects_are_forgotten() -> None:
    operator = Operator()

    assert await operator.pod_enqueued_by("DELETED")
    assert operator.cache.pod(JOB_UID, 0) is None
    assert not await operator.job_enqueued_by("DELETED")
    assert operator.cache.job(JOB_UID) is None


def test_kopf_watches_jobs_and_pools_and_no_pods() -> None:
    registry = kopf.OperatorRegistry()
    register(registry, Operator().handlers)

    def watched(group: str, version: str, plural: str) -> bool:
        found = Resource(group, version, plural, preferred=True, verbs=frozenset({"list"}))
        return registry._watching.has_handlers(found)

    assert watched(names.GROUP, names.VERSION, names.PLURAL)
    assert watched(names.GROUP, names.VERSION, names.POOL_PLURAL)
    assert not watched("", "v1", "pods")


def test_kopf_neither_writes_nor_compares() -> None:
    settings = kopf.OperatorSettings()

    configure(settings, Selection(""))

    assert not settings.posting.enabled
    body = kopf.Body({"metadata": {"name": "a"}, "spec": {"large": "x"}})
    storage = settings.persistence.diffbase_storage
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=kopf.BodyEssence())
    progress, key = settings.persistence.progress_storage, HandlerId("h")
    progress.store(key=key, record={}, body=body, patch=patch)
    progress.purge(key=key, body=body, patch=patch)
    progress.touch(body=body, patch=patch, value="x")
    assert patch == {}
    assert progress.fetch(key=key, body=body) is None
    essence = kopf.BodyEssence()
    assert progress.clear(essence=essence) is essence
