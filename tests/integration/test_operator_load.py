"""The results port among clients without a valid token: few reviews, and agents get through."""

import asyncio
import base64
import contextlib
import json
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from nanogrid import wire
from nanogrid.connections import SWEEP_SECONDS
from nanogrid.throttle import ADDRESS_BURST, ADDRESS_RATE
from nanogrid.types import Json
from nanogrid_operator.decision.enforcement import first_condition
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.server.authentication import TokenReviews
from nanogrid_operator.server.forwarder import ReportForwarder
from nanogrid_operator.server.health import Health
from nanogrid_operator.server.results import ResultsApi
from nanogrid_operator.server.senders import SENDER_BURST, Senders
from nanogrid_operator.server.serve import LIMITS, serving
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue
from support.builders import (
    JOB_UID,
    POD_UID,
    RESULT_KEY_MASTER,
    a_job_body,
    a_pod_body,
    a_report,
    some_settings,
)
from support.operator_fakes import FakeKube, reviewed
from support.pool_parts import no_tasks

pytestmark = [pytest.mark.alone, pytest.mark.security]

READ_SECONDS = 1.0
HALF_HEAD = b"POST /v1/results HTTP/1.1\r\nHost: operator\r\nX-Padding: "
AGENTS = 50
WRONG_TOKENS = 1000
BOMB_BYTES = 256 << 20  # a thousandth of it, compressed


class Reviews(FakeKube):
    """Knows the tokens that begin with ``pod-``."""

    async def create(self, path: str, body: Json) -> Json:
        known = body["spec"]["token"].startswith("pod-")
        self.review = reviewed(POD_UID) if known else {"authenticated": False}
        return await super().create(path, body)


class Operator:
    """The port of an operator that knows one job and its pod."""

    def __init__(self, kube: FakeKube, cache: JobCache, port: int) -> None:
        self.kube, self.cache, self.port = kube, cache, port

    async def post(
        self,
        token: str,
        address: str = "127.0.0.1",
        *,
        body: bytes | None = None,
        encoding: str = "identity",
    ) -> tuple[int, Any, Any]:
        """Post a report as an agent does, on its own connection: status, body and Retry-After."""
        connector = aiohttp.TCPConnector(local_addr=(address, 0), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client:
            url = f"http://127.0.0.1:{self.port}/v1/results"
            headers = {"Authorization": f"Bearer {token}", "Content-Encoding": encoding}
            data = wire.dumps(a_report()).encode() if body is None else body
            async with client.post(url, data=data, headers=headers) as response:
                answer = json.loads(await response.text())
                return response.status, answer, response.headers.get("Retry-After")

    async def probe(self) -> int:
        """The status of a liveness probe."""
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.get(f"http://127.0.0.1:{self.port}/healthz") as response,
        ):
            return response.status


def a_token(pod_uid: str) -> str:
    """A token with the claims of the kubelet's, which ``Reviews`` knows."""
    meta = a_pod_body()["metadata"]
    pod = {"name": meta["name"], "uid": pod_uid}
    claims = {"kubernetes.io": {"namespace": meta["namespace"], "pod": pod}}
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"pod-header.{text}.signature"


@pytest.fixture
async def operator(request: pytest.FixtureRequest) -> AsyncIterator[Operator]:
    """A parameter is the time for a head; else it is long, as this process is client and server."""
    kube, cache = Reviews(), JobCache()
    cache.replace([a_job_body()], [a_pod_body()], listed_at=50)
    health, queue = Health({}, lambda: ""), WorkQueue()
    api = ResultsApi(
        senders=Senders(authenticator=TokenReviews(kube), cache=cache),
        keys=ResultKeys(RESULT_KEY_MASTER),
        cache=cache,
        queue=queue,
        health=health,
        network=lambda: first_condition(some_settings()),
        memory=LiveMemory(5.0, lambda uid: None),
        forwarder=ReportForwarder(lambda: None),
        tasks=no_tasks(queue),
        counted=lambda outcome: None,
    )
    limits = replace(
        LIMITS, read_seconds=getattr(request, "param", 60.0), most=200, most_per_address=100
    )
    async with serving(api, "127.0.0.1", 0, limits) as port:
        yield Operator(kube, cache, port)


