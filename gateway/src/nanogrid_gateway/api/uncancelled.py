"""Coroutines that go on after their client leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_detached: set[asyncio.Task[Any]] = set()


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; the coroutine ends even if the client leaves.

    For changes of several steps, which must not stop half-way.
    """
    task = asyncio.create_task(work)
    _detached.add(task)
    task.add_done_callback(_detached.discard)
    return await asyncio.shield(task)
