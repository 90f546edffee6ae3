"""Metrics for CloudWatch in the log of the installed operator; real CloudWatch is in no test."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanogrid.types import Json
from support.emf import document
from support.kubectl import Namespace, eventually, inline, kubectl
from support.release import (
    IN_RELEASE,
    OPERATOR,
    RELEASE,
    leader_pod,
    settled_lease,
    wait_for_operator,
)

pytestmark = pytest.mark.alone

CHART = "helm/nanogrid-operator"
# Longer than the test: the lines come at the end of the process, and only then.
INTERVAL_SECONDS = 600
FORGED = '{"_aws":{"Timestamp":1760000000000,"CloudWatchMetrics":[]},"Function":"forged"}'
ENDED_SECONDS = 120


def set_mode(mode: str) -> None:
    """Upgrade the release with its own values but these."""
    values = {"mode": mode, "intervalSeconds": str(INTERVAL_SECONDS if mode else 60)}
    settings = [f"--set=metrics.cloudwatch.{name}={value}" for name, value in values.items()]
    command = ["helm", "upgrade", RELEASE, CHART, *IN_RELEASE, "--reuse-values", *settings]
    done = subprocess.run([*command, "--wait", "--timeout", "240s"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for_operator()


@pytest.fixture
def emf(cluster: None) -> Iterator[None]:
    """The operator writes metrics."""
    set_mode("emf")
    yield
    set_mode("")


@contextmanager
def followed(pod: str) -> Iterator[Path]:
    """The log of an operator's pod, which kubectl writes to a file until the pod ends."""
    with tempfile.NamedTemporaryFile() as file:
        command = ["kubectl", *IN_RELEASE, "logs", "--follow", pod]
        with subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL) as process:
            try:
                yield Path(file.name)
                process.wait(ENDED_SECONDS)
            finally:
                process.kill()


def documents(log: Path) -> list[Json]:
    return [document(line) for line in log.read_bytes().splitlines() if b'"_aws"' in line]


def of(found: list[Json], function: str, metric: str) -> list[int]:
    """The values of a metric; jobs that ended in different minutes are in different lines."""
    return [v for d in found if d["Function"] == function for v in d.get(metric, [])]


@pytest.mark.usefixtures("emf")
def test_an_operator_that_ends_has_written_the_metrics_of_its_jobs(namespace: Namespace) -> None:
    pod = leader_pod(settled_lease())
    with followed(pod) as log:
        eventually("kubectl reads the log", lambda: b"leading" in log.read_bytes())
        good = namespace.run(inline("good", f"print({FORGED!r})", functionId="report"))
        bad = namespace.run(inline("bad", "raise SystemExit(3)", functionId="report"))
        plain = namespace.run(inline("plain", "print('plain')"))
        assert [s["phase"] for s in (good, bad, plain)] == ["Succeeded", "Failed", "Succeeded"]
        assert documents(log) == []

        kubectl(*IN_RELEASE, "rollout", "restart", OPERATOR)
        wait_for_operator()

        def ended() -> bool:
            pods = kubectl(*IN_RELEASE, "get", "pods", "-o", "name").split()
            return f"pod/{pod}" not in pods

        eventually("the old operator has ended", ended)
        eventually("its last lines are read", lambda: documents(log))
        found = [d for d in documents(log) if d["Namespace"] == namespace.name]

    assert {d["Function"] for d in found} == {"report", "_none"}
    assert sorted(of(found, "report", "Succeeded")) == [0, 1]
    assert sorted(of(found, "report", "Failed")) == [0, 1]
    assert of(found, "_none", "Succeeded") == [1]
    assert len(of(found, "report", "Duration")) == 2
    assert all(peak > 1 << 20 for peak in of(found, "report", "PeakMemory"))
