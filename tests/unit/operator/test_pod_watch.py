"""The operator's own watch of pods: events of its installation reach the cache and the queue."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from nanogrid.kube.client import Trim
from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.handlers import EventHandlers
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.pod_watch import PodWatch
from nanogrid_operator.watch.selection import Selection
from nanogrid_operator.workqueue import WorkQueue
from support.builders import JOB_UID, a_job_body, a_pod_body, running
from support.operator_fakes import PODS, FakeKube
from support.pool_parts import no_pools
from support.selectors import selected


class Watch(NamedTuple):
    path: str
    version: str
    labels: str


class WatchedKube(FakeKube):
    """Gives the watch what a test puts into ``stream``: events, and errors that end it."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: asyncio.Queue[Json | KubeError] = asyncio.Queue()
        self.opened: asyncio.Queue[Watch] = asyncio.Queue()

    async def watch(
        self,
        path: str,
        version: str,
        seconds: float,
        *,
        labels: str = "",
        fields: str = "",
        trim: Trim | None = None,
        opened: Callable[[], None] | None = None,
    ) -> AsyncIterator[Json]:
        self.opened.put_nowait(Watch(path, version, labels))
        while True:
            event = await self.stream.get()
            if isinstance(event, KubeError):
                raise event
            yield event

    def tell(self, kind: str, body: Json) -> None:
        self.stream.put_nowait({"type": kind, "object": copy.deepcopy(body)})


class Watching:
    """An operator that knows one job, and watches pods."""

    def __init__(self, *namespaces: str, controller_class: str = "") -> None:
        self.kube, self.cache, self.queue = WatchedKube(), JobCache(), WorkQueue()
        self.cache.put_job(a_job_body())
        self.selection = Selection(controller_class)
        liveness = Liveness(self.queue, 300)
        self.watch = PodWatch(
            kube=self.kube,
            selection=self.selection,
            namespaces=list(namespaces),
            handlers=EventHandlers(
                self.cache,
                self.queue,
                liveness,
                self.selection,
                lambda job: None,
                no_pools().pools,
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def opened(self) -> Watch:
        async with asyncio.timeout(60):
            return await self.kube.opened.get()

    async def enqueued(self) -> str:
        async with asyncio.timeout(60):
            key = await self.queue.get()
        self.queue.done(key)
        return key


async def test_events_of_a_pod_reach_its_job() -> None:
    operator = Watching("team-a")
    operator.kube.put(PODS, a_pod_body())
    async with operator.running():
        assert await operator.enqueued() == JOB_UID  # the LIST has shown it
        assert operator.cache.pod(JOB_UID, 0) is not None

        runs = a_pod_body(version=30, phase="Running", agent=running(), sandbox=running())
        operator.kube.tell("MODIFIED", runs)
        assert await operator.enqueued() == JOB_UID

        operator.kube.tell("DELETED", {**runs, "metadata": {**runs["metadata"]}})
        assert await operator.enqueued() == JOB_UID
        assert operator.cache.pod(JOB_UID, 0) is None
        assert operator.cache.gone(JOB_UID, 0) is not None


@pytest.mark.security
@pytest.mark.parametrize("own", ["", "beta"])
async def test_only_pods_of_this_installation_are_watched(own: str) -> None:
    operator = Watching("team-a", controller_class=own)
    async with operator.running():
        labels = (await operator.opened()).labels

    pods = {each: a_pod_body() for each in ("", "beta")}
    pods["beta"]["metadata"]["labels"]["nanogrid.io/controller-class"] = "beta"
    assert [each for each, pod in pods.items() if selected(pod, labels)] == [own]


async def test_each_namespace_has_a_watch_and_none_means_all() -> None:
    async def watched(*namespaces: str) -> list[str]:
        operator = Watching(*namespaces)
        async with operator.running():
            return sorted([(await operator.opened()).path for _ in namespaces or [""]])

    assert await watched() == ["/api/v1/pods"]
    assert await watched("a", "b") == ["/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"]


async def test_after_a_watch_that_is_too_old_a_list_shows_what_is_new() -> None:
    operator = Watching("team-a")
    async with operator.running():
        await operator.opened()
        operator.kube.put(PODS, a_pod_body())
        operator.kube.stream.put_nowait(KubeError(410, "Expired", "too old"))
        assert await operator.enqueued() == JOB_UID
        await operator.opened()

    assert operator.cache.pod(JOB_UID, 0) is not None


async def test_a_watch_that_breaks_goes_on_where_it_was() -> None:
    operator = Watching("team-a")
    async with operator.running():
        await operator.opened()
        operator.kube.tell("ADDED", a_pod_body(version=777))
        assert await operator.enqueued() == JOB_UID
        operator.kube.stream.put_nowait(KubeError(0, "ClientPayloadError", "broken"))
        assert (await operator.opened()).version == "777"


async def test_an_event_that_cannot_be_read_loses_no_other_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator = Watching("team-a")
    odd: Any = a_pod_body(version=30)
    odd["metadata"]["resourceVersion"] = "odd"
    async with operator.running():
        await operator.opened()
        operator.kube.tell("ADDED", odd)
        operator.kube.tell("ADDED", a_pod_body(version=31))
        assert await operator.enqueued() == JOB_UID

    assert "cannot take in an event of pod sales-5351954b-0" in caplog.text
