"""The JSON that travels between operator, pod, S3 and Redis. Standard library only.

``Task`` goes into a pod (environment of its trusted containers), ``Report`` comes back out of it
(POST to the operator), ``Result`` inside the report is what S3 and Redis get, byte for byte as
:func:`dumps` writes it. Unknown keys are ignored when reading, so that an older reader meets a
newer writer without harm; a missing required key raises ``ValueError``.
"""

import json
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

SCHEMA_VERSION = 1

# Caps, in bytes of UTF-8. A result must fit into a Redis message and an HTTP body with room.
STREAM_CAP_BYTES = 64 * 1024
TASK_CAP_BYTES = 120 * 1024  # Linux takes at most 128 KiB in one environment variable
REPORT_CAP_BYTES = 1024 * 1024
TERMINATION_CAP_BYTES = 4096  # the kubelet's limit for one container's termination message

STATUS_SUCCESS = "SUCCESS"
STATUS_FAILED = "FAILED"
STATUS_TIMEOUT = "TIMEOUT"

T = TypeVar("T")


def json_name(name: str) -> str:
    """A field's camelCase name; the older system's ``peakMemoryMB`` is the one exception."""
    if name == "peak_memory_mb":
        return "peakMemoryMB"
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Source:
    """One key, or everything below one prefix, of a bucket."""

    bucket: str
    key: str | None = None
    prefix: str | None = None
    sha256: str | None = None
    version_id: str | None = None

    def uri(self) -> str:
        """``s3://bucket/key`` as people write it."""
        return f"s3://{self.bucket}/{self.key if self.key is not None else self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where an input comes from, where its files go, and what makes it complete."""

    name: str
    s3: S3Source
    mount_path: str
    required: bool = True
    min_files: int = 1
    max_bytes: int | None = None
    unpack: bool = False  # the one key is a ZIP whose files go to mount_path


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules:
    """Which files of the output directory are stored, where, and up to which caps.

    Globs are matched against the path relative to the output directory; ``**`` crosses folders.
    """

    bucket: str
    prefix: str
    path: str
    include: list[str] = field(default_factory=list)  # empty: all
    exclude: list[str] = field(default_factory=list)
    max_files: int = 1000
    max_file_bytes: int = 1 << 30
    max_bytes: int = 4 << 30
    upload_policy: str = "Always"  # Always | OnSuccess | Never
    presigned_expiry_seconds: int | None = None  # None: s3:// URLs


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """How a session lives and ends; times in seconds."""

    idle_timeout_seconds: float
    max_lifetime_seconds: float
    execution_timeout_seconds: float
    max_executions: int = 0  # 0: no limit
    concurrency_policy: str = "Serial"  # Serial | Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything a pod's trusted containers need to know of one attempt at a job."""

    namespace: str
    job: str
    uid: str
    attempt: int
    request_id: str
    execution_timeout_seconds: float
    termination_grace_seconds: float
    command: list[str]
    bucket: str
    outputs: OutputRules
    function_id: str | None = None
    code_inline: str | None = None
    code_s3: S3Source | None = None
    inputs: list[Input] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    memory_limit_bytes: int | None = None
    input_sync_timeout_seconds: float = 300.0
    upload_timeout_seconds: float = 300.0
    log_cap_bytes: int = 10 << 20  # of each stream's full text in S3; 0 stores none
    session: SessionRules | None = None  # None: a batch job


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One file on disk, with what proves it. ``path`` is absolute inside the pod."""

    path: str
    bytes: int
    sha256: str
    source: str
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputReport:
    """What the sync did: counts, and how long it took."""

    files: int
    bytes: int
    duration_millis: int
    retries: int
    manifest: str | None = None  # S3 URI of the manifest, when it could be stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The proof that all inputs are in place; written last, so its presence means complete."""

    report: InputReport
    entries: list[ManifestEntry]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFailure:
    """Termination message of a sync that failed: a reason of :mod:`nanogrid.reasons`."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One stored output file. ``path`` is relative to the output directory."""

    path: str
    url: str
    bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """Which job a result belongs to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Wall time of each phase in milliseconds; None for a phase that did not happen."""

    sync_millis: int | None = None
    start_millis: int | None = None
    execution_millis: int | None = None
    upload_millis: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came out of a job. The first block of keys is the older system's and stays.

    ``exit_code`` is None when the code never ran, and 128 + signal number for a signal.
    ``stdout`` and ``stderr`` hold at most ``STREAM_CAP_BYTES`` each: head and tail of the stream.
    """

    request_id: str
    function_id: str | None
    status: str
    exit_code: int | None
    stdout: str
    stderr: str
    duration_millis: int
    peak_memory_bytes: int | None
    peak_memory_mb: int | None
    optimization_tip: str
    output_files: list[str]

    reason: str
    job: JobRef
    attempt: int = 0
    message: str = ""
    signal: str | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    cpu_millis: int | None = None
    memory_source: str | None = None
    stdout_url: str | None = None  # full text in S3, up to the log cap
    stderr_url: str | None = None
    outputs: list[OutputFile] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    executions: int | None = None  # of a session
    schema_version: int = SCHEMA_VERSION


def blank_result(
    *,
    request_id: str,
    function_id: str | None,
    status: str,
    reason: str,
    job: JobRef,
    attempt: int,
    message: str,
) -> Result:
    """A result without anything that an execution adds: the code has not run, or not told yet."""
    return Result(
        request_id=request_id,
        function_id=function_id,
        status=status,
        exit_code=None,
        stdout="",
        stderr="",
        duration_millis=0,
        peak_memory_bytes=None,
        peak_memory_mb=None,
        optimization_tip="",
        output_files=[],
        reason=reason,
        job=job,
        attempt=attempt,
        message=message,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the agent POSTs: the result, and what the operator needs beside it.

    ``final`` is False when the agent saw the sandbox go without a report: only the kubelet knows
    why, and the operator completes the result with the kubelet's word. ``stored`` is False when S3
    did not take the result from the agent: the operator stores it then.
    """

    attempt: int
    result: Result
    inputs: InputReport | None = None
    final: bool = True
    stored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """What a session's agent POSTs while it lives; the newest one supersedes all before it.

    ``last_activity_millis`` is an age, not a time of day, so that clocks need not agree.
    """

    uid: str
    attempt: int
    ready: bool
    executions: int
    running: int | None
    last_activity_millis: int
    restarts: int = 0


