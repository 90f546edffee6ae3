"""Give a result to Redis: key, stream entry and message in one script, once per request.

Only the call that finds no key adds to the stream, sets the key and publishes, so neither a lost
answer nor a restart between publishing and writing the status can publish twice. A consumer
subscribes, then reads the key, then waits: it cannot miss the result.
"""

import asyncio
import logging
import time
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid_operator.outcome import Delivery
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.publish")

SILENCE_SECONDS = 1.0  # for which a Redis that has not answered in time is not asked again

# A script is atomic to its readers and not undone when it fails. So what may be refused is done in
# an order and in a way that leaves nothing behind: a key without its message would never be told.
SCRIPT = """
local function failed(answer) return type(answer) == 'table' and answer.err end
local kept = redis.call('GET', KEYS[1])
if kept then return {0, kept, 0} end
local entry = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*',
                         'requestId', ARGV[4], 'status', ARGV[5], 'result', ARGV[1])
local told = redis.pcall('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if not failed(told) then told = redis.pcall('PUBLISH', KEYS[1], ARGV[1]) end
if failed(told) then
  redis.pcall('DEL', KEYS[1])
  redis.pcall('XDEL', KEYS[2], entry)
  return told
end
return {1, entry, told}
"""

# What a server says, wherever in its answer: older ones wrap the words of commands in scripts.
_WORDS = {
    "NOPERM": Reason.REDIS_ACCESS_DENIED,
    "no permission": Reason.REDIS_ACCESS_DENIED,
    "user executing the script can't": Reason.REDIS_ACCESS_DENIED,
    "Authentication required": Reason.REDIS_ACCESS_DENIED,
    "READONLY": Reason.REDIS_READ_ONLY,
    "OOM ": Reason.REDIS_OUT_OF_MEMORY,
    "maxmemory": Reason.REDIS_OUT_OF_MEMORY,
    "LOADING": Reason.REDIS_UNAVAILABLE,
    "MASTERDOWN": Reason.REDIS_UNAVAILABLE,
    "max number of clients": Reason.REDIS_UNAVAILABLE,
}
_CLUSTER = (
    exceptions.AskError,  # and MovedError
    exceptions.ClusterDownError,
    exceptions.ClusterCrossSlotError,
)
_TYPES: tuple[tuple[type[Exception], Reason], ...] = (
    (exceptions.AuthenticationError, Reason.REDIS_ACCESS_DENIED),  # is a ConnectionError as well
    (exceptions.AuthorizationError, Reason.REDIS_ACCESS_DENIED),
    (exceptions.NoPermissionError, Reason.REDIS_ACCESS_DENIED),
    (exceptions.ReadOnlyError, Reason.REDIS_READ_ONLY),
    (exceptions.OutOfMemoryError, Reason.REDIS_OUT_OF_MEMORY),
    (exceptions.MasterDownError, Reason.REDIS_UNAVAILABLE),
    (exceptions.TryAgainError, Reason.REDIS_UNAVAILABLE),
    (exceptions.ConnectionError, Reason.REDIS_UNAVAILABLE),
    (exceptions.TimeoutError, Reason.REDIS_UNAVAILABLE),
    (TimeoutError, Reason.REDIS_UNAVAILABLE),
    (OSError, Reason.REDIS_UNAVAILABLE),
)


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
            # Once, at once, for a pooled connection that its server has closed meanwhile. The rest
            # is the work queue's; the library's own default would sleep up to ten seconds more.
            # A server that is silent is not asked twice: each time costs the whole timeout.
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        )
        self._silent: tuple[float, Delivery] | None = None

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
        """Deliver a result; whatever keeps Redis from taking it is a pending delivery, no error."""
        if self._silent is not None and time.monotonic() < self._silent[0]:
            return self._silent[1]  # one job waits for a Redis that hangs, not all of them
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
        except (exceptions.RedisError, TimeoutError, OSError) as e:
            # After a failover the old connections lead to the old server: connect, and resolve
            # the name, anew.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            delivery = refused(e)
            if isinstance(e, exceptions.TimeoutError | TimeoutError):
                self._silent = (time.monotonic() + SILENCE_SECONDS, delivery)
            return delivery
        fresh, told, receivers = answer
        if fresh:
            return Delivery(state="Delivered", receivers=int(receivers), stream_id=str(told))
        return _already(result, text, told)

    async def told_before(self, request_id: str, job_uid: str) -> wire.Result | None:
        """What Redis was told of a job before; None if nothing, or if it does not answer."""
        try:
            async with asyncio.timeout(3 * self._settings.redis_timeout_seconds):
                kept: Any = await self._client.get(names.result_key(request_id))
            told = wire.loads(wire.Result, kept) if kept else None
        except (exceptions.RedisError, TimeoutError, OSError, ValueError) as e:
            log.info("job uid=%s: whether Redis has a result is not known: %s", job_uid, e)
            return None
        return told if told is not None and told.job.uid == job_uid else None


def _with_password(settings: Settings) -> str:
    """The URL with the password from its own variable, which comes from a Secret."""
    if not settings.redis_password:
        return settings.redis_url
    parts = urlsplit(settings.redis_url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    secret = quote(settings.redis_password, safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))


def refused(error: Exception) -> Delivery:
    """The pending delivery that an error of the client means: what is wrong, and its cure."""
    reason = _reason(error)
    said = str(error) or "no answer in time"
    if isinstance(error, _CLUSTER):
        said = (
            f"{said}: this is a node of a Redis Cluster, and a result has two keys of different "
            "slots; give redis.url a Redis that is no cluster"
        )
    message = sentence(reason, f"{type(error).__name__}: {said}")
    return Delivery(state="Pending", reason=reason, message=message)


def _reason(error: Exception) -> Reason:
    for word, reason in _WORDS.items():
        if word in str(error):
            return reason
    return next((r for kind, r in _TYPES if isinstance(error, kind)), Reason.REDIS_REFUSED)


def _already(result: wire.Result, text: str, stored: str) -> Delivery:
    """The key was there: from an earlier try of ours, or from another job's result."""
    key = names.result_key(result.request_id)
    try:
        told = wire.loads(wire.Result, stored)
    except ValueError as e:
        return Delivery(state="Conflict", message=f"{key} holds what is no result: {e}")
    if told.job.uid != result.job.uid:
        said = f"{key} holds the result of job uid {told.job.uid}"
        return Delivery(state="Conflict", message=said)
    return Delivery(
        state="Delivered",
        message="delivered by an earlier try",
        told=None if stored == text else told,
    )
