"""The watch behind the web page: when it runs, and what it keeps of a job."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.transport import Transport
from nanogrid_gateway.web.run_index import RunIndex
from nanogrid_gateway.web.watch import RunWatcher
from support import gateway_cluster
from support.gateway_cluster import Cluster, serving
from support.web_visitor import JOBS
from support.web_world import a_job, add, fill

pytestmark = pytest.mark.integration


TRIES = 3000


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(TRIES):
        if await check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within 60 s")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def a_watcher(kubeconfig: Path, index: RunIndex, **options: Any) -> AsyncIterator[RunWatcher]:
    api = _connect(_host(kubeconfig))
    stopping = asyncio.Event()
    path = f"/apis/{names.GROUP}/{names.VERSION}/namespaces/functions/{JOBS}"
    watcher = RunWatcher(api, path, index, stopping.is_set, **options)
    try:
        yield watcher
    finally:
        stopping.set()
        await eventually(ended(watcher))
        await api.close()


def ended(watcher: RunWatcher) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return watcher._running is None

    return check


def _host(kubeconfig: Path) -> str:
    found: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return found


def _connect(host: str) -> KubeApi:
    settings = client.Configuration(host=host)
    settings.retries = None
    return KubeApi(
        Transport(api=client.ApiClient(settings), timeout_seconds=60, user_agent="nanogrid-test")
    )


def has_rows(watcher: RunWatcher, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        index = await watcher.index()
        return index is not None and len(index.runs().rows) == count

    return check


def has_error(watcher: RunWatcher, text: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return text in watcher.last_error if text else watcher.last_error == ""

    return check


async def test_the_watch_ends_without_requests_and_restarts_with_the_next(tmp_path: Path) -> None:
    cluster, index, clock = Cluster(), RunIndex(), Clock()
    fill(cluster, 450)  # more than two pages
    with serving(cluster, tmp_path) as kubeconfig:
        async with a_watcher(kubeconfig, index, idle=60, clock=clock) as watcher:
            assert cluster.requests == []
            await eventually(has_rows(watcher, 450))
            clock.now = 61.0
            await eventually(ended(watcher))
            assert not index.runs().rows
            listings = len(cluster.requests)

            await eventually(has_rows(watcher, 450))
            assert len(cluster.requests) > listings


async def test_without_the_api_server_the_rows_stay_and_the_error_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    fill(cluster, 10)
    with serving(cluster, tmp_path) as kubeconfig:
        async with a_watcher(kubeconfig, RunIndex(), watch=1.0) as watcher:
            await eventually(has_rows(watcher, 10))
            assert watcher.last_error == ""
            with monkeypatch.context() as patched:
                patched.setattr(gateway_cluster._Handler, "_watch", _refuse)
                await eventually(has_error(watcher, "being restarted"))
                assert await has_rows(watcher, 10)()
            await eventually(has_error(watcher, ""))


def _refuse(handler: Any, plural: str, query: Any) -> None:
    handler._answer(503, {"kind": "Status", "code": 503, "message": "being restarted"})


async def test_a_large_job_needs_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    cluster, index = Cluster(), RunIndex()
    large = a_job("large", phase="Failed", reason="NonZeroExit")
    large["spec"]["stdin"] = "x" * 60_000
    large["status"]["result"] = {"stdout": "y" * 12_000, "durationMillis": 5}
    add(cluster, large)
    with serving(cluster, tmp_path) as kubeconfig:
        async with a_watcher(kubeconfig, index) as watcher:
            await eventually(has_rows(watcher, 1))
            (row,) = index.runs().rows

    assert (row.request_id, row.duration) == ("large", 5)
    assert len(str(row)) < 600
