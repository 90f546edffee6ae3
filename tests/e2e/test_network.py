"""The network of a sandbox, as its code sees it from its first instruction on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.sessions import SMALL, start
from nanogrid import names
from nanogrid.metrics.server import PORT as METRICS_PORT
from nanogrid.network_condition import condition_of, config_map_name
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.pod_security import violations
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE
from support.sessions import session

pytestmark = pytest.mark.security

ROUNDS = 20
# What the network lets through at one of the rounds. Its first statement is the first attempt.
SCAN = """
import errno, json, select, socket, sys, time
TARGETS, ROUNDS = json.loads(sys.argv[1])
WAIT_FOR = sys.argv[2] if len(sys.argv) > 2 else None

def attempt(targets, seconds=0.3):
    socks = {}
    for name, (host, port) in targets.items():
        sock = socket.socket()
        sock.setblocking(False)
        socks[sock] = name, sock.connect_ex((host, port))
    found = {name for name, code in socks.values() if code == 0}
    waiting = {sock: name for sock, (name, code) in socks.items() if code == errno.EINPROGRESS}
    until = time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        ready = select.select([], list(waiting), [], max(0, until - time.monotonic()))[1]
        for sock in ready:
            name = waiting.pop(sock)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.add(name)
    for sock in socks:
        sock.close()
    return found

while WAIT_FOR and WAIT_FOR not in attempt({WAIT_FOR: TARGETS[WAIT_FOR]}):
    time.sleep(0.05)
opened = []
for number in range(ROUNDS):
    # A busy machine may be late with an answer, so the first attempt waits longer.
    opened.append(sorted(attempt(TARGETS, 3 if number == 0 else 0.3)))
    time.sleep(0.05)
