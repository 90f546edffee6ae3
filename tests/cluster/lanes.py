"""Steps that run in parallel with the main sequence.

The main sequence does not wait for a lane as such. It calls the same functions for what it needs,
and `cache.artifact` waits for an output that another thread is building.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.progress import say
from cluster.steps import COMMANDS, ClusterError

# A lane uses the processor time that the main sequence leaves.
NICE = 10


class Lanes:
    """The lanes of one run."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def start(self, name: str, *steps: Callable[[], object], required: bool = True) -> None:
        """Runs steps one after another in a lane.

        The failure of a required lane stops all steps of the run. The failure of another lane is
        printed, and its steps are left to a later command.
        """

        def work() -> None:
            try:
                _lower_priority()
                for step in steps:
                    step()
            except BaseException as error:
                if required or not isinstance(error, (ClusterError, OSError)):
                    self._fail(error)
                elif not COMMANDS.stopped:
                    say(f"    {name}: {error}\n    {name}: left to a later command")

        thread = threading.Thread(target=work, name=name)
        self._threads.append(thread)
        thread.start()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            # After a stop, the other lanes fail only because of it.
            if self.failure is None and not COMMANDS.stopped:
                self.failure = error
                COMMANDS.stop()

    def join(self) -> None:
        """Waits for all lanes."""
        for thread in self._threads:
            thread.join()


def _lower_priority() -> None:
    """Lowers the priority of this thread and of the commands that it starts."""
    # Only Linux has a priority for each thread.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        priority = max(NICE, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, priority)


@contextmanager
def parallel_lanes() -> Iterator[Lanes]:
    """Lanes that end with the block: it waits for them, or stops them if it fails.

    Raises:
        ClusterError: the block or a required lane failed; the first failure is the one raised.
    """
    lanes = Lanes()
    try:
        yield lanes
        lanes.join()
    except BaseException as error:
        COMMANDS.stop()
        lanes.join()
        if lanes.failure is not None and isinstance(error, (ClusterError, OSError)):
            raise lanes.failure from None
        raise
    finally:
        COMMANDS.resume()
    if lanes.failure is not None:
        raise lanes.failure
