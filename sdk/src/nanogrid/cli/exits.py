"""The one table of exit codes: what a script that calls us can rely on."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason


class Exit(IntEnum):
    """Exit codes beside the code's own, after sysexits.h, timeout(1) and the shell."""

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
    Exit.FAILED: "no such object, a conflict, or a check of doctor that failed",
    Exit.USAGE: "wrong usage, or a job that the API server refuses",
    Exit.UNREACHABLE: "an API (Kubernetes, session, S3) does not answer or is not configured",
    Exit.INFRASTRUCTURE: "the code did not run, or its outputs could not be stored: not its fault",
    Exit.FORBIDDEN: "missing, wrong or insufficient credentials",
    Exit.TIMEOUT: "the code ran longer than it may, or waiting did",
    Exit.CANCELLED: "the job was cancelled, or Ctrl-C",
    Exit.OOM: "the code reached its memory limit",
    Exit.BROKEN_PIPE: "the reader of our output went away",
}

# Reasons whose exit code in the result is the code's own.
_ITS_OWN: Final = (Reason.NON_ZERO_EXIT, Reason.SIGNALED, Reason.ENTRYPOINT_NOT_FOUND)


def table() -> str:
    """The exit codes as lines of text, for --help."""
    return "\n".join(f"{code.value:>4}  {MEANING[code]}" for code in Exit)


def of_result(result: Mapping[str, Any]) -> int:
    """The exit code of ``run`` for a result's JSON (``status``, ``reason``, ``exitCode``)."""
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
    own = result.get("exitCode")
    if reason in _ITS_OWN and own:
        return int(own)
    return Exit.INFRASTRUCTURE


def of_execution(raw: Mapping[str, Any]) -> int:
    """The exit code of ``session exec`` for an execution's answer (``status``, ``exit_code``)."""
    if raw.get("success"):
        return Exit.OK
    as_result = {**raw, "exitCode": raw.get("exit_code")}
    own = raw.get("exit_code")
    code = of_result(as_result)
    # Code of a context fails without a process that ends.
    return int(own or Exit.FAILED) if code == Exit.INFRASTRUCTURE else code
