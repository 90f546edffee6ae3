"""Requests for a stored result, while Redis keeps its connections and does not answer."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from nanogrid_gateway.api.runs.result_feed import COMMANDS, RedisUnavailable, ResultFeed
from nanogrid_gateway.api.settings import Settings
from support.gateway_fixtures import MARKS
from support.redis_server import PASSWORD
from support.redis_topologies import Node, until
from support.s3_server import free_port

pytestmark = MARKS


class NoJobs:
    """An API server that does not answer."""

    def __getattr__(self, _: str) -> Any:
        async def never(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return never


async def stored(feed: ResultFeed) -> str:
    """Why there is no stored result; empty if Redis says that there is none."""
    try:
        assert await feed.stored("none") is None
    except RedisUnavailable as e:
        return str(e).partition(":")[0]
    return ""


async def test_requests_that_queue_do_not_wait_one_after_the_other(tmp_path: Path) -> None:
    node = Node(tmp_path, free_port())
    api: Any = NoJobs()
    node.start("--requirepass", PASSWORD)
    url = f"redis://127.0.0.1:{node.port}/0"
    settings = Settings(
        namespace="team-a",
        s3_bucket="results",
        redis_url=url,
        redis_password=PASSWORD,
        redis_timeout_seconds=1.0,
    )
    feed = ResultFeed(api, "jobs", settings)
    try:
        await asyncio.to_thread(until, lambda: not feed.error, "the connection")
        most = 4 * COMMANDS
        before = await asyncio.gather(*(stored(feed) for _ in range(most)))
        node.hang()
        after = Counter(await asyncio.gather(*(stored(feed) for _ in range(most))))
    finally:
        await feed.close()
        node.kill()
    assert set(before) == {""}, "more requests than COMMANDS are served"
    assert sum(after.values()) == most
    assert after["TimeoutError"] <= COMMANDS, "the others are refused when the first ones are"
