"""Router processes: access to sessions, their states, and how the router watches them."""

import socket
import time
from http.cookies import SimpleCookie
from typing import Any

import pytest

from nanogrid import names
from nanogrid_gateway.router.cookie import CookieSigner
from nanogrid_gateway.router.sessions import Address
from support.routing.kube import JOBS, PODS
from support.routing.world import KEY, NAMESPACE, FakeSession, Router, World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.security]
COOKIE = "nanogrid_session"


async def cookie_of(
    routing: World, router: Router, session: FakeSession, **more: str
) -> SimpleCookie:
    """The cookies of the first response to the session's token."""
    headers = session.auth | {k.replace("_", "-"): v for k, v in more.items()}
    async with routing.client.get(f"{router.url}{session.path}/health", headers=headers) as answer:
        return answer.cookies


async def field_of_health(routing: World, router: Router, session: FakeSession, name: str) -> Any:
    """A field that the agent adds to the health of a session; a slow agent is left out."""
    found: dict[str, Any] = {}

    async def has_it() -> bool:
        found.update((await routing.get(router, f"{session.path}/health", session.auth))[1])
        return name in found

    await until(has_it, f"health has {name}")
    return found[name]


def sent(cookies: SimpleCookie) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={cookies[COOKIE].value}"}


async def test_session_that_is_not_ready_gets_no_request_and_reports_its_progress(
    routing: World, router: Router
) -> None:
    session = await routing.session(
        "early", ready=False, phase="Syncing", reason="Syncing", message="Copying inputs."
    )
    sync = {"files": 3, "totalFiles": 9}
    session.agent.health_status = 503
    session.agent.health_body = {"status": "initializing", "sync": sync}
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    async with routing.client.get(
        f"{router.url}{session.path}/health", headers=session.auth
    ) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        body = await answer.json()
    assert body["status"] == "initializing"
    assert (body["reason"], body["message"]) == ("Syncing", "Copying inputs.")
    assert await field_of_health(routing, router, session, "sync") == sync
    assert set(session.agent.seen) == {"GET /health"}

    status, error = await routing.get(router, f"{session.path}/execute", session.auth)
    assert (status, error["error"]["reason"]) == (503, "Syncing")
    assert set(session.agent.seen) == {"GET /health"}

    session.agent.health_status = 200
    await routing.kube.put(JOBS, session.job())
    await routing.kube.put(PODS, session.pod())
    await routing.reaches(router, f"{session.path}/execute", 200, session.auth)


async def test_health_of_a_starting_session_does_not_wait_for_a_silent_address(
    routing: World, router: Router
) -> None:
    session = await routing.session("silent", ready=False)
    await session.agent.stop()
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    with socket.create_server((session.agent.ip, names.SESSION_PORT)):  # accepts nothing
        status, body = await routing.get(router, f"{session.path}/health", session.auth)
    assert (status, body["status"], body["reason"]) == (503, "initializing", "Initializing")


async def test_health_of_a_starting_session_does_not_include_another_session(
    routing: World, router: Router
) -> None:
    session = await routing.session("moved", ready=False)
    session.agent.health_body = {"session_id": "id-of-another", "executions": 7}
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    _, body = await routing.get(router, f"{session.path}/health", session.auth)
    assert session.agent.seen["GET /health"]
    assert body["session_id"] == session.agent.session_id
    assert "executions" not in body
    session.agent.health_body["session_id"] = session.agent.session_id
    assert await field_of_health(routing, router, session, "executions") == 7


@pytest.mark.parametrize("text", ["[" * 60_000, "{", "[1]", '{"error": 1}'])
async def test_health_of_a_hostile_image_is_left_out(
    routing: World, router: Router, text: str
) -> None:
    session = await routing.session("hostile", ready=False)
    session.agent.health_text = text
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    status, body = await routing.get(router, f"{session.path}/health", session.auth)
    assert session.agent.seen["GET /health"]
    assert (status, body["status"], body["reason"]) == (503, "initializing", "Initializing")


