"""Jobs that end in each way, with what a person does meanwhile."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaos.ledger import Ledger
from chaos.proof import Starts
from e2e.support import Namespace, eventually, inline, kubectl_json, zip_of
from nanogrid import names

Json = dict[str, Any]
INPUT_PREFIX = "in/scenario/"
CODE_KEY = "functions/scenario/v1.zip"
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


def a_function(name: str, *archives: bytes) -> Json:
    """A Function whose versions have these ZIPs; only the first one is in S3."""
    versions = [
        {
            "version": number,
            "s3": {
                "key": CODE_KEY if number == 1 else f"{CODE_KEY}.{number}",
                "sha256": hashlib.sha256(archive).hexdigest(),
            },
            "createdAt": "2025-10-06T06:30:14Z",
        }
        for number, archive in enumerate(archives, start=1)
    ]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.FUNCTION_KIND,
        "metadata": {"name": name},
        "spec": {"versions": versions},
    }


def upload_another(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Add a version that cannot run, as soon as it is written down what the job runs."""

    def pinned() -> bool:
        job = ledger.named(name)
        return job is not None and "function" in job.status

    ledger.wait(f"the function of {name} is pinned", pinned, 60)
    version = a_function(name, b"", b"")["spec"]["versions"][1]
    add = [{"op": "add", "path": "/spec/versions/-", "value": version}]
    namespace.kubectl("patch", "fn", name, "--type=json", "-p", json.dumps(add))


@dataclass(frozen=True)
class Scenario:
    """A job and its end; ``attempts`` is how many pods it has."""

    name: str
    code: str
    reason: str
    attempts: int = 1
    step: Step | None = None
    spec: tuple[tuple[str, Any], ...] = ()
    by_reference: bool = False

    def __str__(self) -> str:
        return self.name

    def manifest(self, job: str, starts: Starts) -> Json:
        """The job; its requestId is its name with the namespace left out, so it must be unique."""
        return inline(job, starts.marked(self.code), requestId=f"req-{job}", **dict(self.spec))

    def manifests(self, job: str, starts: Starts) -> list[Json]:
        """The job, after the function of the same name to which it refers, if it does."""
        made = self.manifest(job, starts)
        if not self.by_reference:
            return [made]
        del made["spec"]["code"]
        made["spec"]["functionRef"] = {"name": job}
        return [a_function(job, self.archive(starts)), made]

    def archive(self, starts: Starts) -> bytes:
        """The ZIP of the code, which is to be in S3 below :data:`CODE_KEY`."""
        return zip_of(main__py=starts.marked(self.code))

    def run(self, namespace: Namespace, ledger: Ledger, job: str) -> None:
        """Do what a person does after applying it."""
        if self.step is not None:
            self.step(namespace, ledger, job)

    def runs_counted(self, namespace: Namespace, job: str) -> int | None:
        """How many runs the job's function has told of, once it has; None without a function."""
        if not self.by_reference:
            return None

        def told() -> int:
            found = kubectl_json("--namespace", namespace.name, "get", "fn", job)
            return int((found.get("status") or {}).get("runs", 0))

        return int(eventually(f"the run of {job} is counted", told, 90))


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
# Its first attempt fails, and there is a newer version by then, whose code is none.
FUNCTION = Scenario(
    "function",
    RETRIED.code,
    "Completed",
    attempts=2,
    step=upload_another,
    spec=(("backoffLimit", 1), ("failurePolicy", {"backoff": {"initialSeconds": 2}})),
    by_reference=True,
)
EVERY = (SUCCESS, WITH_INPUT, FAILURE, RETRIED, CANCELLED, SUSPENDED, FUNCTION)
