"""Doing many small things at once, with a fixed number of threads and until a deadline.

Not ``concurrent.futures``: its import costs 10 ms, and it waits for threads that a stalled server
holds. These threads are daemons, and what they did not finish is simply not in the answer.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from nanogrid_executor.clock import Deadline

T = TypeVar("T")
R = TypeVar("R")

LOOK_SECONDS: Final = 0.1
LATE_SECONDS: Final = 1.0  # for work that looks at the deadline itself to say what it was doing


class _Run:
    """The state that the threads of one :func:`each` share."""

    def __init__(self, count: int, workers: int) -> None:
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.next = 0
        self.count = count
        self.working = workers
        self.error: BaseException | None = None

    def take(self) -> int | None:
        """The next index; None when there is nothing more to do."""
        with self.lock:
            if self.next == self.count or self.error is not None or self.done.is_set():
                return None
            self.next += 1
            return self.next - 1

    def leave(self, error: BaseException | None) -> None:
        """A thread ends: the last one, and the first that failed, wakes who waits."""
        with self.lock:
            self.working -= 1
            if error is not None and self.error is None:
                self.error = error
            if self.working == 0 or error is not None:
                self.done.set()


def each(
    work: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    deadline: Deadline,
    name: str | None = None,
) -> list[R | None]:
    """Call ``work`` with every item, several at once; None for what the deadline cut off.

    Threads of a ``name`` can be waited for: see :func:`settle`.

    Raises:
        Exception: the first that ``work`` raised; items not begun by then are left.
    """
    results: list[R | None] = [None] * len(items)
    workers = min(workers, len(items))
    if workers == 0:
        return results
    run = _Run(len(items), workers)

    def serve() -> None:
        error: BaseException | None = None
        try:
            while (index := run.take()) is not None:
                results[index] = work(items[index])
        except BaseException as raised:  # it is raised again where it is waited for
            error = raised
        run.leave(error)

    for _ in range(workers):
        threading.Thread(target=serve, name=name, daemon=True).start()
    seconds = deadline.remaining()
    run.done.wait(None if seconds == float("inf") else seconds + LATE_SECONDS)
    run.done.set()
    if run.error is not None:
        raise run.error
    return list(results)


def settle(name: str, seconds: float, stop: Callable[[], bool]) -> bool:
    """Wait for threads that outlived their deadline; whether all of that name have ended."""
    deadline = Deadline(seconds)
    while any(thread.name == name for thread in threading.enumerate()):
        if stop() or not deadline.remaining():
            return False
        time.sleep(LOOK_SECONDS)
    return True
