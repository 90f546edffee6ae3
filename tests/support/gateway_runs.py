"""Requests that wait for a run, and what they need."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.gateway_world import TIMEOUT, Answer, Gateway, World, wait_for
from support.hostile_archives import make

CODE = make(("main.py", b"print(1)"))


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(max_waiting=250) as gateway:  # more than the tests need at once
        yield gateway


@pytest.fixture(scope="module")
def function(gateway: Gateway) -> str:
    answer = gateway.upload(CODE, runtime="python")
    assert answer.status == 201, answer.body
    return str(answer.json["functionId"])


@pytest.fixture
def request_id() -> str:
    return f"Req_{uuid.uuid4().hex[:12]}.x"


class Later:
    """POST /run in its own thread."""

    def __init__(self, gateway: Gateway, function: str, plan: object, **more: object) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(gateway.run, function, plan, **more)

    def answer(self) -> Answer:
        try:
            return self._future.result(2 * TIMEOUT)
        finally:
            self._pool.shutdown(wait=False)


def subscribed(
    world: World, gateway: Gateway, function: str, plan: object, request_id: str
) -> Later:
    """A request whose result the gateway waits for."""
    later = Later(gateway, function, plan, requestId=request_id)
    wait_for(lambda: waiting(world, request_id), "the subscription")
    return later


def waiting(world: World, request_id: str) -> bool:
    """Whether the request's channel has a subscriber."""
    with world.server.client() as client:
        found: Any = client.pubsub_numsub(world.channel(request_id))
    return bool(found[0][1])
