"""What an error of the Redis client means for a delivery: the reason, the cause and the hint."""

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from nanogrid.reasons import Reason, sentence
from nanogrid.redis_iam import TokenError
from nanogrid.redis_url import CLUSTER, SENTINEL, STANDALONE
from nanogrid_operator.decision.outcome import Delivery

# Texts anywhere in an error: older servers wrap the errors of commands in scripts, and the client
# those of Sentinels and of the nodes of a Redis Cluster.
_TEXTS = {
    "NOPERM": Reason.REDIS_ACCESS_DENIED,
    "no permission": Reason.REDIS_ACCESS_DENIED,
    "user executing the script can't": Reason.REDIS_ACCESS_DENIED,
    "Authentication required": Reason.REDIS_ACCESS_DENIED,
    "AuthenticationError": Reason.REDIS_ACCESS_DENIED,
    "READONLY": Reason.REDIS_READ_ONLY,
    "previous master is now a slave": Reason.REDIS_READ_ONLY,
    "OOM ": Reason.REDIS_OUT_OF_MEMORY,
    "maxmemory": Reason.REDIS_OUT_OF_MEMORY,
    "LOADING": Reason.REDIS_UNAVAILABLE,
    "MASTERDOWN": Reason.REDIS_UNAVAILABLE,
    "max number of clients": Reason.REDIS_UNAVAILABLE,
}
_TYPES: tuple[tuple[type[Exception], Reason], ...] = (
    (exceptions.AuthenticationError, Reason.REDIS_ACCESS_DENIED),  # also is a ConnectionError
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
# Answers of a node of a Redis Cluster, to a client that knows no Redis Cluster.
_OF_A_NODE = (
    exceptions.AskError,  # and MovedError
    exceptions.ClusterDownError,
    exceptions.ClusterCrossSlotError,
)
# A Redis Cluster in between: a failover, or a slot that moves. The library's errors say no more.
_IN_BETWEEN = (exceptions.ClusterError, exceptions.RedisClusterException, exceptions.AskError)
_NO_CLUSTER = "Cluster mode is not enabled"
_NO_SENTINEL = "unknown command 'sentinel'"
# A Sentinel knows no scripts; a node of a Redis Cluster no databases.
_IS_SENTINEL = "unknown command 'eval'"
_NO_DATABASES = "SELECT is not allowed in cluster mode"


def refused(error: Exception, mode: str) -> Delivery:
    """The pending delivery for an error of the client: what is wrong, and the hint."""
    cause = _cause(error)
    reason, advice = _explained(cause, mode)
    detail = f"{str(cause) or 'no answer in time'}{advice}"
    message = sentence(reason, f"{type(cause).__name__}: {detail}")
    return Delivery(state="Pending", reason=reason, message=message)


def _explained(error: Exception, mode: str) -> tuple[Reason, str]:
    if mode == CLUSTER:
        return _of_cluster(error)
    text = str(error).lower()
    if mode == SENTINEL and _NO_SENTINEL in text:
        return _reason(error), (
            ": this is no Sentinel; redis.url must name the Sentinels, or set redis.mode to "
            "Standalone or Cluster"
        )
    if mode == STANDALONE and _IS_SENTINEL in text:
        return _reason(error), ": if this is a Sentinel, set redis.mode to Sentinel"
    if isinstance(error, _OF_A_NODE) or _NO_DATABASES in str(error):
        return _reason(error), ": this is a node of a Redis Cluster; set redis.mode to Cluster"
    if isinstance(error, MasterNotFoundError) and "unknown, of" in str(error):
        return _reason(error), ": check redis.sentinel.masterName"
    return _reason(error), ""


def _of_cluster(error: Exception) -> tuple[Reason, str]:
    if _NO_CLUSTER in str(error):
        unknown = "unknown command" in str(error.__context__).lower()
        other = f" (to {SENTINEL}, if this is a Sentinel)" if unknown else ""
        return Reason.REDIS_REFUSED, f": set redis.mode to {STANDALONE}{other}"
    reason = _reason(error)
    if reason is Reason.REDIS_REFUSED and isinstance(error, _IN_BETWEEN):
        return Reason.REDIS_UNAVAILABLE, ": a failover, or the slot of the namespace moves"
    return reason, ""


def _reason(error: Exception) -> Reason:
    if isinstance(error, TokenError):
        return error.reason
    for text, reason in _TEXTS.items():
        if text in str(error):
            return reason
    return next((r for kind, r in _TYPES if isinstance(error, kind)), Reason.REDIS_REFUSED)


def _cause(error: Exception) -> Exception:
    """The error of the last node that was asked, if the client could not ask any."""
    cause = error
    while isinstance(cause, exceptions.RedisClusterException):
        inner = cause.__cause__ or cause.__context__
        if not isinstance(inner, Exception) or "unknown command" in str(inner).lower():
            break
        if "cluster support disabled" in str(inner):
            break
        cause = inner
    return cause
