"""Fixtures of the chaos suite; each test undoes the faults that it injects."""

from collections.abc import Iterator

import pytest

from chaos.labfixtures import (  # noqa: F401 fixtures
    lab,
    lab_cluster,
    lab_starts,
    ledger,
    rig,
)
from chaos.onejob import OneJob
from chaos.release import RedisSwitch
from chaos.starts import Starts
from chaos.storagebench import storage_bench  # noqa: F401 fixture
from support.cluster_fixtures import (  # noqa: F401 fixtures and hooks are shared with the e2e tests
    cluster,
    deletions,
    namespace,
    pytest_runtest_makereport,
    request_id,
)
from support.kubectl import Namespace, kubectl, kubectl_json
from support.network_pods import policy
from support.nodes import Node, gateway, move_release_away, rebuild_services, workers
from support.release import IN_RELEASE


@pytest.fixture(scope="session", autouse=True)
def fresh_services(cluster: None) -> None:  # noqa: F811
    """New rules for all Services, without history of earlier suites, on nodes of this machine."""
    if all(node.exists() for node in workers()):
        rebuild_services()


@pytest.fixture
def redis_switch(cluster: None) -> Iterator[RedisSwitch]:  # noqa: F811
    switch = RedisSwitch()
    yield switch
    switch.start()


@pytest.fixture
def kind_nodes(cluster: None) -> list[Node]:  # noqa: F811
    """The workers; they must be containers on this machine."""
    nodes = workers()
    if not all(node.exists() for node in nodes):
        pytest.skip("the nodes are not kind containers of this machine")
    return nodes


@pytest.fixture
def starts(kind_nodes: list[Node], namespace: Namespace) -> Iterator[Starts]:  # noqa: F811
    """Counts the starts of user code, whose pods reach nothing else outside the cluster."""
    with Starts(gateway()) as counter:
        counted = {"to": [{"ipBlock": {"cidr": f"{counter.host}/32"}}]}
        namespace.apply(policy("starts", "Egress", counted))
        yield counter


@pytest.fixture
def one_job(namespace: Namespace, starts: Starts, request_id: str) -> OneJob:  # noqa: F811
    """One job in the test's namespace."""
    return OneJob(namespace, starts, request_id)


@pytest.fixture
def worker(kind_nodes: list[Node]) -> Iterator[Node]:
    """The only worker that takes new pods; neither the release nor DNS runs there."""
    if len(kind_nodes) < 2:
        pytest.skip("one worker only: a fault would also stop the release")
    selector = ("-l", "app.kubernetes.io/component=dev-s3")
    pods = kubectl_json(*IN_RELEASE, "get", "pods", *selector)["items"]
    needed = {pod["spec"]["nodeName"] for pod in pods}
    node = next(n for n in kind_nodes if n.name not in needed)
    move_release_away(node)
    for other in kind_nodes:
        if other != node:
            kubectl("cordon", other.name)
    yield node
    node.resume()
    for each in kind_nodes:
        kubectl("uncordon", each.name)
