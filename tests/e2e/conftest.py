"""A cluster with the chart, one namespace per test, and what is saved when a test fails."""

import json
import os
import re
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from e2e.leftovers import leftovers
from e2e.promises import Promises, broken
from e2e.support import KubectlError, Namespace, eventually, kubectl, redis_of
from nanogrid import names
from scripts.devaccess import DevAccess, dev_access

RELEASE, RELEASE_NAMESPACE = "nanogrid", "nanogrid-system"
LEFTOVER_SECONDS = 60
ARTIFACTS = Path(os.environ.get("ARTIFACTS", "build/e2e"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.e2e)


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
    """The chart is installed and ready; `make test-e2e` sees to that."""
    try:
        kubectl("-n", RELEASE_NAMESPACE, "rollout", "status", f"deploy/{RELEASE}", "--timeout=60s")
    except KubectlError as e:
        pytest.fail(f"no cluster with the chart: run `make deploy` first ({e})", pytrace=False)


@pytest.fixture(scope="session")
def dev(cluster: None) -> Iterator[DevAccess]:
    """S3 and Redis of the chart's devServices."""
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        yield access


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(cluster: None) -> Iterator[None]:
    """No pod without a job, no half-done upload and no key for ever after the last test."""
    yield
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        last: list[str] = []

        def clean() -> bool:
            last[:] = leftovers(access)
            return not last

        try:
            eventually("nothing is left", clean, LEFTOVER_SECONDS)
        except AssertionError:
            pytest.fail(f"left {LEFTOVER_SECONDS} s after the last test: {last[:20]}")


@pytest.fixture(scope="session", autouse=True)
def promises_are_kept(cluster: None) -> Iterator[None]:
    """Every job of the suite ends once, and is told once."""
    promises = Promises()
    promises.start()
    yield
    promises.stop()
    with dev_access(RELEASE, RELEASE_NAMESPACE) as access:
        stream = redis_of(access).xrange(names.REDIS_STREAM)
    wrong = broken(promises.records.values(), (json.loads(e["result"]) for _, e in stream))
    ends = sum(record.watched for record in promises.records.values())
    print(f"\nthe ends of {ends} jobs were watched: {len(wrong)} broken promises")
    assert not wrong, "\n".join(wrong[:40])


@pytest.fixture
def namespace(cluster: None, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace that admits only pods of the restricted standard, so every test proves it."""
    ns = Namespace(f"e2e-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", ns.name)
    kubectl("label", "namespace", ns.name, "pod-security.kubernetes.io/enforce=restricted")
    yield ns
    if request.node.stash.get(FAILED, False):
        save(ns, request.node.name)
    kubectl("delete", "namespace", ns.name, "--wait=false")


@pytest.fixture(scope="session")
def python_image(cluster: None) -> str:
    """An image in the cluster that has python3 and nothing of ours."""
    path = "{.spec.template.spec.containers[0].image}"
    return kubectl(
        "-n", RELEASE_NAMESPACE, "get", "deploy", f"{RELEASE}-dev-redis", "-o", f"jsonpath={path}"
    )


@pytest.fixture
def request_id() -> str:
    """A requestId that no other test uses."""
    return f"req-{uuid.uuid4().hex[:12]}"


def save(ns: Namespace, test: str) -> None:
    """Keep what explains a failure: jobs, events, pods and logs."""
    folder = ARTIFACTS / re.sub(r"[^\w.-]", "_", test)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        "jobs.yaml": ["-n", ns.name, "get", "ej", "-o", "yaml"],
        "events.txt": ["-n", ns.name, "get", "events", "--sort-by=.lastTimestamp"],
        "pods.txt": ["-n", ns.name, "describe", "pods"],
        "operator.log": ["-n", RELEASE_NAMESPACE, "logs", f"deploy/{RELEASE}", "--tail=400"],
    }
    for pod in kubectl("-n", ns.name, "get", "pods", "-o", "name").split():
        for container in ("sync-input", "agent", "sandbox"):
            wanted[f"{pod.rpartition('/')[2]}-{container}.log"] = [
                "-n", ns.name, "logs", pod, "-c", container,
            ]  # fmt: skip
    for name, words in wanted.items():
        try:
            (folder / name).write_text(kubectl(*words))
        except KubectlError as e:
            (folder / name).write_text(f"not to be had: {e}\n")
    print(f"saved to {folder}")
