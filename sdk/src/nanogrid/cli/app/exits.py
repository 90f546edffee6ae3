"""The table of exit codes. Scripts that call the CLI rely on it."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from nanogrid.reasons import NOT_STARTABLE, Reason


class Exit(IntEnum):
    """Exit codes of the CLI, as in sysexits.h, timeout(1) and the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 69
    INFRASTRUCTURE = 70
    FORBIDDEN = 77
    TIMEOUT = 124
    CANCELLED = 130
    OOM = 137
    BROKEN_PIPE = 141


MEANING: Final[dict[Exit, str]] = {
    Exit.OK: "success",
    Exit.FAILED: "no such object, a conflict, or a failed doctor check",
    Exit.USAGE: "invalid usage, or a job that the API server rejects",
    Exit.UNREACHABLE: "an API (Kubernetes, session, S3) does not respond or is not configured",
    Exit.INFRASTRUCTURE: "the code did not run, or its outputs were not stored; not a code error",
    Exit.FORBIDDEN: "missing, wrong or insufficient credentials",
    Exit.TIMEOUT: "the code or the wait reached its timeout",
    Exit.CANCELLED: "the job was cancelled, or Ctrl-C was pressed",
    Exit.OOM: "the code reached its memory limit",
    Exit.BROKEN_PIPE: "the reader of stdout closed the pipe",
}

# With these reasons, the result holds the exit code of the user's code, or that of a shell.
_CODE_EXITED: Final = (Reason.NON_ZERO_EXIT, Reason.SIGNALED, *NOT_STARTABLE)


def table() -> str:
    """The exit codes as text for --help, one a line."""
    return "\n".join(f"{code.value:>4}  {MEANING[code]}" for code in Exit)


def for_result(result: Mapping[str, Any]) -> int:
    """The exit code of ``run`` for a result: ``status``, ``reason``, ``exitCode``."""
    from nanogrid import wire  # late: --help shows the table above, and has no result

    reason = result.get("reason", "")
    if result.get("status") == wire.STATUS_SUCCESS:
        return Exit.OK
    if result.get("status") == wire.STATUS_TIMEOUT or reason in (
        Reason.EXECUTION_TIMEOUT,
        Reason.DEADLINE_EXCEEDED,
    ):
        return Exit.TIMEOUT
    if reason == Reason.CANCELLED:
        return Exit.CANCELLED
    if reason == Reason.OOM_KILLED:
        return Exit.OOM
    exit_code = result.get("exitCode")
    if reason in _CODE_EXITED and exit_code:
        return int(exit_code)
    return Exit.INFRASTRUCTURE


def for_execution(raw: Mapping[str, Any]) -> int:
    """The exit code of ``session exec`` for an execution: ``status``, ``exit_code``."""
    if raw.get("success"):
        return Exit.OK
    exit_code = raw.get("exit_code")
    code = for_result({**raw, "exitCode": exit_code})
    # Code in a context can fail although its process keeps running.
    return int(exit_code or Exit.FAILED) if code == Exit.INFRASTRUCTURE else code
