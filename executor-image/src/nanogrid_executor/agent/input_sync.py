"""The input sync of a pod that has no init container for it.

It is the sync of :mod:`nanogrid_executor.inputs`, with the same manifest and the same reasons. A
thread of its own runs it, so that a request that hangs hangs neither the agent nor its end.
"""

import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.log import warn
from nanogrid_executor.paths import Paths

if TYPE_CHECKING:
    from nanogrid_executor.clock import Deadline
    from nanogrid_executor.inputs.fetch import Progress
    from nanogrid_executor.storage.s3 import Storage

Outcome = wire.InputReport | wire.SyncFailure

CHECK_STOP_SECONDS: Final = 0.1


class InputSync:
    """The sync of one job: :meth:`start`, then :meth:`wait`."""

    def __init__(
        self,
        task: wire.PodTask,
        paths: Paths,
        make_storage: "Callable[[Deadline], Storage] | None" = None,
        progress: "Progress | None" = None,
    ) -> None:
        """Nothing is copied before :meth:`start`; the options are those of the sync."""
        self._task, self._paths = task, paths
        self._make_storage, self._progress = make_storage, progress
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to copy."""
        threading.Thread(target=self._run, name="input-sync", daemon=True).start()

    def wait(self, stopped: Callable[[], bool]) -> Outcome | None:
        """Wait for the outcome, and return it; None if ``stopped`` says that the pod ends."""
        while not stopped():
            try:
                return self._outcomes.get(timeout=CHECK_STOP_SECONDS)
            except queue.Empty:
                continue
        return None

    def _run(self) -> None:
        try:
            # Late, and in this thread: the launcher can connect while these imports run.
            from nanogrid_executor.inputs import sync
            from nanogrid_executor.storage.s3 import Storage

            end, make_storage = self._outcomes.put, self._make_storage or Storage
            sync.run_in_time(self._task, self._paths, end, make_storage, self._progress)
        except Exception as error:  # the boundary: the agent never waits for a thread that died
            import traceback  # late: few syncs have one

            traceback.print_exc(file=sys.stdout)
            reason, message = Reason.SYNC_FAILED, f"{type(error).__name__}: {error}"
            warn("sync-failed", reason=reason, detail=message)
            self._outcomes.put(wire.SyncFailure(reason=reason.value, message=message))
