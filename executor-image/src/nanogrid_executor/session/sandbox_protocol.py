"""What the HTTP side of a session needs of its sandbox.

:class:`nanogrid_executor.session.sandbox.LauncherSandbox` implements :class:`SandboxProtocol` over
the launcher's socket. Tests of the HTTP side implement it in a few lines.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from nanogrid import source_encoding
from nanogrid.record import Record

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """The code to run, and how.

    ``context`` names a long-lived Python process whose variables live on; None gives the code a
    process of its own. With ``shell`` a shell runs the code instead of Python; ``context`` is not
    used then. Processes that the code starts may read it from a file in ``encoding``.
    With ``keep_processes`` those that run at its end continue until the session ends.
    """

    number: int
    code: str
    encoding: str = source_encoding.UTF8
    context: str | None = None
    shell: bool = False
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    keep_processes: bool = False
    timeout_seconds: float
    grace_seconds: float


class ExecutionEnd(Record):
    """How an execution ended.

    ``exit_code`` is 0 or 1 for code in a context (1: an exception, its traceback is in stderr),
    128 + signal for a signal, None when the sandbox was lost while the code ran. Peak memory and
    CPU time are those of this execution alone. ``error`` says why the code could not be started,
    and ``error_cause`` is one of :mod:`nanogrid_executor.launcher.start_failure`. ``context_new``
    says that this execution created its context: there were no variables before.
    """

    exit_code: int | None
    signal: str | None = None
    timed_out: bool = False
    interrupted: bool = False
    oom_killed: bool = False
    sandbox_lost: bool = False
    context_lost: bool = False
    context_new: bool = False
    duration_millis: int = 0
    cpu_millis: int | None = None
    peak_memory_bytes: int | None = None
    memory_source: str | None = None
    error: str | None = None
    error_cause: str | None = None


class Sink(Protocol):
    """Receives the output of a running execution; called from one thread, in order."""

    def started(self, start_millis: int) -> None:
        """The code runs, ``start_millis`` after the request."""

    def output(self, stream: Stream, data: bytes) -> None:
        """A piece of stdout or stderr."""

    def display(self, bundle: dict[str, str]) -> None:
        """A rich result: MIME type to text, or to base64 for binary types."""


class ContextInfo(Record):
    """One running context."""

    name: str
    executions: int
    busy: bool
    age_seconds: float
    memory_bytes: int | None


class SandboxProtocol(Protocol):
    """The sandbox of a session. All methods are thread-safe."""

    @property
    def restarts(self) -> int:
        """How many launchers connected after the first one."""

    @property
    def available(self) -> bool:
        """Whether a launcher is connected."""

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the whole sandbox; None if it is not known."""

    def wait_available(self, seconds: float) -> bool:
        """Wait for a launcher; False when none connected in time."""

    def run(self, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd:
        """Run one execution to its end; no failure of the code or the sandbox raises."""

    def interrupt(self, number: int) -> bool:
        """Ask a running execution to stop; False when it does not run."""

    def contexts(self) -> list[ContextInfo]:
        """The running contexts."""

    def drop_context(self, name: str) -> bool:
        """End a context's process; False when there is no context of that name."""

    def close(self) -> None:
        """Let the launcher kill every process of the sandbox and exit with 0."""
