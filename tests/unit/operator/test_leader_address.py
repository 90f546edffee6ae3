"""Where a standby finds the leader: the address of its pod, and the port that the chart names."""

from pathlib import Path

import pytest

from nanogrid.types import Json
from nanogrid_operator.kube.leader_address import CONTAINER, PORT, LeaderAddress, address_in

DEPLOYMENT = Path("helm/nanogrid-operator/templates/deployment.yaml")


def a_pod(*containers: Json, **status: str) -> Json:
    return {"spec": {"containers": list(containers)}, "status": status}


def a_container(name: str = CONTAINER, port: str = PORT, number: int = 8080) -> Json:
    return {"name": name, "ports": [{"name": port, "containerPort": number}]}


def test_the_address_is_of_the_operators_container() -> None:
    sidecar = a_container("proxy", number=15001)
    pod = a_pod({"name": "logs"}, sidecar, a_container(number=8090), podIP="10.0.0.7")

    assert address_in(pod) == LeaderAddress("10.0.0.7", 8090)


def test_the_chart_names_container_and_port_like_this() -> None:
    text = DEPLOYMENT.read_text()

    assert f"- name: {CONTAINER}\n" in text
    assert f"{{name: {PORT}, containerPort: 8080}}" in text


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(a_container()),
        a_pod(a_container(port="denied"), podIP="10.0.0.7"),
        a_pod(a_container("proxy"), podIP="10.0.0.7"),
        a_pod({"name": CONTAINER}, podIP="10.0.0.7"),
        {},
    ],
    ids=["no address", "no port", "no container", "no ports", "empty"],
)
def test_a_pod_without_address_or_port_has_none(pod: Json) -> None:
    assert address_in(pod) is None


def test_an_address_of_ipv6_has_brackets_in_the_log() -> None:
    assert str(LeaderAddress("fd00::7", 8080)) == "[fd00::7]:8080"
    assert str(LeaderAddress("10.0.0.7", 8080)) == "10.0.0.7:8080"
