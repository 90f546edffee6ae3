"""Faults are injected into the cluster's own Redis, operator and pods; each test mends its own."""

from collections.abc import Iterator

import pytest

from chaos.labfixtures import (  # noqa: F401 fixtures
    lab,
    lab_cluster,
    lab_starts,
    ledger,
)
from chaos.nodes import Node, gateway, move_away, renew_services, workers
from chaos.proof import Starts
from e2e.conftest import (  # noqa: F401 fixtures and hooks are shared with the e2e tests
    RELEASE,
    RELEASE_NAMESPACE,
    cluster,
    namespace,
    pytest_runtest_makereport,
    request_id,
)
from e2e.support import kubectl, kubectl_json


@pytest.fixture(scope="session", autouse=True)
def fresh_services(cluster: None) -> None:  # noqa: F811
    """Services whose rules carry nothing over from the suites before, where nodes are ours."""
    if all(node.exists() for node in workers()):
        renew_services()


class Redis:
    """The release's Redis, switched off and on."""

    name = f"deploy/{RELEASE}-dev-redis"

    def stop(self) -> None:
        """No Redis from here on."""
        kubectl("-n", RELEASE_NAMESPACE, "scale", self.name, "--replicas=0")
        kubectl(
            "-n", RELEASE_NAMESPACE, "wait", "pod", "--for=delete", "--timeout=60s",
            "-l", "app.kubernetes.io/component=dev-redis",
        )  # fmt: skip

    def start(self) -> None:
        """A new, empty Redis; returns when it answers."""
        kubectl("-n", RELEASE_NAMESPACE, "scale", self.name, "--replicas=1")
        kubectl("-n", RELEASE_NAMESPACE, "rollout", "status", self.name, "--timeout=60s")


@pytest.fixture
def redis_switch(cluster: None) -> Iterator[Redis]:  # noqa: F811
    switch = Redis()
    yield switch
    switch.start()


def operator_pods() -> list[str]:
    """Names of the operator's pods."""
    return kubectl(
        "-n", RELEASE_NAMESPACE, "get", "pods", "-o", "name",
        "-l", "app.kubernetes.io/component=operator",
    ).split()  # fmt: skip


def kill_operator() -> None:
    """SIGKILL, as a lost node or the kernel would do it; the Deployment makes a new one."""
    kubectl("-n", RELEASE_NAMESPACE, "delete", *operator_pods(), "--force", "--grace-period=0")


@pytest.fixture
def kind_nodes(cluster: None) -> list[Node]:  # noqa: F811
    """The workers, which must be containers of this machine."""
    nodes = workers()
    if not all(node.exists() for node in nodes):
        pytest.skip("the nodes are not kind containers of this machine")
    return nodes


@pytest.fixture
def starts(kind_nodes: list[Node]) -> Iterator[Starts]:
    """Counts the starts of user code."""
    with Starts(gateway()) as counter:
        yield counter


@pytest.fixture
def worker(kind_nodes: list[Node]) -> Iterator[Node]:
    """The one worker where new pods go, and that neither the release nor DNS needs."""
    if len(kind_nodes) < 2:
        pytest.skip("one worker only: the release would go down with the job")
    words = ("-n", RELEASE_NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=dev-s3")
    kept = {pod["spec"]["nodeName"] for pod in kubectl_json(*words)["items"]}
    node = next(n for n in kind_nodes if n.name not in kept)
    move_away(node)
    for other in kind_nodes:
        if other != node:
            kubectl("cordon", other.name)
    yield node
    node.resume()
    for every in kind_nodes:
        kubectl("uncordon", every.name)
