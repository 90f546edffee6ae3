"""Bounds of everything that a sandbox reports about its own run. Pure, standard library only.

A job's own image can contain a hostile launcher, so no number, name or text of a sandbox is
trusted. The agent applies these bounds where it reads the launcher's frames. The operator applies
them again where it reads a report or a stored result. A value within the bounds is unchanged, and a
bound never turns a failure into a success.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from nanogrid import wire
from nanogrid.record import replace

MAX_COUNT: Final = 2**53 - 1  # bytes, numbers of things: exact in JSON readers that use doubles
MAX_MILLIS: Final = 10 * 366 * 86_400 * 1000  # ten years: no time that it is added to overflows
MAX_EXIT_CODE: Final = 255  # also stands for an impossible exit code, because it is a failure
SIGNAL_CHARACTERS: Final = 16
UNKNOWN_SIGNAL: Final = "SIGUNKNOWN"  # stands for an impossible name

# In bytes of UTF-8.
MESSAGE_BYTES: Final = 2048
TIP_BYTES: Final = 1024
NAME_BYTES: Final = 253
WORD_BYTES: Final = 64  # reasons, sources of a measurement, checksums
URL_BYTES: Final = 8192
KEY_BYTES: Final = 1024
NOTE_BYTES: Final = 512

MAX_NOTES: Final = 3

_STATUSES: Final = frozenset({wire.STATUS_SUCCESS, wire.STATUS_FAILED, wire.STATUS_TIMEOUT})
T = TypeVar("T")


def count(value: int) -> int:
    """A number of bytes or of things."""
    return max(0, min(value, MAX_COUNT))


def millis(value: int) -> int:
    """A duration in milliseconds."""
    return max(0, min(value, MAX_MILLIS))


def exit_code(value: int) -> int:
    """An exit code: 0 to 255; everything else becomes 255."""
    return value if 0 <= value <= MAX_EXIT_CODE else MAX_EXIT_CODE


def signal_name(value: str) -> str:
    """The name of a signal, such as ``SIGKILL`` or ``SIG35``."""
    known = value.startswith("SIG") and value.isascii() and value.isalnum() and value.isupper()
    return value if known and 3 < len(value) <= SIGNAL_CHARACTERS else UNKNOWN_SIGNAL


def text(value: str, cap: int) -> str:
    """The beginning of a text, in at most ``cap`` bytes of UTF-8."""
    return value.encode(errors="replace")[:cap].decode(errors="ignore")


def optional(bound: Callable[[T], T], value: T | None) -> T | None:
    """A value within its bound; None stays None."""
    return None if value is None else bound(value)


def message(value: str) -> str:
    """A text for people: an error, a message."""
    return text(value, MESSAGE_BYTES)


def word(value: str) -> str:
    """A short word of a fixed vocabulary."""
    return text(value, WORD_BYTES)


def result(value: wire.Result) -> wire.Result:
    """A result within its bounds; a status that does not exist is a failure."""
    return replace(
        _output(value),
        request_id=text(value.request_id, NAME_BYTES),
        function_id=optional(_name, value.function_id),
        status=value.status if value.status in _STATUSES else wire.STATUS_FAILED,
        exit_code=optional(exit_code, value.exit_code),
        signal=optional(signal_name, value.signal),
        reason=word(value.reason),
        message=message(value.message),
        optimization_tip=text(value.optimization_tip, TIP_BYTES),
        duration_millis=millis(value.duration_millis),
        cpu_millis=optional(millis, value.cpu_millis),
        peak_memory_bytes=optional(count, value.peak_memory_bytes),
        peak_memory_mb=optional(count, value.peak_memory_mb),
        memory_source=optional(word, value.memory_source),
        job=wire.JobRef(
            namespace=_name(value.job.namespace),
            name=_name(value.job.name),
            uid=_name(value.job.uid),
        ),
        attempt=count(value.attempt),
        timings=wire.Timings(
            sync_millis=optional(millis, value.timings.sync_millis),
            start_millis=optional(millis, value.timings.start_millis),
            execution_millis=optional(millis, value.timings.execution_millis),
            upload_millis=optional(millis, value.timings.upload_millis),
        ),
        output_bytes=optional(count, value.output_bytes),
        outputs_note=message(value.outputs_note),
        executions=optional(count, value.executions),
        schema_version=count(value.schema_version),
    )


def report(value: wire.Report) -> wire.Report:
    """A report within its bounds."""
    return replace(
        value,
        attempt=count(value.attempt),
        result=result(value.result),
        inputs=optional(_inputs, value.inputs),
    )


def session_report(value: wire.SessionReport) -> wire.SessionReport:
    """A session's report within its bounds."""
    return replace(
        value,
        attempt=count(value.attempt),
        executions=count(value.executions),
        running=optional(count, value.running),
        last_activity_millis=millis(value.last_activity_millis),
        restarts=count(value.restarts),
        memory_bytes=optional(count, value.memory_bytes),
        peak_memory_bytes=optional(count, value.peak_memory_bytes),
    )


def memory_report(value: wire.MemoryReport) -> wire.MemoryReport:
    """A report of running code's memory within its bounds."""
    return replace(
        value,
        attempt=count(value.attempt),
        memory_bytes=count(value.memory_bytes),
        peak_memory_bytes=count(value.peak_memory_bytes),
    )


def _output(value: wire.Result) -> wire.Result:
    stdout = text(value.stdout, wire.STREAM_CAP_BYTES)
    stderr = text(value.stderr, wire.STREAM_CAP_BYTES)
    return replace(
        value,
        stdout=stdout,
        stderr=stderr,
        stdout_bytes=count(value.stdout_bytes),
        stderr_bytes=count(value.stderr_bytes),
        stdout_truncated=value.stdout_truncated or stdout != value.stdout,
        stderr_truncated=value.stderr_truncated or stderr != value.stderr,
        stdout_encoding=_encoding(value.stdout_encoding),
        stderr_encoding=_encoding(value.stderr_encoding),
        stdout_url=optional(_url, value.stdout_url),
        stderr_url=optional(_url, value.stderr_url),
        output_files=[_url(each) for each in value.output_files],
        outputs=[_file(each) for each in value.outputs],
    )


def _encoding(value: str) -> str:
    return wire.ENCODING_BINARY if value == wire.ENCODING_BINARY else wire.ENCODING_TEXT


def _file(value: wire.OutputFile) -> wire.OutputFile:
    return wire.OutputFile(
        path=text(value.path, KEY_BYTES),
        url=_url(value.url),
        bytes=count(value.bytes),
        sha256=word(value.sha256),
        content_type=text(value.content_type, NAME_BYTES),
    )


def _inputs(value: wire.InputReport) -> wire.InputReport:
    return wire.InputReport(
        files=count(value.files),
        bytes=count(value.bytes),
        duration_millis=millis(value.duration_millis),
        retries=count(value.retries),
        manifest=optional(message, value.manifest),
        notes=[text(each, NOTE_BYTES) for each in value.notes[:MAX_NOTES]],
    )


def _name(value: str) -> str:
    return text(value, NAME_BYTES)


def _url(value: str) -> str:
    return text(value, URL_BYTES)
