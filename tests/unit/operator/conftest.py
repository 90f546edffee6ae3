"""Tests of the operator run on fake time, except those that use real sockets or threads."""

import asyncio
from collections.abc import Callable

import pytest

from support.fake_time import FakeTimeLoop

REAL_SOCKETS = frozenset(
    {
        "test_client.py",
        "test_cloudwatch_sender.py",
        "test_lease_thread.py",
        "test_results.py",
        "test_task_api.py",
    }
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of a test."""
    return {"loop": asyncio.new_event_loop if item.path.name in REAL_SOCKETS else FakeTimeLoop}
