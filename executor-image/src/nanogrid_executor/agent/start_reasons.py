"""From the launcher's cause of a failed start to its reason."""

from typing import Final

from nanogrid.reasons import Reason
from nanogrid_executor.launcher import start_failure

REASONS: Final = {
    start_failure.NOT_FOUND: Reason.ENTRYPOINT_NOT_FOUND,
    start_failure.INTERPRETER: Reason.INTERPRETER_NOT_FOUND,
    start_failure.PERMISSION: Reason.ENTRYPOINT_NOT_EXECUTABLE,
    start_failure.FORMAT: Reason.ENTRYPOINT_FORMAT_UNKNOWN,
    start_failure.ARGUMENTS: Reason.ARGUMENTS_INVALID,
    start_failure.TOO_LONG: Reason.ARGUMENTS_TOO_LONG,
    start_failure.REFUSED: Reason.PROCESS_REFUSED,
    start_failure.CONTEXT_LIMIT: Reason.CONTEXT_LIMIT,
    start_failure.CONTEXT_BUSY: Reason.EXECUTION_RUNNING,
}


def reason_of(cause: str | None) -> Reason:
    """The reason; the launcher of an older image sends no cause, a hostile one may send any."""
    return REASONS.get(cause or "", Reason.ENTRYPOINT_NOT_FOUND)
