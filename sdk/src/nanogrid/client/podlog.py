"""The log of one sandbox: every byte once, also when connections break, until its end."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from nanogrid import names
from nanogrid.client.cluster import Cluster, pods
from nanogrid.client.errors import ApiError, NotFound

Json = dict[str, Any]
LOOK_SECONDS: Final = 5.0  # between two looks at a job whose pod is awaited
PAUSE_SECONDS: Final = 0.5
TRIES: Final = 5  # in a row without a byte
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
    path, labels = pods(namespace), f"{names.LABEL_JOB_UID}={uid}"
    seen: set[str] = set()
    while True:
        # Asked first: a pod that started before the end is still found below.
        ended = over()
        found, version = cluster.list_with_version(path, labels)
        fresh = [pod for pod in found if pod["metadata"]["uid"] not in seen and _started(pod)]
        for pod in sorted(fresh, key=attempt_of):
            seen.add(pod["metadata"]["uid"])
            yield pod
        if ended:
            return
        if not fresh:
            changes = cluster.watch(
                path, labels=labels, resource_version=version, timeout_seconds=LOOK_SECONDS
            )
            next(changes, None)


def attempt_of(pod: Json) -> int:
    """The attempt that a pod is of."""
    text = str((pod["metadata"].get("labels") or {}).get(names.LABEL_ATTEMPT, ""))
    return int(text) if text.isdecimal() else 0


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
        over: whether the job has ended; then a log that ends is not opened again.
        follow: until the sandbox has ended; else what there is.
        stream: stdout or stderr alone; "" is both.

    Raises:
        NoSplit: the server cannot give one stream alone.
        ApiError: it cannot be read, after five tries or because it may not be.
    """
    asked = (pod["metadata"]["namespace"], pod["metadata"]["name"], names.CONTAINER_SANDBOX)
    passed, failures = 0, 0
    while True:
        position, before = 0, passed
        try:
            # From the beginning each time: what was passed on is skipped.
            for piece in cluster.pod_log(*asked, follow, stream.capitalize()):
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
            if failures >= TRIES or not (e.status in (0, 429) or e.status >= 500):
                raise
        # Here too when the log just ended, which a proxy may do to a running sandbox's.
        time.sleep(PAUSE_SECONDS * random.uniform(1.0, 1.5) * (failures + 1))  # noqa: S311 jitter


def can_split(cluster: Cluster) -> bool:
    """Whether the server may know the parameter: an older one would ignore it silently."""
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
    return same and "running" in _sandbox(found)


def _started(pod: Json) -> bool:
    return any(key in _sandbox(pod) for key in STARTED)


def _sandbox(pod: Json) -> Json:
    """The state of its sandbox container."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    for one in statuses:
        if one["name"] == names.CONTAINER_SANDBOX:
            state: Json = one.get("state") or {}
            return state
    return {}
