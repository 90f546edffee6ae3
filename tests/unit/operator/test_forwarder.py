"""A standby takes a valid report to the leader, which checks it again."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nanogrid import names, wire
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.server import forwarder
from support.builders import JOB_UID, POD_UID, a_report, a_result
from support.operator_fakes import reviewed
from support.results_endpoint import BEARER, Endpoint
from support.s3_server import free_port

pytestmark = pytest.mark.security

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RETRY = (503, {"error": "no leader takes reports now"})


def address_of(port: int | None) -> LeaderAddress:
    assert port is not None
    return LeaderAddress("127.0.0.1", port)


@pytest.fixture
async def leader() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    async with endpoint.http:
        yield endpoint


@pytest.fixture
async def standby(leader: Endpoint) -> AsyncIterator[Endpoint]:
    """An operator that knows the leader."""
    endpoint = Endpoint()
    endpoint.queue.paused = True
    async with endpoint.http:
        endpoint.leader = address_of(leader.http.port)
        yield endpoint


@asynccontextmanager
async def led_by(standby: Endpoint, handler: Handler) -> AsyncIterator[list[web.BaseRequest]]:
    """A leader that answers like this; yields the requests that it gets."""
    requests: list[web.BaseRequest] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        standby.leader = address_of(server.port)
        yield requests


async def taken(_: web.Request) -> web.Response:
    return web.json_response({"noted": True}, status=202)


async def test_a_report_to_the_standby_is_noted_by_the_leader(
    standby: Endpoint, leader: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    report = a_report(a_result(stdout="합계 157,685,452원\n"))

    answer = await standby.post(wire.dumps(report).encode())

    assert answer == (202, {"noted": True})
    noted = leader.cache.report(JOB_UID, 0)
    assert noted is not None
    assert noted[0] == report
    assert await leader.queue.get() == JOB_UID
    assert (standby.noted, len(standby.queue)) == (False, 0)
    assert (standby.counted, leader.counted) == (["forwarded"], ["accepted"])
    assert f"the leader at {standby.leader} has answered a report with 202" in caplog.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            names.SESSIONS_PATH,
            wire.SessionReport(
                uid=JOB_UID,
                attempt=0,
                ready=True,
                executions=0,
                running=None,
                last_activity_millis=0,
            ),
        ),
        (
            names.MEMORY_PATH,
            wire.MemoryReport(uid=JOB_UID, attempt=0, memory_bytes=1 << 20, peak_memory_bytes=1),
        ),
    ],
)
async def test_all_kinds_of_reports_reach_the_path_of_the_leader(
    standby: Endpoint, path: str, body: wire.SessionReport | wire.MemoryReport
) -> None:
    async with led_by(standby, taken) as requests:
        assert (await standby.post(wire.dumps(body), path=path))[0] == 202
        assert [(each.method, each.path) for each in requests] == [("POST", path)]


async def test_the_leader_decides_and_its_answer_is_the_agents(
    standby: Endpoint, leader: Endpoint
) -> None:
    """The standby reviews the token of a pod that is not the job's."""
    leader.kube.review = standby.kube.review = reviewed("uid-of-another-pod")

    refused = await standby.post()

    assert refused == (403, {"error": "that job does not own this pod"})
    assert (len(standby.kube.reviews), len(leader.kube.reviews)) == (1, 1)


