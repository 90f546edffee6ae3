"""The log of one sandbox until its end: each byte once, also after lost connections."""

from collections.abc import Callable, Iterator
from typing import Final

from nanogrid import names, pod_identity
from nanogrid.backoff import jitter
from nanogrid.client.errors import ApiError, NotFound
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import pods
from nanogrid.types import Json

PAUSE_SECONDS: Final = 0.5
TRIES: Final = 5  # consecutive tries without a byte
STARTED: Final = ("running", "terminated")
SPLIT_SINCE: Final = 32  # minor version of Kubernetes
UNPROCESSABLE: Final = 422
GONE: Final = frozenset({400, 404})  # the container has no log any more, or the pod is gone


class NoSplit(Exception):
    """The API server gives both streams of a log only together."""


def started_pods(
    cluster: Cluster, namespace: str, uid: str, over: Callable[[], bool]
) -> Iterator[Json]:
    """A job's pods whose sandboxes have started, the first attempt first, until ``over()``."""
    path, labels = pods(namespace), pod_identity.selector(uid)
    seen: set[str] = set()
    while True:
        # Before the list, so that the list has every pod that started before the end.
        ended = over()
        found, version = cluster.list_with_version(path, labels)
        own = [pod for pod in found if pod_identity.job_uid(pod) == uid]
        fresh = [pod for pod in own if pod["metadata"]["uid"] not in seen and _started(pod)]
        for pod in sorted(fresh, key=pod_identity.attempt):
            seen.add(pod["metadata"]["uid"])
            yield pod
        if ended:
            return
        if not fresh:
            changes = cluster.watch(
                path,
                labels=labels,
                resource_version=version,
                timeout_seconds=cluster.timing.pod_poll_seconds,
            )
            # A pool in the namespace may change all the time.
            any(pod_identity.job_uid(change["object"]) == uid for change in changes)


def log_of(
    cluster: Cluster,
    pod: Json,
    over: Callable[[], bool],
    follow: bool = True,
    stream: str = "",
) -> Iterator[bytes]:
    """A sandbox's log in pieces, each once; it ends early when the pod is gone.

    Args:
        cluster: the API server.
        pod: a pod that has started.
        over: whether the job has ended; after that, a log that ended is not opened again.
        follow: until the sandbox has ended; otherwise only the log so far.
        stream: stdout or stderr; "" gives both.

    Raises:
        NoSplit: the server cannot give one stream alone.
        ApiError: the log cannot be read after five tries, or access is denied.
    """
    container = (pod["metadata"]["namespace"], pod["metadata"]["name"], names.CONTAINER_SANDBOX)
    passed, failures = 0, 0
    while True:
        position, before = 0, passed
        try:
            # Each connection reads from the beginning and skips bytes that were passed on.
            for piece in cluster.pod_log(*container, follow, stream.capitalize()):
                fresh = piece[max(0, passed - position) :]
                position += len(piece)
                if fresh:
                    passed = position
                    yield fresh
            if not follow or over() or not _runs(cluster, pod):
                return
        except ApiError as e:
            if e.status in GONE:
                return  # the result has the rest
            if stream and e.status == UNPROCESSABLE:
                raise NoSplit from e
            failures = 0 if passed > before else failures + 1
            if failures >= TRIES or not e.transient:
                raise
        # Also after a log that ended normally: a proxy may end it while the sandbox runs.
        cluster.timing.sleep(jitter(PAUSE_SECONDS * (failures + 1), 1.0, 1.5))


def can_split(cluster: Cluster) -> bool:
    """Whether the server may know the parameter ``stream``; an older one ignores it silently."""
    found = cluster.version()
    minor = str(found.get("minor") or "").rstrip("+")
    return minor.isdecimal() and int(minor) >= SPLIT_SINCE


def _runs(cluster: Cluster, pod: Json) -> bool:
    metadata = pod["metadata"]
    try:
        found = cluster.get(f"{pods(metadata['namespace'])}/{metadata['name']}")
    except NotFound:
        return False
    same = found["metadata"]["uid"] == metadata["uid"]
    return same and "running" in _sandbox_state(found)


def _started(pod: Json) -> bool:
    return any(key in _sandbox_state(pod) for key in STARTED)


def _sandbox_state(pod: Json) -> Json:
    """The state of the sandbox container."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    for one in statuses:
        if one["name"] == names.CONTAINER_SANDBOX:
            state: Json = one.get("state") or {}
            return state
    return {}
