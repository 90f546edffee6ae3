"""What a session needs before its API: inputs, code and folders in the workspace."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.handover import fill_workspace, read_inputs
from nanogrid_executor.agent.result import NOT_STARTED, not_run, sync_failed
from nanogrid_executor.session.session import Session

if TYPE_CHECKING:
    from nanogrid_executor.inputs.fetch import Progress


def prepare(
    session: Session, stopped: Callable[[], bool], progress: "Progress | None" = None
) -> wire.Report | None:
    """Prepare the workspace; the report if the session cannot begin.

    Args:
        session: its inputs are set.
        stopped: whether the pod is being stopped.
        progress: of inputs that the agent copies.
    """
    failed = _sync(session, stopped, progress)
    if failed is None and (problem := _fill(session)):
        return not_run(session.task, Reason.SYNC_FAILED, problem)
    return failed


def _sync(
    session: Session, stopped: Callable[[], bool], progress: "Progress | None"
) -> wire.Report | None:
    """Copy the inputs, if no init container did; the report if they are not in place.

    A manifest is of an earlier agent of the pod: then all inputs are in place.
    """
    task, paths = session.task, session.paths
    if not task.inputs_by_agent or os.path.exists(paths.manifest):
        return None
    from nanogrid_executor.agent.input_sync import InputSync  # late: only a pool's pod needs it

    sync = InputSync(task, paths, progress=progress)
    sync.start()
    outcome = sync.wait(stopped)
    if outcome is None:
        return not_run(task, Reason.TERMINATED, NOT_STARTED)
    return sync_failed(task, outcome) if isinstance(outcome, wire.SyncFailure) else None


def _fill(session: Session) -> str:
    """Prepare code and folders; returns what is wrong, or nothing."""
    task, paths = session.task, session.paths
    session.inputs, problem = read_inputs(task, paths)
    if problem or session.resumed:  # user code of a resumed session may have changed its files
        return problem
    for folder in (names.DEFAULT_DATA_PATH, f"{names.WORKSPACE}/{task.outputs.path}"):
        try:
            os.makedirs(paths.real(folder), exist_ok=True)
        except OSError as error:
            return f"The workspace cannot be prepared: {error}"
    return fill_workspace(task, paths)
