"""Tests of pauses and timeouts run on fake time; the others talk over real sockets."""

import asyncio
from collections.abc import Callable

import pytest

from support.fake_time import FakeTimeLoop

FAKE_TIME = frozenset({"test_pace.py", "test_subscriptions.py"})


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of a test."""
    return {"loop": FakeTimeLoop if item.path.name in FAKE_TIME else asyncio.new_event_loop}
