"""Runs the leader election on an event loop of its own, in a thread.

The main loop can be busy for more than a second: thousands of objects come at once, and other
processes have the CPU. A Lease lasts two seconds. So renewals do not wait for the main loop. They
end if it hangs: a process that does nothing must not stay the leader.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from nanogrid.kube.client import KubeApi
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.kube.leader_election import LeaderElector

T = TypeVar("T")

BEAT_SECONDS: Final = 1.0
HUNG_SECONDS: Final = 10.0  # longer than any turn of the main loop
JOIN_SECONDS: Final = 5.0


class LeaseThread:
    """A context manager of the main loop; :meth:`run` runs coroutines in the thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_at = clock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)

    def main_loop_alive(self) -> bool:
        """Whether the main loop has done something in the last seconds."""
        return self._clock() - self._beat_at < HUNG_SECONDS

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The value of a coroutine that runs in the thread. It is cancelled with its caller."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def __aenter__(self) -> "LeaseThread":
        self._thread.start()
        self._beating = asyncio.create_task(self._beat(), name="beat")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beating.cancel()
        with suppress(asyncio.CancelledError):
            await self._beating
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _beat(self) -> None:
        while True:
            self._beat_at = self._clock()
            await asyncio.sleep(BEAT_SECONDS)


@dataclass(frozen=True, slots=True)
class Election:
    """The methods of :class:`LeaderElector`, for the main loop."""

    elector: LeaderElector
    thread: LeaseThread

    async def try_acquire(self) -> bool:
        """See :meth:`LeaderElector.try_acquire`."""
        return await self.thread.run(self.elector.try_acquire())

    async def acquire(self) -> None:
        """See :meth:`LeaderElector.acquire`."""
        await self.thread.run(self.elector.acquire())

    async def renew(self) -> None:
        """See :meth:`LeaderElector.renew`."""
        await self.thread.run(self.elector.renew())

    async def release(self) -> None:
        """See :meth:`LeaderElector.release`."""
        await self.thread.run(self.elector.release())

    def leader_address(self) -> LeaderAddress | None:
        """See :meth:`LeaderElector.leader_address`."""
        return self.elector.leader_address()


@asynccontextmanager
async def election(
    connect: Callable[[], Coroutine[Any, Any, KubeApi]], namespace: str, name: str, identity: str
) -> AsyncIterator[Election]:
    """The election for one Lease, over a client that ``connect`` makes in the thread."""
    async with LeaseThread() as thread:
        kube = await thread.run(connect())
        try:
            alive = thread.main_loop_alive
            yield Election(LeaderElector(kube, namespace, name, identity, may_renew=alive), thread)
        finally:
            await thread.run(kube.close())
