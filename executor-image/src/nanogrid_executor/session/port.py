"""What the HTTP side of a session needs of its sandbox, and nothing more.

The sandbox side implements :class:`SandboxPort` over the launcher's socket; tests of the HTTP side
implement it in a few lines.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOrder:
    """One run of code.

    ``context`` names a long-lived Python process whose variables live on; None is a process of its
    own. ``shell`` runs the code with a shell instead of Python; a context is not used then.
    """

    number: int
    code: str
    context: str | None = None
    shell: bool = False
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    timeout_seconds: float
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEnd:
    """How an execution ended.

    ``exit_code`` is 0 or 1 for code in a context (1: an exception, whose traceback is in stderr),
    128 + signal for a signal, None when the sandbox went away under it. Peak memory and CPU time
    are of this execution alone. ``error`` says why the code could not be started. ``context_new``
    says that its context began with it: variables of earlier executions were not there.
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


class Sink(Protocol):
    """Takes what an execution gives while it runs; called from one thread, in order."""

    def started(self, start_millis: int) -> None:
        """The code runs; so many milliseconds after it was asked for."""

    def output(self, stream: Stream, data: bytes) -> None:
        """A piece of stdout or stderr."""

    def display(self, bundle: dict[str, str]) -> None:
        """A rich result: MIME type to text, or to base64 for binary types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextInfo:
    """One living context."""

    name: str
    executions: int
    busy: bool
    age_seconds: float
    memory_bytes: int | None


class SandboxPort(Protocol):
    """The sandbox of a session. Methods may be called from any thread."""

    @property
    def restarts(self) -> int:
        """How often a launcher connected after the first one."""

    @property
    def available(self) -> bool:
        """Whether a launcher is connected."""

    def wait_available(self, seconds: float) -> bool:
        """Wait for a launcher; False when none came in time."""

    def run(self, order: ExecutionOrder, sink: Sink) -> ExecutionEnd:
        """Run one execution to its end; never raises for what the code or the sandbox does."""

    def interrupt(self, number: int) -> bool:
        """Ask a running execution to stop; False when it does not run."""

    def contexts(self) -> list[ContextInfo]:
        """The living contexts."""

    def drop_context(self, name: str) -> bool:
        """End a context's process; False when there is none of that name."""

    def close(self) -> None:
        """Let the launcher end; it ends every process of the sandbox and exits with 0."""