async def test_pod_with_another_owner_gets_no_request(routing: World, router: Router) -> None:
    session = await routing.session("forged", ready=False)
    await routing.kube.put(PODS, session.pod(owner="another-uid"))
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    assert not session.agent.seen
    await routing.kube.put(PODS, session.pod())  # the same pod with the right owner
    await routing.reaches(router, f"{session.path}/execute", 200, session.auth)


async def test_ended_session_is_410_with_the_place_of_its_result(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "over")
    message = "The session was idle."
    ended = session.job(phase="Succeeded", reason="IdleTimeout", message=message)
    await routing.kube.put(JOBS, ended)
    await routing.reaches(router, f"{session.path}/execute", 410, session.auth)
    for path in ("/execute", "/health"):
        status, body = await routing.get(router, session.path + path, session.auth)
        assert (status, body["status"]) == (410, "ended")
        assert body["error"] == {"reason": "IdleTimeout", "message": message}
        root = f"{session.namespace}/"
        prefix = f"{root}sessions/{session.agent.session_id}/"
        assert body["s3"] == {
            "result": root + names.result_object(session.agent.session_id),
            "artifacts": f"{prefix}artifacts/",
            "records": f"{prefix}debug/",
        }
    status, _ = await routing.get(router, f"{session.path}/execute")
    assert status == 401


