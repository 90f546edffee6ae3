"""Every error of the client: what happened (``message``) and how to mend it (``cure``).

An :class:`ApiError` is a refusal of an HTTP API (Kubernetes, gateway, session), a
:class:`JobFailed` a job that ended badly, with the reason of :mod:`nanogrid.reasons`. Which class
a reason gives is in one table, :data:`BY_REASON`.
"""

from typing import TYPE_CHECKING, Final

from nanogrid.reasons import HELP, Reason

if TYPE_CHECKING:
    from nanogrid.client.result import Result


_CURES: Final = {reason.value: help_.cure for reason, help_ in HELP.items()}


class NanoGridError(Exception):
    """The base of all errors of this package."""

    default_cure = ""

    def __init__(self, message: str, cure: str = "") -> None:
        self.message = message
        self.cure = cure or self.default_cure
        super().__init__(f"{message} {self.cure}".strip())


class NotConfigured(NanoGridError):
    """There are no credentials, or no address, of what was asked for."""

    default_cure = "Set KUBECONFIG, or give context= or kubeconfig=."


class InvalidRequest(NanoGridError, ValueError):
    """The arguments of a call contradict each other or the job's schema; nothing was sent."""


class WaitTimeout(NanoGridError, TimeoutError):
    """The time given for waiting has passed; the job goes on."""

    default_cure = "Wait again with Run.wait(), or stop the job with Run.cancel()."


class JobDeleted(NanoGridError):
    """Somebody deleted the job while it was waited for."""

    default_cure = "Its result, if it had one, is in S3: results/{requestId}/result.json."


class ApiError(NanoGridError):
    """An answer that is no success.

    Attributes:
        status: the HTTP status; 0 when there was no answer.
        reason: the server's word for it, for example NotFound.
        retry_after: seconds that the server asks to be left alone.
    """

    default_cure = "Try again; if it stays, see the server's log."

    def __init__(
        self, status: int, reason: str, message: str, cure: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, cure)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Unreachable(ApiError):
    """No answer, or none that can be read: whether a write took place is not known."""

    default_cure = "Check that the server runs and that its address can be reached from here."


class Unauthorized(ApiError):
    """The credentials are missing, wrong or expired."""

    default_cure = "Log in again, or check the kubeconfig's user, or the token."


class Forbidden(ApiError):
    """The credentials are known and may not do this."""

    default_cure = "Ask for a role with the verb and resource that the message names."


class NotFound(ApiError):
    """There is no such object, or no such API."""

    default_cure = "Check name and namespace; `kubectl get ej -A` lists all jobs."


class Conflict(ApiError):
    """An object of that name exists, or it was changed by somebody else."""

    default_cure = "Use another name, or read the object again."


class Invalid(ApiError):
    """The server's validation refused the object; the message names the field."""

    default_cure = "Mend the field; `kubectl explain ej.spec --recursive` describes it."


class Expired(ApiError):
    """A resourceVersion is too old, or a session is gone (410)."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}


def api_error(
    status: int, reason: str, message: str, cure: str = "", retry_after: float = 0.0
) -> ApiError:
    """The error of an HTTP status, with the cure of its reason if that is one of ours."""
    kind = _BY_STATUS.get(status, ApiError)
    said = message or f"HTTP {status} {reason}"
    return kind(status, reason, said, cure or cure_of(reason), retry_after)


class JobFailed(NanoGridError):
    """A job ended without success.

    Attributes:
        reason: one word, see docs/reasons.md.
        result: everything that is known of the job, also what it printed.
    """

    def __init__(self, reason: str, message: str, cure: str, result: "Result") -> None:
        super().__init__(f"{reason}: {message}", cure)
        self.reason = reason
        self.result = result


class CodeFailed(JobFailed):
    """The code ran and ended with an error; its stderr is in ``result.stderr``."""


class OutOfMemory(JobFailed):
    """The code reached its memory limit."""


class ExecutionTimeout(JobFailed):
    """The code ran longer than it may."""


class InputError(JobFailed):
    """Inputs or code were missing, wrong or unreadable; the code never ran."""


class OutputError(JobFailed):
    """The code ended, but not all of its output files are stored."""


class Cancelled(JobFailed):
    """The job was told to stop."""


class ImageError(JobFailed):
    """The image cannot be pulled, or cannot run the launcher."""


class SpecError(JobFailed):
    """The job cannot be run as it is described."""


class PlacementError(JobFailed):
    """No node took the pod, or not in time."""


class Interrupted(JobFailed):
    """The pod or its node went away; running it again may well succeed."""


class StorageError(JobFailed):
    """S3 did not answer properly."""


R = Reason
BY_REASON: Final[dict[str, type[JobFailed]]] = {
    reason.value: kind
    for kind, reasons in {
        CodeFailed: [R.NON_ZERO_EXIT, R.SIGNALED, R.ENTRYPOINT_NOT_FOUND],
        OutOfMemory: [R.OOM_KILLED],
        ExecutionTimeout: [R.EXECUTION_TIMEOUT, R.DEADLINE_EXCEEDED],
        InputError: [
            R.INPUT_NOT_FOUND, R.INPUT_ACCESS_DENIED, R.INPUT_INCOMPLETE, R.INPUT_TOO_LARGE,
            R.CHECKSUM_MISMATCH, R.PATH_CONFLICT, R.UNSAFE_PATH, R.EMPTY_ARCHIVE,
            R.CORRUPT_ARCHIVE, R.UNSAFE_ARCHIVE, R.ARCHIVE_TOO_LARGE, R.SYNC_FAILED,
            R.INPUT_SYNC_TIMEOUT,
        ],
        OutputError: [R.OUTPUT_UPLOAD_FAILED],
        Cancelled: [R.CANCELLED],
        ImageError: [R.IMAGE_PULL_FAILED, R.RUNTIME_INVALID],
        SpecError: [
            R.INVALID_SPEC, R.NAME_CONFLICT, R.POD_REJECTED, R.CONFIG_ERROR,
            R.FUNCTION_NOT_FOUND, R.VERSION_NOT_FOUND,
        ],
        PlacementError: [R.UNSCHEDULABLE, R.STARTUP_TIMEOUT],
        Interrupted: [
            R.TERMINATED, R.PREEMPTED, R.NODE_LOST, R.EVICTED, R.POD_LOST, R.SANDBOX_LOST,
            R.AGENT_FAILED, R.RESULT_MISMATCH, R.SUSPENDED,
        ],
        StorageError: [R.STORAGE_UNAVAILABLE, R.CLOCK_SKEW, R.RESULT_UNREADABLE],
    }.items()
    for reason in reasons
}  # fmt: skip


def cure_of(reason: str) -> str:
    """What a reader can do about a reason; empty for a reason of a newer release."""
    return _CURES.get(reason, "")


def job_failed(result: "Result") -> JobFailed:
    """The error of a result that is no success; JobFailed itself for an unknown reason."""
    kind = BY_REASON.get(result.reason, JobFailed)
    message = result.message or f"the job ended with status {result.status}"
    # A status message ends with its cure already.
    cure = cure_of(result.reason)
    if cure and message.endswith(cure):
        message = message.removesuffix(cure).rstrip()
    return kind(result.reason, message, cure, result)
