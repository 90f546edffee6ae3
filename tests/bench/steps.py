"""What a user does in a day, with `nanogrid` and with `kubectl` and batch/v1 Jobs, in turn.

Needs the cluster (KUBECONFIG); the Jobs use the image of our sandboxes. Prints for each step the
seconds of both sides, as whole processes, and how many commands each needs. The kubectl side does
what a Job offers; where it has nothing, the row says so. Both sides share one namespace, which is
deleted at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 120
PROGRAM = str(Path(sys.executable).with_name("nanogrid"))
GOOD = "print(6 * 7)"
BAD = "import nosuchmodule"
LONG = "import time; time.sleep(600)"
NONE = "-"


@dataclass(slots=True)
class Step:
    """The commands of one step; none on a side: it offers nothing for it."""

    name: str
    ours: list[list[str]]
    theirs: list[list[str]]
    note: str = ""
    prepare: list[list[str]] = field(default_factory=list)
    exit_codes: tuple[int, ...] = (0,)


def run(command: Sequence[str], exit_codes: tuple[int, ...] = (0,)) -> str:
    """Run one process to its end; returns its stdout.

    Raises:
        RuntimeError: its exit code is not expected; the message has its stderr.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode not in exit_codes:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def executor_image() -> str:
    """The image of the sandboxes of the installation."""
    listing = run(["kubectl", "-n", "nanogrid-system", "get", "deployments", "-o", "json"])
    for deployment in json.loads(listing)["items"]:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env", []):
                if variable["name"] == "NANOGRID_EXECUTOR_IMAGE":
                    return str(variable["value"])
    raise RuntimeError("there is no operator in nanogrid-system: run `make deploy`")


def seconds(commands: Sequence[Sequence[str]], exit_codes: tuple[int, ...] = (0,)) -> float:
    """The time of some processes, one after the other."""
    began = time.perf_counter()
    for command in commands:
        run(command, exit_codes)
    return time.perf_counter() - began


def steps(namespace: str, image: str, folder: Path) -> list[Step]:
    """All steps; each creates what it needs, under names of its own."""
    number = uuid.uuid4().hex[:6]

    def kubectl(*arguments: str) -> list[str]:
        return ["kubectl", "-n", namespace, *arguments]

    def ours(*arguments: str) -> list[str]:
        return [PROGRAM, *arguments, "-n", namespace]

    def job(name: str, code: str) -> list[str]:
        file = folder / f"{name}-{number}.json"
        container = {"name": "main", "image": image, "command": ["python3", "-c", code]}
        spec = {"restartPolicy": "Never", "containers": [container]}
        manifest = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{name}-{number}", "labels": {"step": name}},
            "spec": {"backoffLimit": 0, "template": {"spec": spec}},
        }
        file.write_text(json.dumps(manifest))
        return kubectl("apply", "-f", str(file))

    def wait(name: str, condition: str) -> list[str]:
        return kubectl("wait", f"job/{name}-{number}", f"--for=condition={condition}",
                       f"--timeout={SECONDS}s")  # fmt: skip

    def starts(name: str) -> list[list[str]]:
        selector = f"batch.kubernetes.io/job-name={name}-{number}"
        return [
            kubectl("wait", "pod", "-l", selector, "--for=create", f"--timeout={SECONDS}s"),
            kubectl("wait", "pod", "-l", selector, "--for=condition=Ready",
                    f"--timeout={SECONDS}s"),
        ]  # fmt: skip

    def running(name: str) -> list[str]:
        return kubectl("wait", f"ej/{name}-{number}", "--for=jsonpath={.status.phase}=Running",
                       f"--timeout={SECONDS}s")  # fmt: skip

    def named(name: str) -> str:
        return f"{name}-{number}"

    return [
        Step(
            "first job and its output",
            [ours("run", "-c", GOOD, "--name", named("first"))],
            [
                job("first", GOOD),
                wait("first", "Complete"),
                kubectl("logs", f"job/{named('first')}"),
            ],
            "a Job needs a manifest",
        ),
        Step(
            "see the result",
            [ours("get", named("first"))],
            [kubectl("get", f"job/{named('first')}"), kubectl("logs", f"job/{named('first')}")],
            "a Job has no exit code, no output, no peak memory",
        ),
        Step(
            "why it failed",
            [ours("why", named("bad"))],
            [
                kubectl("describe", f"job/{named('bad')}"),
                kubectl("describe", "pod", "-l", f"batch.kubernetes.io/job-name={named('bad')}"),
                kubectl("logs", f"job/{named('bad')}"),
            ],
            "three outputs to read; gone with the pod",
            prepare=[
                ours("run", "-c", BAD, "--name", named("bad")),
                job("bad", BAD),
                wait("bad", "Failed"),
            ],
        ),
        Step(
            "cancel",
            [ours("cancel", named("long"))],
            [kubectl("delete", f"job/{named('long')}", "--wait=true")],
            "a Job is deleted, with its output",
            prepare=[
                ours("run", "-c", LONG, "--name", named("long"), "--detach"),
                running("long"),
                job("long", LONG),
                *starts("long"),
            ],
        ),
        Step(
            "retry",
            [ours("retry", named("bad"))],
            [
                kubectl("delete", f"job/{named('bad')}"),
                kubectl("apply", "-f", str(folder / f"{named('bad')}.json")),
                wait("bad", "Failed"),
            ],
            "a Job loses the first attempt, and needs the manifest",
        ),
        Step(
            "list the failed ones",
            [ours("list", "--phase", "failed", "--since", "1h")],
            [kubectl("get", "jobs", "-o", "jsonpath={range .items[?(@.status.failed)]}"
                     "{.metadata.name}{'\\n'}{end}")],
            "a Job has no filter for the age",
        ),
        Step(
            "delete the failed ones",
            [ours("delete", "--phase", "failed", "--yes")],
            [kubectl("delete", "jobs", "-l", "step=bad")],
            "by a label that you set before",
        ),
        Step(
            "right-size the memory",
            [ours("rightsize")],
            [],
            "kubectl top needs metrics-server, and shows running pods only",
        ),
        Step(
            "documentation of a field",
            [kubectl("explain", "ej.spec.limits")],
            [kubectl("explain", "job.spec.backoffLimit")],
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description="The steps of a user, with NanoGrid and with Jobs."
    )
    parser.add_argument("--count", type=int, default=3)
    count = parser.parse_args().count
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    image = executor_image()
    namespace = f"bench-steps-{uuid.uuid4().hex[:6]}"
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    run(["kubectl", "create", "namespace", namespace])
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(count):
                found = steps(namespace, image, Path(folder))
                for step in found:
                    for command in step.prepare:
                        run(command, (0, 1))
                    codes = (0, 1)  # retry and run answer with the exit code of the code
                    ours.setdefault(step.name, []).append(seconds(step.ours, codes))
                    theirs.setdefault(step.name, []).append(seconds(step.theirs, codes))
    finally:
        run(["kubectl", "delete", "namespace", namespace, "--wait=false"])
    print(f"{'step':28} {'nanogrid':>16} {'kubectl Job':>16}")
    for step in found:
        sides = [
            f"{statistics.median(times[step.name]):.2f} s ({len(commands)})" if commands else NONE
            for times, commands in ((ours, step.ours), (theirs, step.theirs))
        ]
        print(f"{step.name:28} {sides[0]:>16} {sides[1]:>16}   {step.note}")


if __name__ == "__main__":
    main()