def to_dict(value: Any) -> Any:
    """Plain JSON data of a wire value; keys are camelCase."""
    if is_dataclass(value):
        return {json_name(f.name): to_dict(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list):
        return [to_dict(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """The one way a wire value is written: compact, UTF-8, fields in their declared order."""
    return json.dumps(to_dict(value), ensure_ascii=False, separators=(",", ":"))


def loads(cls: type[T], text: str | bytes) -> T:
    """Read a wire value.

    Raises:
        ValueError: the text is not JSON, or a key is missing or of the wrong type.
    """
    try:
        return from_dict(cls, json.loads(text))
    except RecursionError:
        raise ValueError(f"{cls.__name__}: nested too deeply") from None


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build a wire dataclass from JSON data, checking types; see :func:`loads`."""
    if not isinstance(data, dict):
        raise ValueError(f"{where or cls.__name__}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for f in fields(cls):  # type: ignore[arg-type]  # cls is a dataclass by contract
        key = json_name(f.name)
        if key in data:
            values[f.name] = _read(hints[f.name], data[key], f"{where}.{key}" if where else key)
        elif _optional(hints[f.name]):
            # The API server drops nulls from a status: absent means null.
            values[f.name] = None if f.default is MISSING else f.default
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where or cls.__name__}: {key} is missing")
    return cls(**values)


def _optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _read(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    origin = typing.get_origin(hint)
    if origin is list:
        (item,) = typing.get_args(hint)
        return [_read(item, v, f"{where}[{i}]") for i, v in enumerate(_typed(list, value, where))]
    if origin is dict:
        _, item = typing.get_args(hint)
        return {k: _read(item, v, f"{where}.{k}") for k, v in _typed(dict, value, where).items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _typed(hint, value, where)


def _typed(hint: Any, value: Any, where: str) -> Any:
    # bool is an int to Python and not to JSON.
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {hint.__name__}, got {type(value).__name__}")
    if isinstance(value, str) and not value.isascii():
        # JSON can hold half a surrogate pair, which no UTF-8 can: it becomes a question mark.
        return value.encode("utf-8", "replace").decode()
    return value
