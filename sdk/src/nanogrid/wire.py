"""The JSON that operator, pod, S3 and Redis exchange. Standard library only.

``PodTask`` goes into a pod, in the environment of its trusted containers. ``Report`` comes back by
POST to the operator. The ``Result`` in the report is stored in S3 and Redis, byte for byte as
:func:`dumps` writes it. Readers ignore unknown keys, so an older reader accepts the data of a newer
writer. A missing required key raises ``ValueError``.
"""

import json
import types
import typing
from typing import Any, TypeVar

from nanogrid import json_text
from nanogrid.record import Record, field, has_default, plain_default, types_of

SCHEMA_VERSION = 1

# Limits in bytes of UTF-8. A result must fit into a Redis message and into an HTTP body.
STREAM_CAP_BYTES = 64 * 1024
TASK_CAP_BYTES = 120 * 1024  # Linux allows 128 KiB per environment variable
REPORT_CAP_BYTES = 1024 * 1024
TERMINATION_CAP_BYTES = 4096  # limit of the kubelet for a termination message

# What a stream is: text, or bytes that are not UTF-8. Its text then has U+FFFD in their place.
ENCODING_TEXT = "utf-8"
ENCODING_BINARY = "binary"

STATUS_SUCCESS = "SUCCESS"
STATUS_FAILED = "FAILED"
STATUS_TIMEOUT = "TIMEOUT"

T = TypeVar("T", bound=Record)


def json_name(name: str) -> str:
    """The camelCase name of a field; only ``peakMemoryMB`` of the older system is different."""
    if name == "peak_memory_mb":
        return "peakMemoryMB"
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class S3Source(Record):
    """One object of a bucket, or all objects below a prefix."""

    bucket: str
    key: str | None = None
    prefix: str | None = None
    sha256: str | None = None
    version_id: str | None = None

    def uri(self) -> str:
        """The source as ``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key if self.key is not None else self.prefix}"


class Input(Record):
    """Source of an input, folder of its files, and the test that it is complete."""

    name: str
    s3: S3Source
    mount_path: str
    required: bool = True
    min_files: int = 1
    max_bytes: int | None = None
    unpack: bool = False  # the object is a ZIP and is unpacked into mount_path


class OutputRules(Record):
    """Files of the output directory to store, their destination, and limits.

    Globs (:mod:`nanogrid.globs`) match the path relative to the output directory.
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


class SessionRules(Record):
    """Limits of a session; times in seconds."""

    idle_timeout_seconds: float
    max_lifetime_seconds: float
    execution_timeout_seconds: float
    max_executions: int = 0  # 0: no limit
    concurrency_policy: str = "Serial"  # Serial | Reject
    drain_seconds: float = 0.0  # that the API answers after the end, for load balancers in front


class PodTask(Record):
    """All data of an attempt that the trusted containers of its pod need."""

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
    log_cap_bytes: int = 10 << 20  # limit for the full text of each stream in S3; 0 stores none
    session: SessionRules | None = None  # None: a batch job
    gate_port: int | None = None  # code waits until the results host's port is closed; None: no
    root: str = ""  # of the namespace in the bucket: empty, or a path that ends with a slash
    inputs_by_agent: bool = False  # the agent syncs the inputs, there is no init container for it

    def key(self, relative: str) -> str:
        """The S3 key of a name of :mod:`nanogrid.names`, below the root of the namespace."""
        return self.root + relative


class PoolTask(Record):
    """What the agent of a pool's pod knows before a job claims the pod."""

    namespace: str
    pool: str
    gate_port: int | None = None  # as in PodTask; tested while the pod waits
    session: bool = False  # the pod waits for a session


class HandOver(Record):
    """The line that ends the wait of a pool's agent at ``names.TASK_PATH``: its job.

    ``result_key`` is the key of the job's results, ``role_session`` the name for the S3 role, if
    there is one. Before it, the answer has empty lines, so that both sides notice a dead peer.
    ``session_token`` is the bearer token of a session, empty if its spec disables tokens. A session
    without this field is not served.
    """

    task: PodTask
    result_key: str = ""
    role_session: str = ""
    session_token: str | None = None


class ManifestEntry(Record):
    """A copied file with its size and checksum. ``path`` is absolute inside the pod."""

    path: str
    bytes: int
    sha256: str
    source: str
    etag: str | None = None


class InputReport(Record):
    """Counts and duration of the input sync."""

    files: int
    bytes: int
    duration_millis: int
    retries: int
    manifest: str | None = None  # S3 URI of the manifest, if it is stored
    notes: list[str] = field(default_factory=list)  # what the sync had to guess, for people


class Manifest(Record):
    """The list of all copied files. It is written last, so it exists only after a complete sync.

    ``shipped`` has the files of the code's ZIP below the output directory, relative to it, with the
    time of the last change of each (``st_ctime_ns``). User code cannot set that time.
    """

    report: InputReport
    entries: list[ManifestEntry]
    shipped: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


class SyncFailure(Record):
    """Termination message of a failed sync; the reason is one of :mod:`nanogrid.reasons`."""

    reason: str
    message: str


class OutputFile(Record):
    """A stored output file. ``path`` is relative to the output directory."""

    path: str
    url: str
    bytes: int
    sha256: str
    content_type: str


class JobRef(Record):
    """The job of a result."""

    namespace: str
    name: str
    uid: str


