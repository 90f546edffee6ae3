"""Runs many small pieces of work in a fixed number of threads, until a deadline.

Not ``concurrent.futures``: its import costs 10 ms, and it waits for threads that hang in a stalled
request. These threads are daemons, and the result lacks what they have not finished.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from nanogrid_executor.clock import Deadline

T = TypeVar("T")
R = TypeVar("R")

IN_PARTS: Final = "upload-in-parts"  # a thread to wait for: it aborts a failed upload
LOOK_SECONDS: Final = 0.1
LATE_SECONDS: Final = 1.0  # lets work that checks the deadline itself raise its own error


class _SharedState:
    """The state that the threads of one :func:`each` share."""

    def __init__(self, count: int, workers: int) -> None:
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.next = 0
        self.count = count
        self.working = workers
        self.error: BaseException | None = None

    def take(self) -> int | None:
        """The next index; None when nothing is left to do."""
        with self.lock:
            if self.next == self.count or self.error is not None or self.done.is_set():
                return None
            self.next += 1
            return self.next - 1

    def leave(self, error: BaseException | None) -> None:
        """A thread ends: the last one, and the first one that failed, set ``done``."""
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
    """Call ``work`` with every item in several threads; None for items that the deadline cut off.

    Args:
        work: the function.
        items: its arguments.
        workers: most threads.
        deadline: ends the wait for the threads, which then go on without a reader.
        name: name of the threads, for :func:`join_threads`.

    Raises:
        Exception: the first that ``work`` raised; items that had not begun by then are left out.
    """
    results: list[R | None] = [None] * len(items)
    workers = min(workers, len(items))
    if workers == 0:
        return results
    state = _SharedState(len(items), workers)

    def serve() -> None:
        error: BaseException | None = None
        try:
            while (index := state.take()) is not None:
                results[index] = work(items[index])
        except BaseException as raised:  # raised again in the thread that waits
            error = raised
        state.leave(error)

    for _ in range(workers):
        threading.Thread(target=serve, name=name, daemon=True).start()
    deadline.wait(state.done, LATE_SECONDS)
    state.done.set()
    if state.error is not None:
        raise state.error
    return list(results)


def join_threads(
    name: str,
    seconds: float,
    stop: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait for threads that outlived their deadline; whether all of this name have ended.

    Args:
        name: the name of the threads.
        seconds: how long to wait at most.
        stop: whether to give up now.
        pause: waits between two looks.
    """
    deadline = Deadline(seconds)
    while any(thread.name == name for thread in threading.enumerate()):
        if stop() or not deadline.remaining():
            return False
        pause(LOOK_SECONDS)
    return True
