"""etcd is compacted and the API server restarts while the operator is stopped: a real 410."""

import json
import os
import signal
import time
from typing import Any

import pytest

from chaos.lab.kubeclient import KubeCallError, KubeClient, Watch, jobs_path
from chaos.rig import Rig
from chaos.scenarios import CANCELLED, SUCCESS
from support.kubectl import KubectlError, eventually, inline, kubectl, kubectl_json
from support.nodes import Node, container_id

PKI = "/etc/kubernetes/pki"
RESTART_SECONDS = 120.0
SERVER = "kube-apiserver"


@pytest.fixture
def control_plane() -> Node:
    """The node with etcd and the API server."""
    label = "node-role.kubernetes.io/control-plane"
    name = kubectl_json("get", "nodes", "-l", label)["items"][0]["metadata"]["name"]
    node = Node(name)
    if not node.exists():
        pytest.skip("needs a kind cluster on this machine: the control plane is no container")
    return node


def compact(node: Node) -> int:
    """Compact etcd to its current revision; returns the revision."""
    found = etcd(node, "kv/range", {"key": "AA=="})
    revision = int(found["header"]["revision"])
    etcd(node, "kv/compaction", {"revision": str(revision), "physical": True})
    return revision


def etcd(node: Node, call: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call etcd's JSON API (https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/)."""
    client = f"{PKI}/apiserver-etcd-client"
    tls = ("--cacert", f"{PKI}/etcd/ca.crt", "--cert", f"{client}.crt", "--key", f"{client}.key")
    url = f"https://127.0.0.1:2379/v3/{call}"
    text = node.run("curl", "-sS", "--fail", "--max-time", "20", *tls, "-d", json.dumps(body), url)
    answer: dict[str, Any] = json.loads(text)
    return answer


def restart_server(node: Node) -> float:
    """Kill the API server and wait until the next one is ready; returns the seconds it took."""
    pod = f"{SERVER}-{node.name}"
    before = container_id(kubectl_json("-n", "kube-system", "get", "pod", pod), SERVER)
    began = time.monotonic()
    node.signal(before, "KILL")

    def restarted() -> bool:
        try:
            now = kubectl_json("-n", "kube-system", "get", "pod", pod)
            return (
                container_id(now, SERVER) not in ("", before)
                and kubectl("get", "--raw", "/readyz") == "ok"
            )
        except KubectlError:
            return False

    eventually("the API server is back", restarted, RESTART_SECONDS)
    return time.monotonic() - began


def expired(namespace: str, version: str) -> bool:
    """Whether a watch from this version is refused with 410."""
    try:
        first = next(iter(Watch(KubeClient(), jobs_path(namespace), version)))
    except KubeCallError as error:
        return error.code == 410
    return bool(first["type"] == "ERROR" and first["object"].get("code") == 410)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_operator_is_stopped_while_etcd_is_compacted(rig: Rig, control_plane: Node) -> None:
    lab, ledger, starts, namespace = rig.lab, rig.ledger, rig.starts, rig.namespace
    # No resync within the test, so that only the watches report events.
    operator = lab.operator(NANOGRID_RESYNC_SECONDS="600").start()
    operator.wait_ready()
    lasting = inline("lasting", starts.marked("import time; time.sleep(20)"))
    namespace.apply(lasting, CANCELLED.manifest("unwanted", starts))
    ledger.wait_running("lasting", 0)
    ledger.wait_running("unwanted", 0)
    _, version = KubeClient().list(jobs_path(namespace.name))

    os.kill(operator.pid, signal.SIGSTOP)
    try:
        namespace.apply(*(SUCCESS.manifest(f"unseen-{n}", starts) for n in range(3)))
        CANCELLED.run(namespace, ledger, "unwanted")
        revision = compact(control_plane)
        took = restart_server(control_plane)
        assert expired(namespace.name, version), "the API server still has the old version"
    finally:
        os.kill(operator.pid, signal.SIGCONT)
    resumed = time.monotonic()
    wanted = ["lasting", "unwanted", *(f"unseen-{n}" for n in range(3))]
    records = {record.name: record for record in ledger.wait_finished(wanted, 120)}
    print(
        f"compacted at {revision}, API server back after {took:.0f} s, five jobs "
        f"ended {time.monotonic() - resumed:.1f} s after the operator resumed; "
        f"running: {operator.running}"
    )
    assert records.pop("unwanted").reason == CANCELLED.reason
    assert {record.reason for record in records.values()} == {"Completed"}
    rig.verify()
