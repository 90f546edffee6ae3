"""Results are POSTed to a real HTTP server that takes, refuses, delays, redirects or loses them."""

import asyncio
import contextlib
import copy
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nanogrid import wire
from nanogrid_operator import webhook_rules
from nanogrid_operator.webhook import WebhookClient
from nanogrid_operator.webhooks import PER_HOST, Webhooks
from unit.builders import CREATED, JOB_UID, a_job_body, a_report, a_result, running, some_settings
from unit.fakes import JOBS, World

pytestmark = pytest.mark.integration

KEY = "secret-of-the-test"


@dataclass
class Receiver:
    """Answers one after another, the last again and again: a status, and headers or a delay."""

    answers: list[tuple[int, dict[str, str] | float]] = field(default_factory=lambda: [(204, {})])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        status, more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if isinstance(more, float):
                await asyncio.sleep(more)
        finally:
            self.at_once -= 1
        return web.Response(status=status, headers=more if isinstance(more, dict) else {})


@contextlib.asynccontextmanager
async def served(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    async with TestServer(app) as server:
        yield str(server.make_url("/hook"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_rules, "FIRST_PAUSE_SECONDS", 0.02)


class Outbox:
    """One job that has ended, or several, and a webhook."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.world = World()
        self.world.now = CREATED + 10
        given = {"webhook_url": url, "webhook_key": KEY, "webhook_timeout_seconds": 0.3}
        self.world.settings = some_settings(
            **{"watch_namespaces": "team-a", "s3_secret": "", **given, **settings}
        )
        self.start()

    def start(self) -> None:
        self.world.start()
        self.client = WebhookClient(self.world.settings)
        self.webhooks = Webhooks(
            settings=self.world.settings,
            store=self.world.store,
            client=self.client,
            delivering=self.world.operator.delivering,
            clock=lambda: self.world.now,
        )
        self.world.operator.webhook = self.webhooks.offer

    async def end_job(self, **job: Any) -> None:
        world = self.world
        world.kube.put(JOBS, a_job_body(**job))
        await world.workers.resync()
        world.see_pod(phase="Running", agent=running(), sandbox=running())
        world.push(a_report(a_result(function_id="f")))
        await world.reconcile()  # ends the job
        await world.reconcile()  # offers it

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.webhooks.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.client.close()

    @property
    def record(self) -> dict[str, Any]:
        return dict(self.world.status["delivery"]["webhook"])

    @property
    def condition(self) -> tuple[str, str]:
        found = {c["type"]: c for c in self.world.status["conditions"]}["WebhookDelivered"]
        return found["status"], found["reason"]

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():  # noqa: ASYNC110 the condition is another's data
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        await self.until(lambda: self.record["state"] != "Pending")


def example() -> Callable[..., bool]:
    """The verification of docs/webhook.md, as its readers copy it."""
    text = Path("docs/webhook.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    found: Callable[..., bool] = scope["verified"]
    return found


async def test_a_result_arrives_once_signed_and_is_recorded() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job(functionId="f")
        before = (outbox.world.end, outbox.record, outbox.condition)
        async with outbox.working():
            await outbox.settled()

    assert before[0] == ("Succeeded", "Completed", "Delivered")
    assert before[1] == {"state": "Pending", "attempts": 0}
    assert before[2] == ("False", "WebhookPending")
    assert outbox.record == {"state": "Delivered", "attempts": 1, "lastStatus": 204, "message": ""}
    assert outbox.condition == ("True", "WebhookAccepted")
    ((headers, body),) = receiver.requests
    assert body.decode() == wire.dumps(a_result(function_id="f"))
    assert headers["Idempotency-Key"] == JOB_UID
    assert headers["X-NanoGrid-Request-Id"] == JOB_UID
    assert headers["Content-Type"] == "application/json"


async def test_the_documented_verification_takes_ours_and_nothing_else() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        client = WebhookClient(some_settings(webhook_key=KEY))
        await client.post(url, a_result(stdout="합계"))
        await client.close()
    ((headers, body),) = receiver.requests
    verified = example()

    assert verified(KEY.encode(), headers, body)
    assert not verified(b"another key", headers, body)
    assert not verified(KEY.encode(), headers, body + b" ")
    old = {**headers, "X-NanoGrid-Timestamp": str(int(time.time()) - 400)}
    assert not verified(KEY.encode(), old, body)


async def test_without_a_key_nothing_is_signed() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        client = WebhookClient(some_settings())
        await client.post(url, a_result())
        await client.close()

    assert "X-NanoGrid-Signature" not in receiver.requests[0][0]


async def test_trouble_that_passes_is_waited_out() -> None:
    receiver = Receiver([(503, {}), (429, {}), (408, {}), (500, 1.0), (200, {})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        async with outbox.working():
            await outbox.settled()

    assert outbox.record["state"] == "Delivered"
    assert outbox.record["attempts"] == len(receiver.requests) == 5


@pytest.mark.parametrize("code", [400, 401, 404, 410, 422])
async def test_a_refusal_for_good_is_recorded_and_not_repeated(code: int) -> None:
    receiver = Receiver([(code, {})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        async with outbox.working():
            await outbox.settled()
            await outbox.world.reconcile()
            await asyncio.sleep(0.1)

    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("Refused", code)
    assert outbox.condition == ("False", "WebhookRefused")
    assert len(receiver.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver([(307, {"Location": "http://169.254.169.254/latest/meta-data"})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        async with outbox.working():
            await outbox.settled()

    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("Refused", 307)
    assert "redirects are not followed" in outbox.record["message"]
    assert len(receiver.requests) == 1


async def test_a_day_of_trouble_is_given_up_and_recorded() -> None:
    receiver = Receiver([(503, {})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        async with outbox.working():
            await outbox.until(lambda: len(receiver.requests) >= 2)
            pending = outbox.record["state"]
            outbox.world.now += 86_401
            await outbox.settled()

    assert pending == "Pending"
    assert (outbox.record["state"], outbox.record["lastStatus"]) == ("GivenUp", 503)
    assert outbox.condition == ("False", "WebhookGivenUp")


async def test_nobody_listening_is_trouble_that_passes() -> None:
    outbox = Outbox("http://127.0.0.1:1/hook")
    await outbox.end_job()
    async with outbox.working():
        await outbox.until(lambda: outbox.record["attempts"] >= 2)

    assert outbox.record["state"] == "Pending"
    assert "onnect" in outbox.record["message"]
    assert outbox.world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_restart_goes_on_where_the_status_is() -> None:
    receiver = Receiver([(503, {})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        async with outbox.working():
            await outbox.until(lambda: outbox.record["attempts"] >= 2)
        receiver.answers = [(200, {})]
        outbox.start()
        await outbox.world.workers.resync()
        await outbox.world.reconcile()
        async with outbox.working():
            await outbox.settled()

    assert outbox.record["state"] == "Delivered"
    assert outbox.record["attempts"] >= 3


async def test_a_status_that_cannot_be_written_does_not_post_again() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job()
        outbox.world.kube.refuse("PATCH", 409)
        outbox.world.kube.refuse("PATCH", 500)
        async with outbox.working():
            await outbox.settled()

    assert outbox.record["state"] == "Delivered"
    assert len(receiver.requests) == 1


async def test_a_slow_endpoint_delays_no_other_and_gets_no_more_than_its_share() -> None:
    slow, quick = Receiver([(200, 0.25)]), Receiver()
    async with served(slow) as slow_url, served(quick) as quick_url:
        outbox = Outbox(slow_url, webhook_prefixes=quick_url, webhook_timeout_seconds=5.0)
        await outbox.end_job()
        finished = copy.deepcopy(outbox.world.kube.objects[f"{JOBS}/sales"])
        for number in range(12):
            _copy(outbox, finished, f"slow-{number}", {})
        _copy(outbox, finished, "quick", {"delivery": {"webhook": {"url": quick_url}}})
        async with outbox.working():
            await outbox.until(lambda: bool(quick.requests))
            late = len(slow.requests)
            await outbox.until(lambda: len(slow.requests) == 13)

    assert late <= PER_HOST
    assert slow.most_at_once == PER_HOST


def _copy(outbox: Outbox, body: dict[str, Any], name: str, spec: dict[str, Any]) -> None:
    body = copy.deepcopy(body)
    body["metadata"] |= {"name": name, "uid": name}
    body["status"]["result"]["job"]["uid"] = name
    body["spec"] |= spec
    outbox.world.kube.put(JOBS, body)
    outbox.world.store.put_job(body)
    outbox.webhooks.offer(name)


async def test_a_job_whose_url_is_not_allowed_never_starts() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        outbox = Outbox("", webhook_prefixes="https://hooks.example.com/a")
        body = a_job_body(delivery={"webhook": {"url": url}})
        outbox.world.kube.put(JOBS, body)
        await outbox.world.workers.resync()
        await outbox.world.reconcile()

    assert outbox.world.end == ("Failed", "InvalidSpec", "Delivered")
    assert "allowedUrlPrefixes" in outbox.world.status["message"]
    assert "webhook" not in outbox.world.status["delivery"]
    assert receiver.requests == []
    assert json.dumps(outbox.world.kube.writes).count("POST") == 0


async def test_a_job_is_kept_until_its_webhook_is_told() -> None:
    receiver = Receiver([(503, {})])
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job(ttlSecondsAfterFinished=5)
        outbox.world.now += 100
        await outbox.world.reconcile()
        kept = f"{JOBS}/sales" in outbox.world.kube.objects
        receiver.answers = [(200, {})]
        async with outbox.working():
            await outbox.settled()
        await outbox.world.reconcile()

    assert kept
    assert f"{JOBS}/sales" not in outbox.world.kube.objects