class Timings(Record):
    """Wall time of each phase in milliseconds; None if the phase did not happen."""

    sync_millis: int | None = None
    start_millis: int | None = None
    execution_millis: int | None = None
    upload_millis: int | None = None


class Result(Record):
    """The result of a job. The first block of keys is from the older system and does not change.

    ``exit_code`` is None if the code never ran, and 128 + signal number after a signal.
    ``stdout`` and ``stderr`` have at most ``STREAM_CAP_BYTES`` each: head and tail of the stream.
    If ``stdout_encoding`` is ``ENCODING_BINARY``, only S3 has the exact bytes.
    ``namespace`` is the tenant, empty in results of older versions. ``authentication`` is the code
    of :mod:`nanogrid.result_auth`.
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
    namespace: str = ""
    job: JobRef
    attempt: int = 0
    message: str = ""
    signal: str | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    stdout_encoding: str = ENCODING_TEXT
    stderr_encoding: str = ENCODING_TEXT
    cpu_millis: int | None = None
    memory_source: str | None = None
    stdout_url: str | None = None  # full text in S3, up to the log limit
    stderr_url: str | None = None
    outputs: list[OutputFile] = field(default_factory=list)
    output_bytes: int | None = None  # of all stored outputs, also those that `outputs` lacks
    outputs_note: str = ""  # what spec.outputs' patterns leave out by mistake, as it seems
    timings: Timings = field(default_factory=Timings)
    executions: int | None = None  # only of a session
    schema_version: int = SCHEMA_VERSION
    authentication: str | None = None


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
    """A result without the data of an execution: the code has not run or not reported."""
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
        namespace=job.namespace,
        job=job,
        attempt=attempt,
        message=message,
    )


class Report(Record):
    """The agent's POST: the result, and further data for the operator.

    ``final`` is False when the sandbox ended without a report. Only the kubelet knows the cause, so
    the operator completes the result from the kubelet's status. ``stored`` is False when the agent
    could not store the result in S3. Then the operator stores it.
    """

    attempt: int
    result: Result
    inputs: InputReport | None = None
    final: bool = True
    stored: bool = True


class SessionReport(Record):
    """The POST of a session's agent during the session; the newest one replaces all earlier ones.

    ``last_activity_millis`` is an age, not a time of day, so it does not depend on equal clocks.
    """

    uid: str
    attempt: int
    ready: bool
    executions: int
    running: int | None
    last_activity_millis: int
    restarts: int = 0
    memory_bytes: int | None = None  # of the whole sandbox now
    peak_memory_bytes: int | None = None  # of the execution that needed most


class MemoryReport(Record):
    """The POST of a batch job's agent while code runs; the newest one replaces all earlier ones.

    It is for people: no decision and no result uses it.
    """

    uid: str
    attempt: int
    memory_bytes: int
    peak_memory_bytes: int


_known_names: dict[type[Record], tuple[tuple[str, str], ...]] = {}


def _names(cls: type[Record]) -> tuple[tuple[str, str], ...]:
    """The fields of a class, each with its key in JSON."""
    found = _known_names.get(cls)
    if found is None:
        found = tuple((name, json_name(name)) for name in types_of(cls))
        _known_names[cls] = found
    return found


def to_dict(value: Any) -> Any:
    """Plain JSON data of a wire value; keys are camelCase."""
    if isinstance(value, Record):
        return {key: to_dict(getattr(value, name)) for name, key in _names(type(value))}
    if isinstance(value, list):
        return [to_dict(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """The JSON text of a wire value: compact, UTF-8, fields in their declared order."""
    return json.dumps(to_dict(value), ensure_ascii=False, separators=(",", ":"))


def loads(cls: type[T], text: str | bytes) -> T:
    """Read a wire value.

    Raises:
        ValueError: the text is not JSON, or a key is missing or has the wrong type.
    """
    return from_dict(cls, json_text.parse(text))


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build a wire value from JSON data and check its types; see :func:`loads`."""
    if not isinstance(data, dict):
        raise ValueError(f"{where or cls.__name__}: expected an object, got {type(data).__name__}")
    values: dict[str, Any] = {}
    hints = types_of(cls)
    for name, key in _names(cls):
        hint = hints[name]
        if key in data:
            values[name] = _read(hint, data[key], f"{where}.{key}" if where else key)
        elif _optional(hint):
            # The API server removes nulls from a status, so absent means null.
            values[name] = plain_default(cls, name)
        elif not has_default(cls, name):
            raise ValueError(f"{where or cls.__name__}: {key} is missing")
    return cls(**values)


def _optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _read(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if isinstance(hint, type) and issubclass(hint, Record):
        return from_dict(hint, value, where)
    origin = typing.get_origin(hint)
    if origin is list:
        (item,) = typing.get_args(hint)
        return [_read(item, v, f"{where}[{i}]") for i, v in enumerate(_typed(list, value, where))]
    if origin is dict:
        _, item = typing.get_args(hint)
        return {k: _read(item, v, f"{where}.{k}") for k, v in _typed(dict, value, where).items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{where}: the number is too large") from None
    return _typed(hint, value, where)


def _typed(hint: Any, value: Any, where: str) -> Any:
    # In Python a bool is an int, in JSON it is not.
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {hint.__name__}, got {type(value).__name__}")
    if isinstance(value, str) and not value.isascii():
        # JSON can express half a surrogate pair, UTF-8 cannot. It becomes a question mark.
        return value.encode("utf-8", "replace").decode()
    return value
