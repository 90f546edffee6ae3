"""Events are noted and their jobs enqueued; what a LIST shows again is not worked on twice."""

from typing import Any

import kopf
import pytest

from nanogrid_operator.handlers import LISTED, configure, note_job, note_pod
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.store import Store
from nanogrid_operator.workqueue import WorkQueue
from unit.builders import JOB_UID, Json, a_job_body, a_pod_body

NEWER = 10_000
DELIVERED = {"phase": "Succeeded", "delivery": {"state": "Delivered"}}
UNDELIVERED = {"phase": "Succeeded", "delivery": {"state": "Pending"}}


class Desk:
    """An operator that has listed one job and its pod."""

    def __init__(self, **job: Any) -> None:
        self.job, self.pod = a_job_body(**job), a_pod_body()
        self.store, self.queue = Store(), WorkQueue()
        self.liveness = Liveness(self.queue, 300)
        self.store.replace([self.job], [self.pod], 1)

    async def job_comes(self, kind: str | None, version: int | None = None) -> bool:
        """Whether an event of the job enqueues it."""
        note_job(kind, versioned(self.job, version), self.store, self.queue, self.liveness)
        return await self._taken()

    async def pod_comes(self, kind: str | None, version: int | None = None) -> bool:
        """Whether an event of the pod enqueues its job."""
        note_pod(kind, versioned(self.pod, version), self.store, self.queue, self.liveness)
        return await self._taken()

    async def _taken(self) -> bool:
        if not len(self.queue):
            return False
        key = await self.queue.get()
        self.queue.done(key)
        assert key == JOB_UID
        return True


def versioned(body: Json, version: int | None) -> Json:
    """The body, of another version if one is given."""
    own = body["metadata"]["resourceVersion"] if version is None else str(version)
    return {**body, "metadata": {**body["metadata"], "resourceVersion": own}}


async def test_a_list_that_shows_what_is_known_enqueues_nothing() -> None:
    desk = Desk()

    assert not await desk.job_comes(LISTED)
    assert not await desk.pod_comes(LISTED)


@pytest.mark.parametrize("kind", [LISTED, "ADDED", "MODIFIED"])
async def test_news_enqueues_the_job_and_is_kept(kind: str | None) -> None:
    desk = Desk()

    assert await desk.job_comes(kind, NEWER)
    assert await desk.pod_comes(kind, NEWER)
    stored = (desk.store.job(JOB_UID), desk.store.pod(JOB_UID, 0))
    assert [body and body["metadata"]["resourceVersion"] for body in stored] == [str(NEWER)] * 2


async def test_a_watch_event_enqueues_the_job_though_its_version_is_known() -> None:
    """It may be our own write, and what follows it may hang on the event."""
    desk = Desk()

    assert await desk.job_comes("MODIFIED")
    assert await desk.pod_comes("MODIFIED")


@pytest.mark.parametrize(
    ("job", "due"),
    [
        ({"status": UNDELIVERED}, True),
        ({"status": DELIVERED, "ttlSecondsAfterFinished": 60}, True),
        ({"status": DELIVERED}, False),
        ({"status": {"phase": "Running"}}, False),
    ],
    ids=["not delivered", "time to live", "done with", "goes on"],
)
async def test_a_list_enqueues_what_has_ended_and_is_not_done_with(job: Json, due: bool) -> None:
    assert await Desk(**job).job_comes(LISTED) is due


async def test_what_is_deleted_is_forgotten() -> None:
    desk = Desk()

    assert await desk.pod_comes("DELETED")
    assert desk.store.pod(JOB_UID, 0) is None
    assert not await desk.job_comes("DELETED")
    assert desk.store.job(JOB_UID) is None


def test_kopf_writes_nothing_and_compares_nothing() -> None:
    settings = kopf.OperatorSettings()

    configure(settings)

    assert not settings.posting.enabled
    body = kopf.Body({"metadata": {"name": "a"}, "spec": {"large": "x"}})
    storage = settings.persistence.diffbase_storage
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=kopf.BodyEssence())
    assert patch == {}
