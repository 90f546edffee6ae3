"""How long the gateway waits for the bytes of a client, and for how many clients."""

import asyncio

import pytest

from nanogrid.connection_limits import Slots
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.pace import BYTES_PER_SECOND, GRACE_SECONDS, Pace
from support.fake_time import now

SECONDS = 30.0


def pace(slow: Slots) -> Pace:
    return Pace(SECONDS, slow, clock=asyncio.get_running_loop().time)


async def bytes_after(seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return b"here"


async def test_bytes_that_arrive_soon_need_no_slot() -> None:
    full = Slots(0)

    assert await pace(full).wait(bytes_after(GRACE_SECONDS / 2)) == b"here"


async def test_a_slow_client_needs_a_slot_and_gives_it_back() -> None:
    slow = Slots(1)

    assert await pace(slow).wait(bytes_after(10)) == b"here"
    assert slow.take()
    with pytest.raises(ApiError, match="Too many clients") as caught:
        await pace(slow).wait(bytes_after(10))
    assert caught.value.status == 408


async def test_the_grace_counts_all_waiting_of_one_body() -> None:
    body = pace(Slots(0))
    for _ in range(2):
        await body.wait(bytes_after(GRACE_SECONDS * 0.4))

    with pytest.raises(ApiError, match="Too many clients"):
        await body.wait(bytes_after(GRACE_SECONDS * 0.4))


async def test_a_client_that_is_too_slow_is_refused_at_the_deadline() -> None:
    slow = Slots(1)
    began = now()

    with pytest.raises(ApiError, match="bytes a second") as caught:
        await pace(slow).wait(bytes_after(1000))

    assert (caught.value.status, now() - began) == (408, SECONDS)
    assert slow.take()


async def test_received_bytes_extend_the_time() -> None:
    body = pace(Slots(1))
    began = now()
    await body.wait(bytes_after(20))
    body.received(5 * BYTES_PER_SECOND)

    with pytest.raises(ApiError):
        await body.wait(bytes_after(1000))

    assert now() - began == SECONDS + 5


async def test_a_fast_start_does_not_save_time_up() -> None:
    body = pace(Slots(1))
    body.received(1000 * BYTES_PER_SECOND)
    began = now()

    with pytest.raises(ApiError):
        await body.wait(bytes_after(1000))

    assert now() - began == SECONDS


async def test_an_error_of_the_read_is_passed_on() -> None:
    async def broken() -> bytes:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await pace(Slots(1)).wait(broken())


async def test_a_cancelled_wait_ends_the_read_and_frees_the_slot() -> None:
    slow = Slots(1)
    ended = asyncio.Event()

    async def reading() -> bytes:
        try:
            return await bytes_after(1000)
        finally:
            ended.set()

    waiting = asyncio.create_task(pace(slow).wait(reading()))
    await asyncio.sleep(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert ended.is_set()
    assert slow.take()
