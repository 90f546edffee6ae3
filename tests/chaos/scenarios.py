"""Jobs for each kind of end, with what a user does while they run."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from chaos.ledger import Ledger
from chaos.pools import POOL
from chaos.starts import Starts
from nanogrid import names
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl_json, zip_of

INPUT_PREFIX = "in/scenario/"
CODE_KEY = "functions/scenario/v1.zip"
NEXT_ATTEMPT = "import socket\nfirst = socket.gethostname().endswith('-0')\n"

Step = Callable[[Namespace, Ledger, str], None]


def cancel(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Cancel the job once its code runs."""
    ledger.wait_running(name, 0)
    namespace.patch(name, cancel=True)


def suspend_and_resume(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Suspend the job once its code runs, and resume it once it is suspended."""
    ledger.wait_running(name, 0)
    namespace.patch(name, suspend=True)

    def suspended() -> bool:
        job = ledger.named(name)
        return job is not None and job.phases[-1][1] == "Suspended"

    ledger.wait(f"{name} is suspended", suspended, 180)
    namespace.patch(name, suspend=False)


def a_function(name: str, *archives: bytes) -> Json:
    """A Function with a version for each ZIP; only the first ZIP is in S3."""
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


def add_version(namespace: Namespace, ledger: Ledger, name: str) -> None:
    """Add a version that cannot run, as soon as the status pins the job's version."""

    def pinned() -> bool:
        job = ledger.named(name)
        return job is not None and "function" in job.status

    ledger.wait(f"the function of {name} is pinned", pinned, 180)
    version = a_function(name, b"", b"")["spec"]["versions"][1]
    add = [{"op": "add", "path": "/spec/versions/-", "value": version}]
    namespace.kubectl("patch", "fn", name, "--type=json", "-p", json.dumps(add))


@dataclass(frozen=True)
class Scenario:
    """A job and its expected end; ``attempts`` is the number of its pods."""

    name: str
    code: str
    reason: str
    attempts: int = 1
    step: Step | None = None
    spec: tuple[tuple[str, Any], ...] = ()
    by_reference: bool = False
    warm: bool = False  # its namespace has a pool

    def __str__(self) -> str:
        return self.name

    def manifest(self, job: str, starts: Starts) -> Json:
        """The job. Its requestId comes from its name alone, so the name must be unique."""
        code = starts.marked(self.code, job)
        return inline(job, code, requestId=f"req-{job}", **dict(self.spec))

    def manifests(self, job: str, starts: Starts) -> list[Json]:
        """The job; before it the function with the same name, if the job refers to one."""
        manifest = self.manifest(job, starts)
        if not self.by_reference:
            return [manifest]
        del manifest["spec"]["code"]
        manifest["spec"]["functionRef"] = {"name": job}
        return [a_function(job, self.archive(starts)), manifest]

    def archive(self, starts: Starts) -> bytes:
        """The ZIP of the code; it must be in S3 at :data:`CODE_KEY`."""
        return zip_of(main__py=starts.marked(self.code))

    def run(self, namespace: Namespace, ledger: Ledger, job: str) -> None:
        """Do what a user does after applying the job."""
        if self.step is not None:
            self.step(namespace, ledger, job)

    def runs_counted(self, namespace: Namespace, job: str) -> int | None:
        """Wait for the run count of the job's function and return it; None without a function."""
        if not self.by_reference:
            return None

        def counted() -> int:
            found = kubectl_json("--namespace", namespace.name, "get", "fn", job)
            return int((found.get("status") or {}).get("runs", 0))

        return int(eventually(f"the run of {job} is counted", counted))


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
# Its first attempt fails; by then a newer version exists, and its code is not in S3.
FUNCTION = Scenario(
    "function",
    RETRIED.code,
    "Completed",
    attempts=2,
    step=add_version,
    spec=RETRIED.spec,
    by_reference=True,
)
WARM = Scenario("warm", "print('ok')", "Completed", spec=(("poolRef", {"name": POOL}),), warm=True)
WARM_INPUT = Scenario(
    "warm-input", WITH_INPUT.code, "Completed", spec=(*WARM.spec, *WITH_INPUT.spec), warm=True
)
# The name of a pool's pod does not have the number of the attempt, so each attempt fails.
WARM_FAILURE = Scenario(
    "warm-failure",
    "raise SystemExit(4)",
    "NonZeroExit",
    attempts=2,
    spec=(*WARM.spec, ("backoffLimit", 1), ("failurePolicy", RETRY)),
    warm=True,
)
ALL_SCENARIOS = (SUCCESS, WITH_INPUT, FAILURE, RETRIED, CANCELLED, SUSPENDED, FUNCTION)


def mixed(count: int, prefix: str) -> dict[str, Scenario]:
    """``count`` jobs of several kinds, by name."""
    kinds = islice(cycle((SUCCESS, FAILURE, RETRIED)), count)
    return {f"{prefix}-{number}": kind for number, kind in enumerate(kinds)}
