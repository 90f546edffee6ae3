"""Resolves names, in threads: slow names of a tenant do not keep the names of others waiting."""

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakValueDictionary

Lookup = Callable[[str], list[str]]

THREADS: Final = 64
LOOKUPS_PER_JOB: Final = 8
LOOKUPS_PER_NAMESPACE: Final = 16


def system_lookup(host: str) -> list[str]:
    """The addresses of a name, the best first.

    The dot at the end keeps the search domains of the pod out.

    Raises:
        OSError: the name has no address, or DNS does not answer.
    """
    found = socket.getaddrinfo(f"{host}.".encode(), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Resolves the names of all jobs, a few at a time for each job and each namespace."""

    def __init__(self, seconds: float, lookup: Lookup = system_lookup) -> None:
        """``seconds`` for one name; ``lookup`` runs in a thread."""
        self._seconds = seconds
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, namespace: str, job: str, host: str) -> list[str]:
        """The addresses of a name, for a job.

        Raises:
            TimeoutError: DNS does not answer, or too many lookups of the job or its namespace do
                not end.
            OSError: the name has no address.
        """
        turns = (
            self._turns_of(f"job {job}", LOOKUPS_PER_JOB),
            self._turns_of(f"namespace {namespace}", LOOKUPS_PER_NAMESPACE),
        )
        async with asyncio.timeout(self._seconds):
            async with contextlib.AsyncExitStack() as taken:
                for each in turns:
                    await taken.enter_async_context(each)
                loop = asyncio.get_running_loop()
                lookup = loop.run_in_executor(
                    self._threads, contextvars.copy_context().run, self._lookup, host
                )
                # A thread cannot be cancelled, so the turns end with the thread, not with the wait.
                lookup.add_done_callback(lambda done: _end(turns, done))
                taken.pop_all()
            return await asyncio.shield(lookup)

    def _turns_of(self, owner: str, count: int) -> asyncio.Semaphore:
        turns = self._turns.get(owner)
        if turns is None:
            turns = self._turns[owner] = asyncio.Semaphore(count)
        return turns

    def close(self) -> None:
        """Wait for no lookup, and start none."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _end(turns: Iterable[asyncio.Semaphore], lookup: "asyncio.Future[list[str]]") -> None:
    for each in turns:
        each.release()
    if not lookup.cancelled():
        lookup.exception()  # after a timeout the request is answered, and no one else reads it
