"""A process that was started before its job: what a batch execution needs of it.

Types only, which a job without a pool does not import. Standard library only.
"""

from typing import NamedTuple, Protocol

from nanogrid_executor.launcher.spawn import SpawnedProcess
from nanogrid_executor.launcher.usage import UsageSampler


class TakenProcess(NamedTuple):
    """The process that has taken a job, with its usage from then on."""

    process: SpawnedProcess
    usage: UsageSampler
    cpu_before: float  # seconds that are not the job's


class Interpreter(Protocol):
    """An interpreter that may wait: :mod:`nanogrid_executor.launcher.waiting`."""

    def take(
        self, argv: list[str], cwd: str, env: dict[str, str], *, with_stdin: bool
    ) -> TakenProcess | None:
        """The process, which runs the job now; None when the job needs a new process."""
