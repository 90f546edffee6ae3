"""Delivers a result to Redis: key, stream entries and message in one script, once per request.

Only the call that finds no result in the key adds to the streams, sets the key and publishes. So
neither a lost answer nor a restart between publishing and writing the status can publish twice. A
consumer subscribes, then reads the key, then waits. So it cannot miss the result.

A value that neither this job nor another one can have published is forged: the script replaces it,
if it is still there, and publishes.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nanogrid import redis_clients, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.redis_clients import REDIS_ERRORS, RedisClient
from nanogrid_operator.decision.outcome import Delivery
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.delivery.attempts import Attempted, unmeasured
from nanogrid_operator.delivery.redis_errors import refused
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.targets import REDIS
from nanogrid_operator.settings import Settings

log = logging.getLogger("nanogrid.publish")

MOST_BYTES = str(wire.REPORT_CAP_BYTES)
SILENCE_SECONDS = 1.0  # pause after a timeout, during which no job calls this server

# Redis runs a script atomically but does not roll it back after an error. So the script undoes its
# own writes when Redis refuses one: a key without its message would never be published.
#
# KEYS: the key (also the channel), the stream of the namespace, and the stream of the platform,
# which a Redis Cluster has not: there all keys of a script are in one slot. ARGV: result, TTL,
# length of a stream, requestId, namespace, status, mark of the value to replace, most bytes of a
# result. Answer: {1, id in the namespace's stream, receivers}, or {0, value of the key, its mark}.
# A larger value is forged, and would only fill the operator's memory.
SCRIPT = """
local function failed(answer) return type(answer) == 'table' and answer.err end
local kept, mark = redis.pcall('GET', KEYS[1]), ''
if failed(kept) then
  if not string.find(kept.err, 'WRONGTYPE', 1, true) then return kept end
  kept, mark = '', 'WRONGTYPE'
elseif kept then
  mark = redis.sha1hex(kept)
  if #kept > tonumber(ARGV[8]) then kept = '' end
end
if mark ~= '' and mark ~= ARGV[7] then return {0, kept, mark} end
local entries = {}
local function undo(reply)
  for i, entry in pairs(entries) do redis.pcall('XDEL', KEYS[i], entry) end
  return reply
end
for i = 2, #KEYS do
  local entry = redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', ARGV[3], '*', 'requestId', ARGV[4],
                            'namespace', ARGV[5], 'status', ARGV[6], 'result', ARGV[1])
  if failed(entry) then return undo(entry) end
  entries[i] = entry
