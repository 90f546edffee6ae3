"""What errors of the Redis client mean in each mode."""

import pytest
from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from nanogrid.reasons import Reason
from nanogrid.redis_url import CLUSTER, SENTINEL, STANDALONE
from nanogrid_operator.delivery.redis_errors import refused

SET_CLUSTER = "set redis.mode to Cluster"
SLOT = "a failover, or the slot of the namespace moves"


def caused(cause: Exception) -> exceptions.RedisClusterException:
    """The client's error when no node could be asked."""
    error = exceptions.RedisClusterException("Redis Cluster cannot be connected")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("mode", "error", "reason", "part"),
    [
        (STANDALONE, exceptions.MovedError("1 a:6379"), Reason.REDIS_REFUSED, SET_CLUSTER),
        (STANDALONE, exceptions.ClusterDownError("no slot"), Reason.REDIS_REFUSED, SET_CLUSTER),
        (CLUSTER, exceptions.ClusterDownError("down"), Reason.REDIS_UNAVAILABLE, SLOT),
        (CLUSTER, exceptions.ClusterError("TTL exhausted."), Reason.REDIS_UNAVAILABLE, SLOT),
        (CLUSTER, exceptions.SlotNotCoveredError("1"), Reason.REDIS_UNAVAILABLE, SLOT),
        (CLUSTER, exceptions.TryAgainError("keys"), Reason.REDIS_UNAVAILABLE, "TryAgainError"),
        (CLUSTER, exceptions.ReadOnlyError("READONLY x"), Reason.REDIS_READ_ONLY, "READONLY"),
        (CLUSTER, exceptions.ResponseError("WRONGTYPE x"), Reason.REDIS_REFUSED, "WRONGTYPE"),
        (
            CLUSTER,
            caused(exceptions.NoPermissionError("this user has no permissions")),
            Reason.REDIS_ACCESS_DENIED,
            "NoPermissionError",
        ),
        (
            CLUSTER,
            caused(exceptions.ConnectionError("Connect call failed")),
            Reason.REDIS_UNAVAILABLE,
            "Connect call failed",
        ),
        (
            SENTINEL,
            exceptions.ConnectionError("The previous master is now a slave"),
            Reason.REDIS_READ_ONLY,
            "previous master",
        ),
        (
            SENTINEL,
            MasterNotFoundError("no master 'x': a:1: unknown, of results"),
            Reason.REDIS_UNAVAILABLE,
            "check redis.sentinel.masterName",
        ),
        (
            SENTINEL,
            MasterNotFoundError("no master 'x': a:1: AuthenticationError: no password"),
            Reason.REDIS_ACCESS_DENIED,
            "AuthenticationError",
        ),
    ],
)
def test_an_error_has_a_reason_and_its_cause(
    mode: str, error: Exception, reason: Reason, part: str
) -> None:
    delivery = refused(error, mode)

    assert (delivery.state, delivery.reason) == ("Pending", reason)
    assert part in delivery.message
    assert (SET_CLUSTER in delivery.message) == (part == SET_CLUSTER)