print(json.dumps(opened))
"""
ALLOWED = {"results", "s3"}
# Whatever is not isolated reaches these: so the scan can see an open port.
OPEN_TO_OTHERS = {
    "results", "denied-port", "metrics", "router", "gateway", "api-server", "kubelet",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def enforced(cluster: None) -> None:
    """The operator has found that the cluster enforces policies."""

    def tested() -> bool:
        name = config_map_name(RELEASE)
        found = condition_of(kubectl_json(*IN_RELEASE, "get", "configmap", name))
        return found is not None and found.enforced

    eventually("the network is tested and enforced", tested)


def component(name: str) -> Json:
    label = f"app.kubernetes.io/component={name}"
    found = kubectl_json(*IN_RELEASE, "get", "pods", "-l", label)["items"]
    return next(p for p in found if p["status"].get("phase") == "Running")


def targets(**more: list[Any]) -> dict[str, list[Any]]:
    """Addresses by name: what a sandbox may reach, and what it must not reach."""
    operator = component("operator")["status"]["podIP"]
    nodes = kubectl_json("get", "nodes", "-l", "node-role.kubernetes.io/control-plane")["items"]
    addresses = nodes[0]["status"]["addresses"]
    node = next(a["address"] for a in addresses if a["type"] == "InternalIP")
    api = kubectl_json("-n", "default", "get", "service", "kubernetes")["spec"]["clusterIP"]
    return {
        "results": [operator, names.RESULTS_PORT],
        "s3": [component("dev-s3")["status"]["podIP"], 8333],
        "denied-port": [operator, names.DENIED_PORT],
        "metrics": [operator, METRICS_PORT],
        "redis": [component("dev-redis")["status"]["podIP"], 6379],
        "router": [component("router")["status"]["podIP"], 8080],
        "gateway": [component("gateway")["status"]["podIP"], 8080],
        "api-server": [api, 443],
        "kubelet": [node, 10250],
        "etcd": [node, 2379],
        "metadata": ["169.254.169.254", 80],
        **more,
    }


def scan(name: str, where: dict[str, list[Any]], wait_for: str = "", **spec: Any) -> Json:
    args = [json.dumps([where, ROUNDS]), *([wait_for] if wait_for else [])]
    return inline(name, SCAN, args=args, resources=SMALL, **spec)


def assert_only_allowed(status: Json) -> None:
    """All that is allowed was open at the first round, and nothing else at any round."""
    assert status["phase"] == "Succeeded", status
    first, *others = [set(found) for found in json.loads(status["result"]["stdout"])]
    assert first == ALLOWED
    assert len(others) == ROUNDS - 1
    assert set().union(*others) <= ALLOWED, others


@pytest.fixture
def neighbour(namespace: Namespace, router_url: str) -> Iterator[str]:
    """The address of a session in the namespace; it works through the router."""
    caller, path, status = start(namespace, router_url, session("neighbour", resources=SMALL))
    assert caller.execute(path, "print(6 * 7)")["stdout"] == "42\n"
    yield namespace.only_pod("neighbour")["status"]["podIP"]
    assert caller.execute(path, "print(6 * 7)")["stdout"] == "42\n"
    assert status["session"]


def test_code_reaches_only_results_and_s3_from_its_first_instruction(namespace: Namespace) -> None:
    """The first job of a namespace: its policies are as new as its pod."""
    assert_only_allowed(namespace.run(scan("first", targets())))

    pod = namespace.only_pod("first")
    log = namespace.kubectl("logs", pod["metadata"]["name"], "-c", names.CONTAINER_AGENT)
    assert "network-gate port=closed" in log
    assert "network-gate-waited" in log
    print([line for line in log.splitlines() if "network-" in line])


def test_a_session_is_reached_through_the_router_only(namespace: Namespace, neighbour: str) -> None:
    where = targets(session=[neighbour, names.SESSION_PORT])
    assert_only_allowed(namespace.run(scan("scanner", where)))


def test_a_pod_that_is_no_sandbox_reaches_what_a_sandbox_must_not(namespace: Namespace) -> None:
    """The positive control of the scan: these targets are alive."""
    image = component("operator")["spec"]["containers"][0]["env"]
    executor = next(e["value"] for e in image if e["name"] == "NANOGRID_EXECUTOR_IMAGE")
    container = {
        "name": "scan",
        "image": executor,
        # The policy of this port selects its peers, so the engine has to learn of this pod first.
        "command": ["python3", "-c", SCAN, json.dumps([targets(), 1]), "metrics"],
        "resources": SMALL,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    context = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {"restartPolicy": "Never", "containers": [container], "securityContext": context}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "control"}, "spec": spec}
    assert not violations(pod)
    namespace.wait_for_account()
    namespace.apply(pod)
    namespace.kubectl(
        "wait", "pod/control", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s"
    )
    log = eventually("its log", lambda: namespace.kubectl("logs", "control"))
    (found,) = json.loads(log)
    assert set(found) >= OPEN_TO_OTHERS


@pytest.fixture
def internet(namespace: Namespace) -> Iterator[None]:
    """The namespace may ask for the internet."""
    tenant = {
        "apiVersion": names.API_VERSION,
        "kind": names.TENANT_KIND,
        "metadata": {"name": namespace.name, "namespace": RELEASE_NAMESPACE},
        "spec": {"network": {"egress": "Internet"}},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(tenant))
    yield
    kubectl(*IN_RELEASE, "delete", names.TENANT_PLURAL, namespace.name)


def test_the_internet_contains_no_private_address(namespace: Namespace, internet: None) -> None:
    where, tries = targets(), iter(range(100))

    def accepted() -> Json | None:
        """The status, once the operator knows what the namespace may ask for."""
        name = f"wide-{next(tries)}"
        # Internet promises no boundary, so code does not wait for one: the scan does.
        status = namespace.run(scan(name, where, "results", network={"egress": "Internet"}))
        return None if status["reason"] == "InvalidSpec" else status

    assert_only_allowed(eventually("the tenant is known", accepted))
