"""Give a result to Redis: key, stream entry and message in one script, once per request.

``SET result:ID … NX EX`` decides; only the call that set the key also adds to the stream and
publishes, so a restart between publishing and writing the status cannot publish twice. A consumer
subscribes, then reads the key, then waits: it cannot miss the result.
"""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import redis.asyncio
from redis.exceptions import RedisError

from nanogrid import names, wire
from nanogrid_operator.outcome import Delivery
from nanogrid_operator.settings import Settings

SCRIPT = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then
  local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
                        'requestId', ARGV[4], 'status', ARGV[5], 'result', ARGV[1])
  return {1, id, redis.call('PUBLISH', KEYS[1], ARGV[1])}
end
return {0, redis.call('GET', KEYS[1]), 0}
"""


class Publisher:
    """Delivers results; one connection pool."""

    def __init__(self, settings: Settings, client: "redis.asyncio.Redis | None" = None) -> None:
        self._settings = settings
        self._client = client or redis.asyncio.Redis.from_url(
            _with_password(settings),
            socket_timeout=settings.redis_timeout_seconds,
            socket_connect_timeout=settings.redis_timeout_seconds,
            health_check_interval=15,
            decode_responses=True,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check(self) -> None:
        """Whether Redis answers.

        Raises:
            RedisError: it does not.
        """
        await self._client.ping()

    async def publish(self, result: wire.Result) -> Delivery:
        """Deliver a result; an unreachable Redis is a pending delivery, not an error."""
        text = wire.dumps(result)
        s = self._settings
        try:
            async with asyncio.timeout(3 * s.redis_timeout_seconds):
                answer: Any = await self._client.eval(
                    SCRIPT,
                    2,
                    names.result_key(result.request_id),
                    names.REDIS_STREAM,
                    text,
                    str(s.result_ttl_seconds),
                    str(s.stream_max_length),
                    result.request_id,
                    result.status,
                )
        except (RedisError, TimeoutError, OSError) as e:
            return Delivery(state="Pending", message=f"{type(e).__name__}: {e}")
        fresh, told, receivers = answer
        if fresh:
            return Delivery(state="Delivered", receivers=int(receivers), stream_id=str(told))
        return _already(result, told)


def _with_password(settings: Settings) -> str:
    """The URL with the password from its own variable, which comes from a Secret."""
    if not settings.redis_password:
        return settings.redis_url
    parts = urlsplit(settings.redis_url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    secret = quote(settings.redis_password, safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))


def _already(result: wire.Result, stored: str | None) -> Delivery:
    """The key was there: from an earlier try of ours, or from another job's result."""
    try:
        owner = json.loads(stored or "{}")["job"]["uid"]
    except (ValueError, KeyError, TypeError):
        owner = None
    if owner == result.job.uid:
        return Delivery(state="Delivered", message="delivered by an earlier try")
    key = names.result_key(result.request_id)
    return Delivery(state="Conflict", message=f"{key} holds the result of job uid {owner}")
