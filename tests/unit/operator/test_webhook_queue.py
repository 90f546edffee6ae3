"""The queue of webhooks hands out a limited number of keys per host, and no host blocks another."""

from nanogrid_operator.delivery.webhook_queue import PerHostQueue
from support.operator_world import run_for


def a_queue(*keys: str, per_host: int = 2) -> PerHostQueue:
    """A queue of keys; a key begins with its host."""
    queue = PerHostQueue(lambda key: key[0], per_host)
    for key in keys:
        queue.add(key)
    return queue


async def taken(queue: PerHostQueue) -> list[str]:
    """All keys that workers get now."""
    keys: list[str] = []

    async def take() -> None:
        while True:
            keys.append(await queue.get())

    await run_for(0.1, take())
    return keys


async def test_a_host_has_a_limit_and_delays_no_other_host() -> None:
    queue = a_queue("a1", "a2", "a3", "b1")

    assert await taken(queue) == ["a1", "a2", "b1"]


async def test_the_next_key_of_a_host_follows_when_one_is_done() -> None:
    queue = a_queue("a1", "a2", "a3", "a4")
    await taken(queue)

    queue.done("a2")

    assert await taken(queue) == ["a3"]


async def test_the_limit_holds_after_a_time_in_which_no_key_waited() -> None:
    queue = a_queue("a1", "a2")
    await taken(queue)
    queue.done("a1")

    for key in ("a3", "a4", "a5"):
        queue.add(key)

    assert await taken(queue) == ["a3"]


async def test_a_key_whose_host_has_changed_frees_its_old_slot() -> None:
    hosts = {"x": "a", "y": "a", "z": "a"}
    queue = PerHostQueue(hosts.__getitem__, 1)
    for key in hosts:
        queue.add(key)
    first = await taken(queue)
    hosts["x"] = "b"

    queue.done("x")

    assert (first, await taken(queue)) == (["x"], ["y"])
