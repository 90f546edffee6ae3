"""Fixtures for all suites that use a cluster: the chart, a namespace per test, saved artifacts."""

import os
import re
import subprocess
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from scripts.devaccess import DevAccess, dev_access
from support.kubectl import KubectlError, Namespace, created, kubectl
from support.release import IN_RELEASE, OPERATOR, RELEASE, RELEASE_NAMESPACE, wait_for_operator

ARTIFACTS = Path(os.environ.get("ARTIFACTS", "build/e2e"))
DELETE_SECONDS = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def cluster() -> None:
    """Check that the chart is installed and ready; `make test-e2e` installs it."""
    try:
        wait_for_operator()
    except KubectlError as e:
        pytest.fail(f"no cluster with the chart: run `make deploy` first ({e})", pytrace=False)


@pytest.fixture(scope="session")
def dev(cluster: None) -> Iterator[DevAccess]:
    """S3 and Redis of the chart's devServices."""
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        yield access


@pytest.fixture(scope="session")
def deletions(cluster: None) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """The calls of kubectl that delete namespaces, by namespace; no test waits for them."""
    calls: dict[str, subprocess.Popen[bytes]] = {}
    yield calls
    failed = [name for name, call in calls.items() if call.wait(DELETE_SECONDS) != 0]
    assert not failed, f"not deleted, see kubectl's messages above: {failed}"


@pytest.fixture
def namespace(
    cluster: None, deletions: dict[str, "subprocess.Popen[bytes]"], request: pytest.FixtureRequest
) -> Iterator[Namespace]:
    """A namespace that admits only pods of the restricted standard, so each test checks it."""
    ns = created(f"e2e-{uuid.uuid4().hex[:8]}")
    yield ns
    if request.node.stash.get(FAILED, False):
        save(ns, request.node.name)
    command = ["kubectl", "delete", "namespace", ns.name, "--wait=false"]
    deletions[ns.name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def python_image(cluster: None) -> str:
    """An image in the cluster with python3 and without the project's files."""
    path = "{.spec.template.spec.containers[0].image}"
    return kubectl(*IN_RELEASE, "get", "deploy", f"{RELEASE}-dev-redis", "-o", f"jsonpath={path}")


@pytest.fixture
def request_id() -> str:
    """A unique requestId."""
    return f"req-{uuid.uuid4().hex[:12]}"


def save(ns: Namespace, test: str) -> None:
    """Save jobs, events, pods and logs to explain a failure."""
    folder = ARTIFACTS / re.sub(r"[^\w.-]", "_", test)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        "jobs.yaml": ["-n", ns.name, "get", "ej", "-o", "yaml"],
        "events.txt": ["-n", ns.name, "get", "events", "--sort-by=.lastTimestamp"],
        "pods.txt": ["-n", ns.name, "describe", "pods"],
        "operator.log": [*IN_RELEASE, "logs", OPERATOR, "--tail=400"],
    }
    for pod in kubectl("-n", ns.name, "get", "pods", "-o", "name").split():
        for container in ("sync-input", "agent", "sandbox"):
            wanted[f"{pod.rpartition('/')[2]}-{container}.log"] = [
                "-n", ns.name, "logs", pod, "-c", container,
            ]  # fmt: skip
    for name, args in wanted.items():
        try:
            (folder / name).write_text(kubectl(*args))
        except KubectlError as e:
            (folder / name).write_text(f"not available: {e}\n")
    print(f"saved to {folder}")
