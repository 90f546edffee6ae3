"""Router processes and their watches: restarts of the API server, namespaces, readiness."""

import asyncio
from pathlib import Path

import pytest

from support.routing.kube import JOBS
from support.routing.world import NAMESPACE, FakeSession, World, running_world, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_watch_continues_after_410_gone(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing:
        old, router = await routing.session("old"), await routing.router()
        deleted = await routing.session("deleted")
        await routing.reaches(router, f"{deleted.path}/x", 200, deleted.auth)
        lists = routing.kube.lists
        await routing.kube.stop()
        await routing.kube.start()
        await routing.kube.delete(JOBS, NAMESPACE, deleted.name)  # the watch may or may not see it
        await routing.kube.compact()
        new = await routing.session("new")
        await routing.reaches(router, f"{new.path}/x", 200, new.auth)
        await routing.reaches(router, f"{deleted.path}/x", 401, deleted.auth)
        assert (await routing.get(router, f"{old.path}/x", old.auth))[0] == 200
        assert routing.kube.lists > lists
        assert "listing again" in router.log.read_text()


async def test_known_sessions_are_served_while_the_api_server_is_down(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing:
        session, router = await routing.session("known"), await routing.router()
        await routing.kube.stop()
        log = router.log
        await until(lambda: "failure 2" in log.read_text(), "the router notices it")
        for _ in range(20):
            assert (await routing.get(router, f"{session.path}/x", session.auth))[0] == 200
        assert (await routing.get(router, "/readyz"))[0] == 200
        await routing.kube.start()
        new = await routing.session("new")
        await routing.reaches(router, f"{new.path}/x", 200, new.auth)


async def test_router_is_not_ready_before_both_lists_have_loaded(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing:
        await routing.kube.stop()
        starting = asyncio.create_task(routing.router())
        await until(lambda: routing.routers, "the process runs")
        router = routing.routers[0]
        await routing.reaches(router, "/healthz", 200)
        status, body = await routing.get(router, "/readyz")
        assert (status, len(body["missing"])) == (503, 2)
        assert (await routing.get(router, "/health"))[0] == 503
        await routing.kube.start()
        assert await starting is router


async def test_api_server_without_the_field_selector_works(tmp_path: Path) -> None:
    async with running_world(tmp_path, field_selectors=False) as routing:
        session, router = await routing.session("one"), await routing.router()
        await routing.reaches(router, f"{session.path}/x", 200, session.auth)
        batch = session.job()
        batch["metadata"] = batch["metadata"] | {"name": "batch"}
        batch["spec"]["mode"] = "Batch"
        await routing.kube.put(JOBS, batch)
        new = await routing.session("new")  # after it in the same watch
        await routing.reaches(router, f"{new.path}/x", 200, new.auth)
        other = f"/sessions/{NAMESPACE}/batch/x"
        assert (await routing.get(router, other, session.auth))[0] == 401


async def test_router_knows_only_the_watched_namespaces(routing: World) -> None:
    session = await routing.session("inside")
    outside = FakeSession("outside", session.agent, "outside-uid", namespace="team-b")
    await routing.kube.put(JOBS, outside.job())
    router = await routing.router(NANOGRID_WATCH_NAMESPACES=NAMESPACE)
    assert (await routing.get(router, f"{session.path}/x", session.auth))[0] == 200
    assert (await routing.get(router, f"{outside.path}/x", outside.auth))[0] == 401
    both = await routing.router(NANOGRID_WATCH_NAMESPACES=f"{NAMESPACE},team-b")
    assert (await routing.get(both, f"{outside.path}/x", outside.auth))[0] == 503


async def test_start_with_a_short_key_fails_with_a_message(routing: World) -> None:
    with pytest.raises(AssertionError, match="NANOGRID_SESSION_KEY has 5 bytes"):
        await routing.router(NANOGRID_SESSION_KEY="short")
