"""The requests of waiting agents at this process. No I/O.

An agent of a pool's pod asks the leader for its task and waits. The pod can be claimed while its
request waits here, so a claim meets no pod whose agent does not answer.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nanogrid import wire


class _Request(NamedTuple):
    """A request, and whether its agent is still connected."""

    future: asyncio.Future[wire.HandOver]
    connected: Callable[[], bool]


class WaitingAgents:
    """Requests by the pod's uid.

    Args:
        on_change: receives the uid when a request begins or ends.
        clock: seconds since the epoch.
    """

    def __init__(
        self, on_change: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._last: dict[str, float] = {}  # when a request of a pod ended
        self._requests: dict[str, _Request] = {}
        self._taken: set[str] = set()  # pods that a claim in progress has chosen
        self._unread: dict[str, float] = {}  # since when a pod has a task that it has not read

    @contextmanager
    def request(
        self, pod_uid: str, connected: Callable[[], bool] = lambda: True
    ) -> Iterator[asyncio.Future[wire.HandOver]]:
        """A request waits until the block ends; its future gets the task.

        A newer request of the same pod replaces an older one, whose connection was lost.
        ``connected`` knows of a lost connection before the next line to the agent fails.
        """
        future: asyncio.Future[wire.HandOver] = asyncio.get_running_loop().create_future()
        older = self._requests.get(pod_uid)
        self._requests[pod_uid] = request = _Request(future, connected)
        if older is not None:
            older.future.cancel()
        self._on_change(pod_uid)
        try:
            yield future
        finally:
            if self._requests.get(pod_uid) is request:
                del self._requests[pod_uid]
                if not future.done():
                    self._last[pod_uid] = self._clock()
                self._on_change(pod_uid)

    def waits(self, pod_uid: str) -> bool:
        """Whether the pod's agent waits here, and no claim has chosen the pod."""
        request = self._requests.get(pod_uid)
        return request is not None and request.connected() and pod_uid not in self._taken

    def is_taken(self, pod_uid: str) -> bool:
        """Whether a claim in progress has chosen the pod."""
        return pod_uid in self._taken

    def last_waited(self, pod_uid: str) -> float | None:
        """When the agent last waited, in seconds since the epoch; None: it made no request."""
        return self._clock() if pod_uid in self._requests else self._last.get(pod_uid)

    def leave(self, pod_uid: str) -> None:
        """The pod is gone, or a job has it: its request ends, and its agent's next one gets a task.

        A claim in progress hands the task over itself.
        """
        self._last.pop(pod_uid, None)
        request = self._requests.get(pod_uid)
        if request is not None and pod_uid not in self._taken:
            request.future.cancel()

    @contextmanager
    def taken(self, pod_uid: str) -> Iterator[None]:
        """No other claim of this process chooses the pod until the block ends."""
        self._taken.add(pod_uid)
        try:
            yield
        finally:
            self._taken.discard(pod_uid)

    def hand_over(self, pod_uid: str, task: wire.HandOver) -> bool:
        """Answer the pod's request; False if none waits: then the agent's next one gets it."""
        self._unread[pod_uid] = self._clock()
        request = self._requests.get(pod_uid)
        if request is None or request.future.done():
            return False
        request.future.set_result(task)
        return True

    def task_read(self, pod_uid: str) -> None:
        """The agent has read its task."""
        self._unread.pop(pod_uid, None)

    def unread(self, seconds: float) -> list[str]:
        """The pods that have not read their task for so long; each is returned once."""
        now = self._clock()
        late = [uid for uid, since in self._unread.items() if now - since > seconds]
        for uid in late:
            del self._unread[uid]
        return late
