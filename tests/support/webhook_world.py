"""A webhook endpoint, and an operator's outbox that delivers to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from nanogrid_operator.delivery.webhook_queue import Webhooks
from support.builders import (
    CREATED,
    a_job_body,
    a_report,
    a_result,
    running,
    some_settings,
)
from support.operator_fakes import JOBS
from support.operator_world import World

KEY = "secret-of-the-test"


@dataclass
class Receiver:
    """Sends its answers in order and repeats the last one: a status with headers or a delay (s).

    Each answer waits for the gate, which is open unless the test closes it.
    """

    answers: list[tuple[int, dict[str, str] | float]] = field(default_factory=lambda: [(204, {})])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        status, more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await self.gate.wait()
            if isinstance(more, float):
                await asyncio.sleep(more)
        finally:
            self.active -= 1
        return web.Response(status=status, headers=more if isinstance(more, dict) else {})


@contextlib.asynccontextmanager
async def served(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/hook"))


class Outbox:
    """The operator's outbox with one or more ended jobs, and its webhook client."""

    def __init__(self, url: str, **settings: Any) -> None:
        given = {"webhook_url": url, "webhook_key": KEY, "webhook_timeout_seconds": 30.0}
        given |= {"watch_namespaces": "team-a", "s3_secret": "", **settings}
        self.world = World(some_settings(**given), first_webhook_pause=0.02)
        self.world.now = CREATED + 10

    @property
    def webhooks(self) -> Webhooks:
        return self.world.parts.webhooks

    async def end_job(self, **job: Any) -> None:
        world = self.world
        world.kube.put(JOBS, a_job_body(**job))
        await world.resync()
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
            await self.world.webhook_client.close()

    @property
    def record(self) -> dict[str, Any]:
        return dict(self.world.status["delivery"]["webhook"])

    @property
    def condition(self) -> tuple[str, str]:
        found = {c["type"]: c for c in self.world.status["conditions"]}["WebhookDelivered"]
        return found["status"], found["reason"]

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():  # noqa: ASYNC110 the condition is another's data
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        await self.until(lambda: self.record["state"] != "Pending")


async def settled(receiver: Receiver, **settings: Any) -> Outbox:
    """An outbox whose only job has ended and whose webhook is no longer pending."""
    async with served(receiver) as url:
        outbox = Outbox(url, **settings)
        await outbox.end_job()
        async with outbox.working():
            await outbox.settled()
    return outbox


@contextlib.asynccontextmanager
async def ended_job(receiver: Receiver, **job: Any) -> AsyncIterator[Outbox]:
    """An outbox whose only job has ended, and whose webhook is pending."""
    async with served(receiver) as url:
        outbox = Outbox(url)
        await outbox.end_job(**job)
        yield outbox