async def test_the_pause_that_the_leader_names_is_the_agents(standby: Endpoint) -> None:
    async def limited(_: web.Request) -> web.Response:
        return web.json_response({"error": "later"}, status=429, headers={"Retry-After": "7"})

    async with led_by(standby, limited):
        body = wire.dumps(a_report())
        answer = await standby.http.post(names.RESULTS_PATH, data=body, headers=BEARER)

    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (None, {}, 401),
        (None, {"Authorization": "Bearer \u00e9"}, 401),
        (b"{", BEARER, 400),
        (b"x" * (wire.REPORT_CAP_BYTES + 1), BEARER, 413),
    ],
    ids=["no token", "not ASCII", "malformed", "too long"],
)
async def test_what_the_standby_can_refuse_never_reaches_the_leader(
    standby: Endpoint, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    async with led_by(standby, taken) as requests:
        given = io.BytesIO(wire.dumps(a_report()).encode() if body is None else body)
        answer = await standby.http.post(names.RESULTS_PATH, data=given, headers=headers)
        assert answer.status == status
        assert requests == []
        assert (await standby.post())[0] == 202, "a valid report does"


async def test_a_token_that_is_not_valid_never_reaches_the_leader(standby: Endpoint) -> None:
    async with led_by(standby, taken) as requests:
        valid, standby.kube.review = standby.kube.review, {"authenticated": False}
        assert (await standby.post(headers={"Authorization": "Bearer wrong"}))[0] == 401
        assert requests == []
        standby.kube.review = valid
        assert (await standby.post())[0] == 202


async def test_the_leader_gets_the_token_and_the_body_and_no_other_header(
    standby: Endpoint,
) -> None:
    async with led_by(standby, taken) as requests:
        await standby.post(headers=BEARER | {"Cookie": "a=b", "X-Forwarded-For": "10.0.0.9"})

    headers = requests[0].headers
    assert headers["Authorization"] == BEARER["Authorization"]
    assert {"Cookie", "X-Forwarded-For"}.isdisjoint(headers)


async def test_a_report_is_forwarded_once(standby: Endpoint) -> None:
    """Two processes that both stand by, and name each other as the leader."""
    other = Endpoint()
    other.queue.paused = True
    async with other.http:
        standby.leader = address_of(other.http.port)
        other.leader = address_of(standby.http.port)

        assert await standby.post() == RETRY

    assert (len(standby.kube.reviews), len(other.kube.reviews)) == (1, 1)


async def test_without_a_leader_the_agent_tries_again(
    standby: Endpoint, leader: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    known, standby.leader = standby.leader, None
    assert await standby.post() == RETRY
    assert "a report was not taken" in caplog.text
    assert not leader.noted

    standby.leader = known
    assert (await standby.post())[0] == 202


async def test_a_leader_that_has_ended_is_asked_again_after_a_pause(
    standby: Endpoint, leader: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    alive, standby.leader = standby.leader, address_of(free_port())
    assert await standby.post() == RETRY
    assert await standby.post() == RETRY
    assert caplog.text.count("takes no report") == 1, "the second report caused no connection"

    async with led_by(standby, taken) as requests:
        assert (await standby.post())[0] == 202, "another leader is asked at once"
        standby.leader = None
        assert len(requests) == 1
    standby.leader = alive
    assert (await standby.post())[0] == 202


async def test_after_the_pause_the_same_leader_is_asked_again(standby: Endpoint) -> None:
    async def ends(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    answers: list[Handler] = [ends, taken]

    async def next_one(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with led_by(standby, next_one) as requests:
        assert await standby.post() == RETRY
        standby.seconds += forwarder.PAUSE_SECONDS - 1
        assert await standby.post() == RETRY
        standby.seconds += 1
        assert (await standby.post())[0] == 202
        assert len(requests) == 2


@pytest.mark.parametrize(("more", "status"), [(0, 202), (1, 503)])
async def test_an_answer_has_a_bound(standby: Endpoint, more: int, status: int) -> None:
    async def answers(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * (forwarder.MOST_ANSWER_BYTES + more), status=202)

    async with led_by(standby, answers):
        body = wire.dumps(a_report())
        answer = await standby.http.post(names.RESULTS_PATH, data=body, headers=BEARER)

    assert answer.status == status


async def test_a_leader_that_hangs_is_left_before_the_agent_gives_up(
    standby: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "ANSWER_SECONDS", 0.2)
    go = asyncio.Event()

    async def hangs(request: web.Request) -> web.Response:
        await go.wait()
        return await taken(request)

    async with led_by(standby, hangs) as requests:
        assert await standby.post() == RETRY
        assert len(requests) == 1
        go.set()


async def test_the_standby_has_few_requests_at_the_leader_at_the_same_time(
    standby: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER_SECONDS", "SLOT_SECONDS", "MOST_OF_SENDER"):
        monkeypatch.setattr(forwarder, name, 100)
    go, now, most = asyncio.Event(), 0, 0

    async def waits(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == forwarder.MOST:
            go.set()
        await go.wait()
        now -= 1
        return await taken(request)

    async with led_by(standby, waits):
        reports = (standby.post() for _ in range(2 * forwarder.MOST))
        answers = await asyncio.gather(*reports)

    assert {status for status, _ in answers} == {202}
    assert most == forwarder.MOST


async def test_one_sender_does_not_take_the_slots_of_the_others(
    standby: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "ANSWER_SECONDS", 60.0)
    go = asyncio.Event()

    async def waits(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == BEARER["Authorization"]:
            await go.wait()
        return await taken(request)

    async with led_by(standby, waits) as requests:
        waiting = [asyncio.create_task(standby.post()) for _ in range(2 * forwarder.MOST)]
        refused, pending = set(waiting), set(waiting)
        while len(pending) > forwarder.MOST_OF_SENDER:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        refused -= pending
        assert {each.result()[0] for each in refused} == {429}

        standby.kube.review = reviewed("uid-of-another-pod")
        assert (await standby.post(headers={"Authorization": "Bearer other"}))[0] == 202
        go.set()
        assert {status for status, _ in await asyncio.gather(*pending)} == {202}
        standby.kube.review = reviewed(POD_UID)
        assert (await standby.post())[0] == 202, "its requests have ended"
        assert len(requests) == forwarder.MOST_OF_SENDER + 2


async def test_a_report_without_a_slot_says_nothing_about_the_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarder, "MOST", 1)
    monkeypatch.setattr(forwarder, "SLOT_SECONDS", 0.05)
    monkeypatch.setattr(forwarder, "ANSWER_SECONDS", 60.0)
    came, go = asyncio.Event(), asyncio.Event()

    async def waits(request: web.Request) -> web.Response:
        came.set()
        await go.wait()
        return await taken(request)

    standby = Endpoint()
    standby.queue.paused = True
    async with standby.http, led_by(standby, waits):
        first = asyncio.create_task(standby.post())
        await came.wait()
        assert await standby.post() == RETRY
        go.set()
        assert (await first)[0] == 202
        assert (await standby.post())[0] == 202


async def test_after_the_take_over_reports_stay_here(standby: Endpoint) -> None:
    async with led_by(standby, taken) as requests:
        standby.queue.resume()
        assert (await standby.post())[0] == 202
        assert requests == []
    assert standby.noted
