"""Router processes: which session is open to whom and when, and how the router learns of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from nanogrid import names
from nanogrid_gateway.router.cookie import CookieJar
from nanogrid_gateway.router.objects import Address
from routing.kube import JOBS, PODS
from routing.world import KEY, NAMESPACE, Router, Session, World, until, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
COOKIE = "nanogrid_session"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def around(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("router")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(around: World) -> Router:
    """The router that tests share which need no settings of their own."""
    return await around.router()


async def get(
    around: World, router: Router, path: str, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with around.client.get(router.url + path, headers=headers) as answer:
        return answer.status, json.loads(await answer.text())


async def cookie_of(around: World, router: Router, session: Session, **more: str) -> SimpleCookie:
    """The cookies that a first request with the token gets."""
    headers = session.auth | {k.replace("_", "-"): v for k, v in more.items()}
    async with around.client.get(f"{router.url}{session.path}/health", headers=headers) as answer:
        return answer.cookies


def sent(cookies: SimpleCookie) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={cookies[COOKIE].value}"}


async def test_session_that_is_not_ready_gets_no_request_and_says_how_far_it_is(
    around: World, router: Router
) -> None:
    session = await around.session(
        "early", ready=False, phase="Syncing", reason="Syncing", message="Copying inputs."
    )
    sync = {"files": 3, "totalFiles": 9}
    session.agent.health_status = 503
    session.agent.health_body = {"status": "initializing", "sync": sync}
    await around.reaches(router, f"{session.path}/execute", 503, session.auth)
    async with around.client.get(
        f"{router.url}{session.path}/health", headers=session.auth
    ) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        body = await answer.json()
    assert body["status"] == "initializing"
    assert (body["reason"], body["message"]) == ("Syncing", "Copying inputs.")
    assert body["sync"] == sync
    assert set(session.agent.seen) == {"GET /health"}

    status, error = await get(around, router, f"{session.path}/execute", session.auth)
    assert (status, error["error"]["reason"]) == (503, "Syncing")
    assert set(session.agent.seen) == {"GET /health"}

    session.agent.health_status = 200
    await around.kube.put(JOBS, session.job())
    await around.kube.put(PODS, session.pod())
    await around.reaches(router, f"{session.path}/execute", 200, session.auth)


async def test_health_of_a_starting_session_does_not_wait_for_a_silent_address(
    around: World, router: Router
) -> None:
    session = await around.session("silent", ready=False)
    await session.agent.stop()
    await around.reaches(router, f"{session.path}/execute", 503, session.auth)
    began = time.monotonic()
    status, body = await get(around, router, f"{session.path}/health", session.auth)
    assert (status, body["status"], body["reason"]) == (503, "initializing", "Initializing")
    assert time.monotonic() - began < 3


async def test_health_of_a_starting_session_tells_nothing_of_another_one_at_its_address(
    around: World, router: Router
) -> None:
    session = await around.session("moved", ready=False)
    session.agent.health_body = {"session_id": "id-of-another", "executions": 7}
    await around.reaches(router, f"{session.path}/execute", 503, session.auth)
    _, body = await get(around, router, f"{session.path}/health", session.auth)
    assert session.agent.seen["GET /health"]
    assert body["session_id"] == session.agent.session_id
    assert "executions" not in body
    session.agent.health_body["session_id"] = session.agent.session_id
    _, body = await get(around, router, f"{session.path}/health", session.auth)
    assert body["executions"] == 7


async def test_pod_of_the_right_name_and_labels_but_another_owner_gets_nothing(
    around: World, router: Router
) -> None:
    session = await around.session("forged", ready=False)
    await around.kube.put(PODS, session.pod(owner="another-uid"))
    await around.reaches(router, f"{session.path}/execute", 503, session.auth)
    assert not session.agent.seen
    await around.kube.put(PODS, session.pod())  # the same pod with the right owner does
    await around.reaches(router, f"{session.path}/execute", 200, session.auth)


async def test_ended_session_is_410_and_tells_where_its_result_is(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "over")
    message = "The session had nothing to do."
    ended = session.job(phase="Succeeded", reason="IdleTimeout", message=message)
    await around.kube.put(JOBS, ended)
    await around.reaches(router, f"{session.path}/execute", 410, session.auth)
    for path in ("/execute", "/health"):
        status, body = await get(around, router, session.path + path, session.auth)
        assert (status, body["status"]) == (410, "ended")
        assert body["error"] == {"reason": "IdleTimeout", "message": message}
        below = f"sessions/{session.agent.session_id}/"
        assert body["s3"] == {
            "result": names.result_object(session.agent.session_id),
            "artifacts": f"{below}artifacts/",
            "records": f"{below}debug/",
        }
    status, _ = await get(around, router, f"{session.path}/execute")
    assert status == 401


async def test_session_whose_pod_is_being_deleted_is_ending(around: World, router: Router) -> None:
    session = await around.ready(router, "ending")
    pod = session.pod()
    pod["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    await around.kube.put(PODS, pod)
    await around.reaches(router, f"{session.path}/execute", 503, session.auth)
    status, body = await get(around, router, f"{session.path}/health", session.auth)
    assert (status, body["status"], body["reason"]) == (503, "ending", "Stopping")


async def test_deleted_job_is_unknown_and_a_new_one_of_its_name_is_another_session(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "again")
    cookies = await cookie_of(around, router, session)
    await around.kube.delete(JOBS, NAMESPACE, session.name)
    await around.reaches(router, f"{session.path}/x", 401, session.auth)
    status, body = await get(around, router, "/execute", sent(cookies))
    assert (status, body["error"]["reason"]) == (404, "SessionNotFound")
    new = Session(session.name, session.agent, "another-uid")
    await around.kube.put(JOBS, new.job())
    await around.reaches(router, f"{new.path}/x", 503, new.auth)
    assert (await get(around, router, f"{session.path}/x", session.auth))[0] == 401
    assert (await get(around, router, "/execute", sent(cookies)))[0] == 404


async def test_client_with_cookies_uses_the_plain_paths(around: World, router: Router) -> None:
    session = await around.ready(router, "plain")
    cookies = await cookie_of(around, router, session)
    morsel = cookies[COOKIE]
    assert morsel["httponly"]
    assert (morsel["samesite"], morsel["path"], morsel["secure"]) == ("Lax", "/", "")
    for path in ("/health", "/execute", "/file-sync", "/container-info", "/debug/files?path=a"):
        async with around.client.post(router.url + path, headers=sent(cookies)) as answer:
            if path == "/health":
                continue  # POST /health is not in the API
            assert (answer.status, (await answer.json())["path"]) == (200, path)
            assert COOKIE not in answer.cookies
    status, body = await get(around, router, "/health", sent(cookies))
    assert (status, body["session_id"]) == (200, session.agent.session_id)
    own = f"/container-info?session_id={session.agent.session_id}"
    assert (await get(around, router, own, sent(cookies)))[0] == 200


async def test_cookie_is_secure_when_the_client_came_by_https(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "https")
    cookies = await cookie_of(around, router, session, X_Forwarded_Proto="https")
    assert cookies[COOKIE]["secure"]


async def test_cookie_of_another_session_is_wrong_session(around: World, router: Router) -> None:
    one, two = await around.ready(router, "mine"), await around.ready(router, "theirs")
    cookies = await cookie_of(around, router, one)
    path = f"/container-info?session_id={two.agent.session_id}"
    status, body = await get(around, router, path, sent(cookies))
    assert (status, body["error"]["reason"]) == (409, "WrongSession")
    # On the other session's own path the cookie opens nothing, and beside its token it is ignored.
    assert (await get(around, router, f"{two.path}/x", sent(cookies)))[0] == 401
    assert (await get(around, router, "/execute", sent(cookies) | two.auth))[0] == 401
    status, body = await get(around, router, f"{two.path}/x", sent(cookies) | two.auth)
    assert (status, body["session_id"]) == (200, two.agent.session_id)


async def test_forged_expired_and_missing_cookies_open_nothing(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "forge")
    address, now = Address(*session.path.split("/")[2:]), time.time()
    right = CookieJar(KEY.encode(), 60)
    values = {
        "expired": right.make(address, session.uid, now - 120),
        "other key": CookieJar(b"another key of somebody", 60).make(address, session.uid, now),
        "changed": right.make(address, session.uid, now).replace(".", "x."),
        "unsigned": right.make(address, session.uid, now).partition(".")[0],
        "empty": "",
    }
    before = session.agent.seen.total()
    for what, value in values.items():
        for path in ("/execute", "/health", f"{session.path}/execute"):
            headers = {"Cookie": f"{COOKIE}={value}"}
            assert (await get(around, router, path, headers))[0] == 401, (what, path)
    assert (await get(around, router, "/execute"))[0] == 401
    assert session.agent.seen.total() == before
    good = {"Cookie": f"{COOKIE}={right.make(address, session.uid, now)}"}
    assert (await get(around, router, "/execute", good))[0] == 200


async def test_health_without_cookie_is_the_routers_own(around: World, router: Router) -> None:
    assert await get(around, router, "/health") == (200, {"status": "healthy"})


async def test_header_mode_trusts_the_header_and_nothing_else(around: World) -> None:
    router = await around.router(
        NANOGRID_AUTH_MODE="header",
        NANOGRID_AUTH_HEADER="X-User",
        NANOGRID_AUTH_HEADER_VALUES="ann, bob",
    )
    session = await around.session("header")
    ann = {"X-User": "ann"}
    await around.reaches(router, f"{session.path}/x", 200, ann)
    before = session.agent.seen.total()
    for headers, status in [({}, 401), ({"X-User": "eve"}, 403), (session.auth, 401)]:
        got = await get(around, router, f"{session.path}/x", headers)
        assert (got[0], got[1]["error"]["reason"]) == (status, "Unauthorized")
    assert session.agent.seen.total() == before
    missing = await get(around, router, f"/sessions/{NAMESPACE}/nobody/x", ann)
    assert (missing[0], missing[1]["error"]["reason"]) == (404, "SessionNotFound")
    async with around.client.get(f"{router.url}{session.path}/x", headers=ann) as answer:
        assert (await answer.json())["headers"]["Authorization"] == f"Bearer {session.token}"
        cookies = answer.cookies
    assert (await get(around, router, "/execute", sent(cookies)))[0] == 401
    assert (await get(around, router, "/execute", sent(cookies) | ann))[0] == 200


async def test_open_session_is_open_only_if_the_installation_allows_it(
    around: World, router: Router
) -> None:
    session = await around.session("open")
    job = session.job()
    job["spec"]["session"] = {"auth": "Unprotected"}
    await around.kube.put(JOBS, job)
    allowing = await around.router(NANOGRID_ALLOW_OPEN_SESSIONS="true")
    await around.reaches(allowing, f"{session.path}/x", 200)
    assert (await get(around, router, f"{session.path}/x"))[0] == 401
    closed = await around.ready(allowing, "closed")
    assert (await get(around, allowing, f"{closed.path}/x"))[0] == 401


async def test_watch_goes_on_after_410_gone(tmp_path: Path) -> None:
    async with world(tmp_path) as around:
        old, router = await around.session("old"), await around.router()
        gone = await around.session("gone")
        await around.reaches(router, f"{gone.path}/x", 200, gone.auth)
        lists = around.kube.lists
        await around.kube.away()
        await around.kube.back()
        await around.kube.delete(JOBS, NAMESPACE, gone.name)  # the watch may or may not see it
        await around.kube.forget()
        new = await around.session("new")
        await around.reaches(router, f"{new.path}/x", 200, new.auth)
        await around.reaches(router, f"{gone.path}/x", 401, gone.auth)
        assert (await get(around, router, f"{old.path}/x", old.auth))[0] == 200
        assert around.kube.lists > lists
        assert "listing anew" in router.log.read_text()


async def test_known_sessions_are_served_while_the_api_server_is_away(tmp_path: Path) -> None:
    async with world(tmp_path) as around:
        session, router = await around.session("known"), await around.router()
        await around.kube.away()
        log = router.log
        await until(lambda: "failure 2" in log.read_text(), "the router has noticed")
        for _ in range(20):
            assert (await get(around, router, f"{session.path}/x", session.auth))[0] == 200
        assert (await get(around, router, "/readyz"))[0] == 200
        await around.kube.back()
        new = await around.session("new")
        await around.reaches(router, f"{new.path}/x", 200, new.auth)


async def test_router_is_not_ready_before_both_watches_have_listed(tmp_path: Path) -> None:
    async with world(tmp_path) as around:
        await around.kube.away()
        starting = asyncio.create_task(around.router())
        await until(lambda: around.routers, "the process runs")
        router = around.routers[0]
        await around.reaches(router, "/healthz", 200)
        status, body = await get(around, router, "/readyz")
        assert (status, len(body["missing"])) == (503, 2)
        assert (await get(around, router, "/health"))[0] == 503
        await around.kube.back()
        assert await starting is router


async def test_api_server_without_that_field_selector_serves_too(tmp_path: Path) -> None:
    async with world(tmp_path, field_selectors=False) as around:
        session, router = await around.session("one"), await around.router()
        await around.reaches(router, f"{session.path}/x", 200, session.auth)
        batch = session.job()
        batch["metadata"] = batch["metadata"] | {"name": "batch"}
        batch["spec"]["mode"] = "Batch"
        await around.kube.put(JOBS, batch)
        new = await around.session("new")  # behind it in the same watch
        await around.reaches(router, f"{new.path}/x", 200, new.auth)
        other = f"/sessions/{NAMESPACE}/batch/x"
        assert (await get(around, router, other, session.auth))[0] == 401


async def test_watched_namespaces_are_all_that_a_router_knows(around: World) -> None:
    session = await around.session("inside")
    outside = Session("outside", session.agent, "outside-uid", namespace="team-b")
    await around.kube.put(JOBS, outside.job())
    router = await around.router(NANOGRID_WATCH_NAMESPACES=NAMESPACE)
    assert (await get(around, router, f"{session.path}/x", session.auth))[0] == 200
    assert (await get(around, router, f"{outside.path}/x", outside.auth))[0] == 401
    both = await around.router(NANOGRID_WATCH_NAMESPACES=f"{NAMESPACE},team-b")
    assert (await get(around, both, f"{outside.path}/x", outside.auth))[0] == 503


async def test_start_without_a_key_fails_and_says_so(around: World) -> None:
    with pytest.raises(AssertionError, match="NANOGRID_SESSION_KEY has 5 bytes"):
        await around.router(NANOGRID_SESSION_KEY="short")
