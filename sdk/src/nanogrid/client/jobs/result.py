"""The result of a job, and the errors of failed jobs.

:data:`BY_REASON` maps each reason to its error class.
"""

import html
from collections.abc import Callable, Mapping
from typing import Final

from nanogrid import wire
from nanogrid.client import remote_error
from nanogrid.client.errors import NanoGridError, hint_of
from nanogrid.client.jobs.full_output import full_bytes, full_text
from nanogrid.client.jobs.output import Output
from nanogrid.client.storage import Storage
from nanogrid.hints import without_hint
from nanogrid.lifecycle import Phase
from nanogrid.reasons import NOT_STARTABLE, Reason
from nanogrid.sizes import size_text
from nanogrid.types import Json
from nanogrid.visible_text import printable

SHOWN_CHARACTERS: Final = 4000


class Result:
    """The result of a job, successful or not.

    Attributes:
        raw: the JSON of the job's status or of the gateway.
        outputs: stored files by name.
    """

    def __init__(self, raw: Json, storage: Callable[[], Storage]) -> None:
        self.raw = raw
        self._storage = storage
        self._wire = wire.from_dict(wire.Result, raw)
        self.outputs: Mapping[str, Output] = {
            file.path: Output(file, storage) for file in self._wire.outputs
        }

    @classmethod
    def of_job(cls, job: Json, storage: Callable[[], Storage]) -> "Result":
        """The result of a finished job; a job that never ran has only a reason."""
        status = job.get("status") or {}
        return cls(status.get("result") or _result_without_report(job, status), storage)

    @property
    def status(self) -> str:
        """SUCCESS, FAILED or TIMEOUT."""
        return self._wire.status

    @property
    def succeeded(self) -> bool:
        """Whether the code exited with 0 and its outputs are stored."""
        return self._wire.status == wire.STATUS_SUCCESS

    @property
    def reason(self) -> str:
        """Why the job ended, for example NonZeroExit; docs/reasons.md lists all reasons."""
        return self._wire.reason

    @property
    def message(self) -> str:
        """Why the job ended, in a sentence."""
        return self._wire.message

    @property
    def hint(self) -> str:
        """How to fix the problem."""
        return hint_of(self._wire.reason)

    @property
    def request_id(self) -> str:
        """The id of the result in S3 and Redis."""
        return self._wire.request_id

    @property
    def exit_code(self) -> int | None:
        """Exit code; None when the code never ran; 128 + number after a signal."""
        return self._wire.exit_code

    @property
    def stdout(self) -> str:
        """Text that the code printed; its end when ``truncated``."""
        return self._wire.stdout

    @property
    def stderr(self) -> str:
        """Text that the code printed to stderr; its end when ``truncated``."""
        return self._wire.stderr

    @property
    def truncated(self) -> bool:
        """Whether stdout or stderr is shortened; full_stdout and full_stderr read all of it."""
        return self._wire.stdout_truncated or self._wire.stderr_truncated

    def full_stdout(self) -> str:
        """All text that the code printed; read from S3 when ``stdout`` is shortened.

        S3 has the first ``spec.logs.maxBytes`` (default 10 MiB) of the text.

        Raises:
            NotConfigured: the text is in S3, and the client has no S3 configuration.
            NotKept: the full text was not stored (logs.maxBytes: 0, or no bucket).
            ApiError: S3 refuses the request.
        """
        return full_text(self.raw, "stdout", self._storage)

    def full_stderr(self) -> str:
        """All text that the code printed to stderr; see full_stdout."""
        return full_text(self.raw, "stderr", self._storage)

    def full_stdout_bytes(self) -> bytes:
        """All bytes that the code printed, also those that are not UTF-8; see full_stdout."""
        return full_bytes(self.raw, "stdout", self._storage)

    def full_stderr_bytes(self) -> bytes:
        """All bytes that the code printed to stderr; see full_stdout_bytes."""
        return full_bytes(self.raw, "stderr", self._storage)

    @property
    def outputs_note(self) -> str:
        """What the patterns of spec.outputs leave out by mistake, as it seems; else empty."""
        return self._wire.outputs_note

    @property
    def duration_millis(self) -> int:
        """Run time of the code in milliseconds."""
        return self._wire.duration_millis

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the code in bytes; None when it never ran."""
        return self._wire.peak_memory_bytes

    def raise_for_status(self) -> "Result":
        """Return this result if it is a success.

        Raises:
            JobFailed: the job failed; the subclass follows from the reason (``BY_REASON``).
        """
        if not self.succeeded:
            raise job_failed(self)
        return self

    def __repr__(self) -> str:
        code = "" if self.exit_code is None else f" exit_code={self.exit_code}"
        return f"<Result {self.request_id} {self.status} {self.reason}{code}>"

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        peak = self.peak_memory_bytes
        memory = "" if peak is None else f" · {size_text(peak)}"
        head = f"<b>{html.escape(self.status)}</b> {html.escape(self.reason)}"
        parts = [f"<div>{head} · {self.duration_millis} ms{memory}</div>"]
        if not self.succeeded:
            parts.append(f"<div>{html.escape(self.message)}</div>")
        parts += [
            f"<pre>{html.escape(text[-SHOWN_CHARACTERS:])}</pre>"
            for text in (self.stdout, self.stderr)
            if text
        ]
        rows = "".join(
            f"<li>{html.escape(printable(one.name))} ({one.bytes} bytes)</li>"
            for one in self.outputs.values()
        )
        return "".join(parts) + (f"<ul>{rows}</ul>" if rows else "")


def _result_without_report(job: Json, status: Json) -> Json:
    """A result for a job whose status has only a reason."""
    metadata = job["metadata"]
    result = wire.blank_result(
        request_id=status.get("requestId") or metadata["uid"],
        function_id=job["spec"].get("functionId"),
        status=wire.STATUS_SUCCESS
        if status.get("phase") == Phase.SUCCEEDED
        else wire.STATUS_FAILED,
        reason=status.get("reason", ""),
        job=wire.JobRef(
            namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
        ),
        attempt=0,
        message=status.get("message", ""),
    )
    found: Json = wire.to_dict(result)
    return found


class JobFailed(NanoGridError):
    """A job ended without success.

    Attributes:
        reason: see docs/reasons.md.
        result: the whole result, with the text that the code printed.
    """

    def __init__(self, reason: str, message: str, hint: str, result: Result) -> None:
        super().__init__(f"{reason}: {message}", hint)
        self.reason = reason
        self.result = result


class CodeFailed(JobFailed):
    """The code failed; ``result.stderr`` has its stderr.

    The text of the error ends with the last line of stderr. The remote traceback is a note, so it
    is shown as the traceback of a local exception is.

    Attributes:
        last_line: of stderr, for example ``ValueError: no rows``; "" if stderr is empty.
        remote_traceback: text of the traceback; "" if the code printed none.
    """

    def __init__(self, reason: str, message: str, hint: str, result: Result) -> None:
        super().__init__(reason, message, hint, result)
        self.last_line = remote_error.last_line(result.stderr)
        self.remote_traceback = remote_error.remote_traceback(result.stderr)
        remote_error.describe(self, result.stderr)


class OutOfMemory(JobFailed):
    """The code reached its memory limit."""


class ExecutionTimeout(JobFailed):
    """The code ran longer than its timeout."""


class InputError(JobFailed):
    """Inputs or code are missing, wrong or unreadable; the code never ran."""


class OutputError(JobFailed):
    """The code ended, but some of its output files are not stored."""


class Cancelled(JobFailed):
    """The job was cancelled."""


class ImageError(JobFailed):
    """The image cannot be pulled, or it cannot run the launcher."""


class SpecError(JobFailed):
    """The spec of the job cannot be run."""


class PlacementError(JobFailed):
    """No node has room for the pod, it did not start in time, or its network is not isolated."""


class Interrupted(JobFailed):
    """The pod or its node was lost; another run will probably succeed."""


class StorageError(JobFailed):
    """S3 did not answer, or answered with an error."""


R = Reason
BY_REASON: Final[dict[str, type[JobFailed]]] = {
    reason.value: kind
    for kind, reasons in {
        CodeFailed: [R.NON_ZERO_EXIT, R.SIGNALED, *NOT_STARTABLE],
        OutOfMemory: [R.OOM_KILLED],
        ExecutionTimeout: [R.EXECUTION_TIMEOUT, R.DEADLINE_EXCEEDED],
        InputError: [
            R.INPUT_NOT_FOUND, R.INPUT_ACCESS_DENIED, R.INPUT_INCOMPLETE, R.INPUT_TOO_LARGE,
            R.CHECKSUM_MISMATCH, R.PATH_CONFLICT, R.UNSAFE_PATH, R.EMPTY_ARCHIVE,
            R.CORRUPT_ARCHIVE, R.UNSAFE_ARCHIVE, R.ARCHIVE_TOO_LARGE, R.SYNC_FAILED,
            R.INPUT_SYNC_TIMEOUT, R.INPUT_ARCHIVED,
        ],
        OutputError: [R.OUTPUT_UPLOAD_FAILED],
        Cancelled: [R.CANCELLED],
        ImageError: [R.IMAGE_PULL_FAILED, R.RUNTIME_INVALID],
        SpecError: [
            R.INVALID_SPEC, R.NAME_CONFLICT, R.POD_REJECTED, R.CONFIG_ERROR,
            R.FUNCTION_NOT_FOUND, R.VERSION_NOT_FOUND,
        ],
        PlacementError: [
            R.UNSCHEDULABLE, R.START_FAILED, R.STARTUP_TIMEOUT, R.NETWORK_NOT_ENFORCED,
        ],
        Interrupted: [
            R.TERMINATED, R.PREEMPTED, R.NODE_LOST, R.EVICTED, R.POD_LOST, R.SANDBOX_LOST,
            R.AGENT_FAILED, R.RESULT_MISMATCH, R.SUSPENDED, R.PROCESS_REFUSED,
        ],
        StorageError: [
            R.STORAGE_UNAVAILABLE, R.STORAGE_MISCONFIGURED, R.ENCRYPTION_KEY_REFUSED, R.CLOCK_SKEW,
            R.RESULT_UNREADABLE,
        ],
    }.items()
    for reason in reasons
}  # fmt: skip


def job_failed(result: Result) -> JobFailed:
    """The error for the result of a failed job; JobFailed itself for an unknown reason."""
    kind = BY_REASON.get(result.reason, JobFailed)
    message = without_hint(result.reason, result.message)
    message = message or f"the job ended with status {result.status}"
    return kind(result.reason, message, hint_of(result.reason), result)