async def test_session_whose_pod_is_being_deleted_is_ending(routing: World, router: Router) -> None:
    session = await routing.ready(router, "ending")
    pod = session.pod()
    pod["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    await routing.kube.put(PODS, pod)
    await routing.reaches(router, f"{session.path}/execute", 503, session.auth)
    status, body = await routing.get(router, f"{session.path}/health", session.auth)
    assert (status, body["status"], body["reason"]) == (503, "ending", "Stopping")


async def test_deleted_job_is_unknown_and_a_new_job_of_the_name_is_another_session(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "again")
    cookies = await cookie_of(routing, router, session)
    await routing.kube.delete(JOBS, NAMESPACE, session.name)
    await routing.reaches(router, f"{session.path}/x", 401, session.auth)
    status, body = await routing.get(router, "/execute", sent(cookies))
    assert (status, body["error"]["reason"]) == (404, "SessionNotFound")
    new = FakeSession(session.name, session.agent, "another-uid")
    await routing.kube.put(JOBS, new.job())
    await routing.reaches(router, f"{new.path}/x", 503, new.auth)
    assert (await routing.get(router, f"{session.path}/x", session.auth))[0] == 401
    assert (await routing.get(router, "/execute", sent(cookies)))[0] == 404


async def test_client_with_cookies_uses_the_plain_paths(routing: World, router: Router) -> None:
    session = await routing.ready(router, "plain")
    cookies = await cookie_of(routing, router, session)
    morsel = cookies[COOKIE]
    assert morsel["httponly"]
    assert (morsel["samesite"], morsel["path"], morsel["secure"]) == ("Lax", "/", "")
    for path in ("/health", "/execute", "/file-sync", "/container-info", "/debug/files?path=a"):
        async with routing.client.post(router.url + path, headers=sent(cookies)) as answer:
            if path == "/health":
                continue  # POST /health is not in the API
            assert (answer.status, (await answer.json())["path"]) == (200, path)
            assert COOKIE not in answer.cookies
    status, body = await routing.get(router, "/health", sent(cookies))
    assert (status, body["session_id"]) == (200, session.agent.session_id)
    own = f"/container-info?session_id={session.agent.session_id}"
    assert (await routing.get(router, own, sent(cookies)))[0] == 200


async def test_cookie_is_secure_if_the_client_used_https(routing: World, router: Router) -> None:
    session = await routing.ready(router, "https")
    cookies = await cookie_of(routing, router, session, X_Forwarded_Proto="https")
    assert cookies[COOKIE]["secure"]


async def test_cookie_of_another_session_is_wrong_session(routing: World, router: Router) -> None:
    one, two = await routing.ready(router, "mine"), await routing.ready(router, "theirs")
    cookies = await cookie_of(routing, router, one)
    path = f"/container-info?session_id={two.agent.session_id}"
    status, body = await routing.get(router, path, sent(cookies))
    assert (status, body["error"]["reason"]) == (409, "WrongSession")
    # On the other session's path the cookie gives no access, and with its token it is ignored.
    assert (await routing.get(router, f"{two.path}/x", sent(cookies)))[0] == 401
    assert (await routing.get(router, "/execute", sent(cookies) | two.auth))[0] == 401
    status, body = await routing.get(router, f"{two.path}/x", sent(cookies) | two.auth)
    assert (status, body["session_id"]) == (200, two.agent.session_id)


async def test_forged_expired_and_missing_cookies_give_no_access(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "forge")
    address, now = Address(*session.path.split("/")[2:]), time.time()
    signer = CookieSigner(KEY.encode(), 60)
    values = {
        "expired": signer.sign(address, session.uid, now - 120),
        "other key": CookieSigner(b"the key of another router", 60).sign(address, session.uid, now),
        "changed": signer.sign(address, session.uid, now).replace(".", "x."),
        "unsigned": signer.sign(address, session.uid, now).partition(".")[0],
        "empty": "",
    }
    before = session.agent.seen.total()
    for case, value in values.items():
        for path in ("/execute", "/health", f"{session.path}/execute"):
            headers = {"Cookie": f"{COOKIE}={value}"}
            assert (await routing.get(router, path, headers))[0] == 401, (case, path)
    assert (await routing.get(router, "/execute"))[0] == 401
    assert session.agent.seen.total() == before
    valid = {"Cookie": f"{COOKIE}={signer.sign(address, session.uid, now)}"}
    assert (await routing.get(router, "/execute", valid))[0] == 200


async def test_health_without_a_cookie_is_the_routers_health(
    routing: World, router: Router
) -> None:
    assert await routing.get(router, "/health") == (200, {"status": "healthy"})


async def test_header_mode_trusts_only_the_header(routing: World) -> None:
    router = await routing.router(
        NANOGRID_AUTH_MODE="header",
        NANOGRID_AUTH_HEADER="X-User",
        NANOGRID_AUTH_HEADER_VALUES="caller-a, caller-b",
    )
    session = await routing.session("header")
    user = {"X-User": "caller-a"}
    await routing.reaches(router, f"{session.path}/x", 200, user)
    before = session.agent.seen.total()
    for headers, status in [({}, 401), ({"X-User": "caller-c"}, 403), (session.auth, 401)]:
        got = await routing.get(router, f"{session.path}/x", headers)
        assert (got[0], got[1]["error"]["reason"]) == (status, "Unauthorized")
    assert session.agent.seen.total() == before
    missing = await routing.get(router, f"/sessions/{NAMESPACE}/unknown/x", user)
    assert (missing[0], missing[1]["error"]["reason"]) == (404, "SessionNotFound")
    async with routing.client.get(f"{router.url}{session.path}/x", headers=user) as answer:
        assert (await answer.json())["headers"]["Authorization"] == f"Bearer {session.token}"
        cookies = answer.cookies
    assert (await routing.get(router, "/execute", sent(cookies)))[0] == 401
    assert (await routing.get(router, "/execute", sent(cookies) | user))[0] == 200


async def test_unprotected_session_needs_the_installations_permission(
    routing: World, router: Router
) -> None:
    session = await routing.session("open")
    job = session.job()
    job["spec"]["session"] = {"auth": "Unprotected"}
    await routing.kube.put(JOBS, job)
    allowing = await routing.router(NANOGRID_ALLOW_OPEN_SESSIONS="true")
    await routing.reaches(allowing, f"{session.path}/x", 200)
    assert (await routing.get(router, f"{session.path}/x"))[0] == 401
    closed = await routing.ready(allowing, "closed")
    assert (await routing.get(allowing, f"{closed.path}/x"))[0] == 401
