"""Jobs that end in each way, with what a person does meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaos.ledger import Ledger
from chaos.proof import Starts
from e2e.support import Namespace, inline

Json = dict[str, Any]
INPUT_PREFIX = "in/scenario/"
NEXT_ATTEMPT = "import socket\nfirst = socket.gethostname().endswith('-0')\n"

Step = Callable[[Namespace, Ledger, str], None]


def _patch(namespace: Namespace, name: str, text: str) -> None:
    namespace.kubectl("patch", "ej", name, "--type=merge", "-p", f'{{"spec":{{{text}}}}}')


def cancel(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Cancel the job when its code runs."""
    ledger.wait_running(name, 0)
    _patch(namespace, name, '"cancel":true')


def suspend_and_resume(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Suspend the job when its code runs, and resume it when it is suspended."""
    ledger.wait_running(name, 0)
    _patch(namespace, name, '"suspend":true')

    def suspended() -> bool:
        job = ledger.named(name)
        return job is not None and job.phases[-1][1] == "Suspended"

    ledger.wait(f"{name} is suspended", suspended, 60)
    _patch(namespace, name, '"suspend":false')


@dataclass(frozen=True)
class Scenario:
    """A job and its end; ``attempts`` is how many pods it has."""

    name: str
    code: str
    reason: str
    attempts: int = 1
    step: Step | None = None
    spec: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.name

    def manifest(self, job: str, starts: Starts) -> Json:
        """The job; its requestId is its name with the namespace left out, so it must be unique."""
        return inline(job, starts.marked(self.code), requestId=f"req-{job}", **dict(self.spec))

    def run(self, namespace: Namespace, ledger: Ledger, job: str) -> None:
        """Do what a person does after applying it."""
        if self.step is not None:
            self.step(namespace, ledger, job)


RETRY = {"backoff": {"initialSeconds": 0}}
SUCCESS = Scenario("success", "print('ok')", "Completed")
WITH_INPUT = Scenario(
    "input",
    "print(open('data/a.txt').read())",
    "Completed",
    spec=(("inputs", [{"name": "in", "s3": {"prefix": INPUT_PREFIX}}]),),
)
FAILURE = Scenario("failure", "raise SystemExit(3)", "NonZeroExit")
OOM = Scenario("oom", "x = bytearray(400 << 20)", "OOMKilled")
TIMEOUT = Scenario(
    "timeout",
    "import time; time.sleep(600)",
    "ExecutionTimeout",
    spec=(("timeouts", {"executionSeconds": 2}),),
)
RETRIED = Scenario(
    "retried",
    NEXT_ATTEMPT + "raise SystemExit(4 if first else 0)",
    "Completed",
    attempts=2,
    spec=(("backoffLimit", 1), ("failurePolicy", RETRY)),
)
CANCELLED = Scenario("cancelled", "import time; time.sleep(600)", "Cancelled", step=cancel)
SUSPENDED = Scenario(
    "suspended",
    NEXT_ATTEMPT + "import time; time.sleep(600 if first else 0)",
    "Completed",
    attempts=2,
    step=suspend_and_resume,
)
EVERY = (SUCCESS, WITH_INPUT, FAILURE, RETRIED, CANCELLED, SUSPENDED)