end
local reply = redis.pcall('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if not failed(reply) then reply = redis.pcall('PUBLISH', KEYS[1], ARGV[1]) end
if failed(reply) then
  redis.pcall('DEL', KEYS[1])
  return undo(reply)
end
return {1, entries[2], reply}
"""
READ_SCRIPT = """
local kept = redis.call('GET', KEYS[1])
return kept and #kept <= tonumber(ARGV[1]) and kept
"""
REPLACE_TRIES = 3  # another writer may write a forged value repeatedly


class Publisher:
    """Delivers results; one connection pool."""

    def __init__(
        self,
        settings: Settings,
        keys: ResultKeys,
        client: RedisClient | None = None,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        attempted: Attempted = unmeasured,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._silence_seconds = silence_seconds
        self._clock = clock
        self._attempted = attempted
        self._client = client or redis_clients.client(
            settings.redis_server,
            socket_timeout=settings.redis_timeout_seconds,
            socket_connect_timeout=settings.redis_timeout_seconds,
            health_check_interval=15,
            decode_responses=True,
            encoding_errors="replace",  # a value may be anything
            # One immediate retry, for a pooled connection that the server has closed. The work
            # queue does all other retries; the library's default sleeps up to ten seconds more.
            # There is no retry after a timeout: each try takes the full timeout.
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        )
        self._silent: dict[str, tuple[float, Delivery]] = {}  # by server

    async def close(self) -> None:
        """Close the connections."""
        await redis_clients.close(self._client)

    async def check(self) -> None:
        """Whether Redis answers.

        Raises:
            REDIS_ERRORS: It does not.
        """
        try:
            await redis_clients.ping(self._client)
        except REDIS_ERRORS:
            await redis_clients.forget(self._client)
            raise

    async def publish(self, result: wire.Result, owner: ResultOwner) -> Delivery:
        """Deliver a signed result. If Redis does not take it, the delivery is pending, no error."""
        place = redis_clients.place(self._client, owner.key)
        until, answer = self._silent.get(place, (0.0, None))
        if answer is not None and self._clock() < until:
            return answer  # one job waits for a Redis that hangs, not every job
        started = self._clock()
        delivery = await self._try(result, owner, place)
        self._attempted(REDIS, delivery.state != "Pending", self._clock() - started)
        return delivery

    async def _try(self, result: wire.Result, owner: ResultOwner, place: str) -> Delivery:
        try:
            async with asyncio.timeout(3 * self._settings.redis_timeout_seconds):
                return await self._publish(result, owner)
        except REDIS_ERRORS as e:
            await redis_clients.forget(self._client, e)
            delivery = refused(e, self._settings.redis_mode)
            if isinstance(e, exceptions.TimeoutError | TimeoutError):
                self._silent[place] = (self._clock() + self._silence_seconds, delivery)
            return delivery

    async def _publish(self, result: wire.Result, owner: ResultOwner) -> Delivery:
        text = wire.dumps(result)
        forged = mark = ""
        for _ in range(REPLACE_TRIES):
            fresh, value, detail = await self._call(result, text, owner, mark)
            if fresh:
                return Delivery(
                    state="Delivered",
                    # A node of a Redis Cluster counts only its own subscribers.
                    receivers=None if owner.area.redis_cluster else int(detail),
                    stream_id=str(value),
                    message=f"replaced a value: {forged}" if forged else "",
                    replaced=forged,
                )
            if value == text:
                return Delivery(state="Delivered", message="delivered by an earlier try")
            found = self._compare(value, owner)
            if isinstance(found, Delivery):
                return found
            forged, mark = found, str(detail)
            log.warning("replacing a value in Redis: %s", forged)
        message = sentence(Reason.RESULT_NOT_AUTHENTIC, f"{forged}, and it comes back")
        return Delivery(state="Pending", reason=Reason.RESULT_NOT_AUTHENTIC, message=message)

    async def _call(self, result: wire.Result, text: str, owner: ResultOwner, mark: str) -> Any:
        s = self._settings
        return await self._client.eval(
            SCRIPT,
            1 + len(owner.area.streams),
            owner.key,
            *owner.area.streams,
            text,
            str(s.result_ttl_seconds),
            str(s.stream_max_length),
            result.request_id,
            owner.area.namespace,
            result.status,
            mark,
            MOST_BYTES,
        )

    def _compare(self, value: str, owner: ResultOwner) -> Delivery | str:
        """The delivery if the value is a result; otherwise why it is forged."""
        try:
            found = self._keys.read(value)
        except ValueError as e:
            return f"{owner.key} does not hold a result of NanoGrid: {e}"
        if owner.published(found):
            message = "delivered by an earlier try"
            return Delivery(state="Delivered", message=message, previous_result=found)
        if owner.foreign(found):
            message = f"{owner.key} holds the result of job uid {found.job.uid}"
            return Delivery(state="Conflict", message=message)
        return f"{owner.key} holds a result that no operator published for this job"

    async def previous_result(self, owner: ResultOwner) -> wire.Result | None:
        """The published result of an attempt; None if Redis has none, or does not answer."""
        try:
            async with asyncio.timeout(3 * self._settings.redis_timeout_seconds):
                kept: Any = await self._client.eval(READ_SCRIPT, 1, owner.key, MOST_BYTES)
            previous = self._keys.read(kept) if kept else None
        except (*REDIS_ERRORS, ValueError) as e:
            log.info("cannot read a previous result: %s", e)
            return None
        return previous if previous is not None and owner.published(previous) else None