@contextlib.asynccontextmanager
async def connected(
    port: int, count: int, begin: bytes
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that have sent some bytes."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(begin)
            readers.append(reader)
        yield readers


async def test_wrong_tokens_cause_few_reviews_and_agents_get_through(operator: Operator) -> None:
    began = time.monotonic()
    answers = []
    for first in range(0, WRONG_TOKENS, 100):
        batch = (operator.post(f"wrong-{first + n}") for n in range(100))
        answers += await asyncio.gather(*batch)
    took = time.monotonic() - began
    reviews = len(operator.kube.reviews)
    print(f"\n{WRONG_TOKENS} wrong tokens in {took:.1f} s: {reviews} reviews")

    assert ADDRESS_BURST <= reviews <= ADDRESS_BURST + ADDRESS_RATE * took + 1
    assert {status for status, _, _ in answers} == {401, 429}
    body, after = next((body, after) for status, body, after in answers if status == 429)
    assert "Retry-After" in body["error"]
    assert int(after) >= 1
    assert await operator.probe() == 200
    # Agents have their pods' addresses.
    assert (await operator.post("pod-1", "127.0.0.2"))[0] == 202
    assert operator.cache.report(JOB_UID, 0) is not None


@pytest.fixture
def no_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts of all addresses, and of a pod, do not come back during a test."""
    monkeypatch.setattr("nanogrid.throttle.TOTAL_RATE", 0.001)
    monkeypatch.setattr("nanogrid_operator.server.senders.SENDER_RATE", 0.001)


@pytest.mark.usefixtures("no_refill")
async def test_wrong_tokens_of_many_addresses_keep_no_agent_out(operator: Operator) -> None:
    used: set[int] = set()
    for sender in range(4):  # sandboxes, each with an address of its own
        batch = [operator.post(f"wrong-{sender}-{n}", f"127.0.1.{sender + 1}") for n in range(99)]
        used |= {status for status, _, _ in await asyncio.gather(*batch)}
    stranger = a_token(POD_UID.replace("a", "b"))
    late = [(await operator.post(token, "127.0.2.1"))[0] for token in ("pod-1", stranger)]
    agent = (await operator.post(a_token(POD_UID), "127.0.2.2"))[0]

    assert used == {401, 429}
    assert late == [429, 429], "the attempts of all addresses are used up"
    assert agent == 202


@pytest.mark.usefixtures("no_refill")
async def test_a_pod_has_few_attempts(operator: Operator) -> None:
    """User code can find out the uid of its own pod."""
    tokens = [f"wrong-{n}{a_token(POD_UID)}" for n in range(2 * SENDER_BURST)]
    answers = [(await operator.post(token))[0] for token in tokens]

    assert answers == [401] * SENDER_BURST + [429] * SENDER_BURST


async def test_many_agents_of_one_address_may_report_at_once(operator: Operator) -> None:
    for turn in range(4):  # more than the burst in total, because valid tokens use nothing up
        posts = (operator.post(f"pod-{turn}-{n}") for n in range(AGENTS))
        assert {status for status, _, _ in await asyncio.gather(*posts)} == {202}
    assert len(operator.kube.reviews) == 4 * AGENTS > ADDRESS_BURST


async def test_answers_of_reviews_are_cached(operator: Operator) -> None:
    for token, status in (("pod-1", 202), ("wrong", 401)):
        for _ in range(3):
            assert (await operator.post(token))[0] == status
    assert len(operator.kube.reviews) == 2


@pytest.mark.parametrize("operator", [READ_SECONDS], indirect=True)
async def test_half_a_head_is_cut_off(operator: Operator) -> None:
    async with connected(operator.port, 3, HALF_HEAD) as readers:
        began = time.monotonic()
        answers = [await reader.read() for reader in readers]
        took = time.monotonic() - began
    assert (await operator.post("pod-1"))[0] == 202

    assert took >= READ_SECONDS - SWEEP_SECONDS
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert "Send it faster" in json.loads(body)["error"]


async def test_half_a_body_is_cut_off(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanogrid_operator.server.results.BODY_SECONDS", READ_SECONDS)
    head = b"POST /v1/results HTTP/1.1\r\nHost: operator\r\nContent-Length: 900\r\n"
    valid, wrong = (
        head + b"Authorization: Bearer " + token + b"\r\n\r\n{" for token in (b"pod-1", b"wrong")
    )
    for begin, status in ((valid, b"408"), (wrong, b"401")):
        async with connected(operator.port, 1, begin) as (reader,):
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)
        assert answer.startswith(b"HTTP/1.1 " + status)


async def test_a_compressed_body_is_not_unpacked(operator: Operator) -> None:
    bomb = zlib.compress(bytes(BOMB_BYTES), 9)
    head = (
        "POST /v1/results HTTP/1.1\r\nHost: operator\r\nAuthorization: Bearer wrong\r\n"
        f"Content-Encoding: deflate\r\nContent-Length: {len(bomb)}\r\n\r\n"
    ).encode()
    began = time.process_time()
    async with connected(operator.port, 4, head + bomb) as readers:
        answers = [await reader.readuntil(b"\r\n") for reader in readers]
        assert await operator.probe() == 200
        await asyncio.sleep(SWEEP_SECONDS)
    took = time.process_time() - began
    small = zlib.compress(wire.dumps(a_report()).encode())

    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 401"}
    assert took < 1.0, "unpacking takes seconds"
    assert (await operator.post("pod-1", body=small, encoding="deflate"))[0] == 400


async def test_connections_without_requests_keep_no_others_out(operator: Operator) -> None:
    async with connected(operator.port, 300, HALF_HEAD):
        assert await operator.probe() == 200
        assert (await operator.post("pod-1", "127.0.0.3"))[0] == 202
