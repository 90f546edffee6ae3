"""Nodes drained, frozen, powered off, their container runtime restarted, while jobs run on them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chaos.nodes import Node, workers
from chaos.proof import Starts, one_result
from e2e.support import Namespace, eventually, inline, kubectl
from nanogrid import names

Json = dict[str, Any]

SLEEPER = "import time; print('begun', flush=True); time.sleep(600)"
# The first attempt waits to be lost; what follows it ends at once.
FIRST_SLEEPS = """
import socket, time
time.sleep(600 if socket.gethostname().endswith('-0') else 0)
print('again')
"""
# Seconds: Kubernetes notices after 40 to 50, evicts after nodeLostSeconds (60), and that is all.
LOST_SECONDS = 150
HASTY = {"terminationGracePeriodSeconds": 1, "timeouts": {"uploadSeconds": 1}}


def pod_of(namespace: Namespace, starts: Starts, name: str) -> Json:
    """The job's pod, once the user's code runs and the kubelet says so."""
    eventually("the code was started", lambda: starts.of(name) == 1, 60)
    eventually("the kubelet has seen it", lambda: namespace.sandbox(name).get("running"))
    (pod,) = namespace.pods(name)
    return pod


@contextmanager
def drained(node: str, job: str) -> Iterator[None]:
    """`kubectl drain`, for the pods of one job only: the release is on the node as well."""
    selector = f"--pod-selector={names.LABEL_JOB}={job}"
    try:
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", selector,
                "--timeout=60s")  # fmt: skip
        yield
    finally:
        kubectl("uncordon", node)


def test_drain_moves_a_job_to_another_node_without_counting(
    namespace: Namespace, starts: Starts, kind_nodes: list[Node], request_id: str
) -> None:
    """About 8 s. No --force is needed: a sandbox pod has a controller."""
    if len(kind_nodes) < 2:
        pytest.skip("one worker only: there is nowhere to go")
    wanted = inline("moved", starts.marked(FIRST_SLEEPS), requestId=request_id, backoffLimit=1)
    namespace.apply(wanted)
    first = pod_of(namespace, starts, "moved")
    began = time.monotonic()

    with drained(first["spec"]["nodeName"], "moved"):
        print(f"drained after {time.monotonic() - began:.1f} s")
        status = namespace.finished("moved", 60)

    print(f"ended elsewhere after {time.monotonic() - began:.1f} s")
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "again\n")
    assert [(a["reason"], a["counted"]) for a in status["attempts"]] == [
        ("Evicted", False),
        ("Completed", False),
    ]
    second = next(p for p in namespace.pods("moved") if p["metadata"]["name"].endswith("-1"))
    assert second["spec"]["nodeName"] != first["spec"]["nodeName"]
    assert one_result(request_id)["attempt"] == 1
    assert (starts.of("moved"), starts.most()) == (2, 1)


def test_container_runtime_restarted_is_not_noticed(
    namespace: Namespace, starts: Starts, request_id: str
) -> None:
    """About 12 s."""
    code = "import time\ntime.sleep(6)\nprint('whole')"
    namespace.apply(inline("steady", starts.marked(code), requestId=request_id))
    pod = pod_of(namespace, starts, "steady")

    Node(pod["spec"]["nodeName"]).restart_runtime()

    status = namespace.finished("steady", 60)
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert one_result(request_id)["stdout"] == "whole\n"
    assert starts.of("steady") == 1


@pytest.mark.slow
def test_node_frozen_for_a_moment_is_not_noticed(
    namespace: Namespace, starts: Starts, worker: Node, request_id: str
) -> None:
    """About 40 s. Shorter than Kubernetes takes to call a node lost."""
    code = "import time\ntime.sleep(10)\nprint('whole')"
    namespace.apply(inline("stalled", starts.marked(code), requestId=request_id))
    pod_of(namespace, starts, "stalled")

    worker.pause()
    began = time.monotonic()
    eventually("the code's time is over", lambda: time.monotonic() - began > 15, 20)
    worker.resume()

    status = namespace.finished("stalled", 60)
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert one_result(request_id)["stdout"] == "whole\n"
    assert starts.of("stalled") == 1


@pytest.mark.slow
def test_node_rebooted_at_once(
    namespace: Namespace, starts: Starts, worker: Node, request_id: str
) -> None:
    """About 60 s. The node is back before Kubernetes misses it; its containers are not."""
    namespace.apply(inline("rebooted", starts.marked(SLEEPER), requestId=request_id))
    pod_of(namespace, starts, "rebooted")

    worker.stop()
    worker.resume()
    began = time.monotonic()

    status = namespace.finished("rebooted", 120)
    print(f"{status['reason']} {time.monotonic() - began:.1f} s after: {status['message']}")
    assert status["phase"] == "Failed"
    assert one_result(request_id)["reason"] == status["reason"] == "NodeLost"
    assert starts.of("rebooted") == 1


def timeline(namespace: Namespace, node: Node, name: str, began: float) -> None:
    """Wait until a job on a lost node is told to be lost, and print when what was seen."""

    def leaving() -> bool:
        return any(p["metadata"].get("deletionTimestamp") for p in namespace.pods(name))

    eventually("the node is NotReady", lambda: not node.ready(), 90)
    print(f"node NotReady {time.monotonic() - began:.0f} s after the fault")
    eventually("the pod is evicted", lambda: leaving() or not namespace.pods(name), 120)
    print(f"pod evicted {time.monotonic() - began:.0f} s after the fault")


def end_of(namespace: Namespace, name: str) -> Json:
    """The status of a job that its node took with it; one `kubectl wait` would not be enough."""

    def over() -> bool:
        return "completionTime" in namespace.status(name)

    eventually("the job has ended", over, LOST_SECONDS)
    return namespace.status(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_node_powered_off(
    namespace: Namespace, starts: Starts, worker: Node, request_id: str
) -> None:
    """About 5 min. One job ends, one is tried again elsewhere; the return changes nothing."""
    ids = {"alone": request_id, "retried": f"{request_id}-r"}
    namespace.apply(
        inline("alone", starts.marked(SLEEPER), requestId=ids["alone"], **HASTY),
        inline("retried", starts.marked(FIRST_SLEEPS), requestId=ids["retried"], backoffLimit=1,
               **HASTY),
    )  # fmt: skip
    for name in ids:
        pod_of(namespace, starts, name)

    worker.stop()
    began = time.monotonic()
    for other in workers():
        if other != worker:
            kubectl("uncordon", other.name)
    timeline(namespace, worker, "alone", began)
    alone = end_of(namespace, "alone")
    print(f"{alone['reason']} {time.monotonic() - began:.0f} s after the fault: {alone['message']}")
    retried = namespace.finished("retried", 60)
    print(f"second attempt ended {time.monotonic() - began:.0f} s after the fault")

    assert (alone["phase"], alone["reason"]) == ("Failed", "NodeLost")
    assert retried["phase"] == "Succeeded"
    lost = retried["attempts"][0]
    assert (lost["reason"], lost["counted"]) == ("NodeLost", False)
    before = {name: namespace.get(name)["metadata"]["resourceVersion"] for name in ids}

    worker.resume()
    eventually("the old pods are gone", lambda: not left_on(namespace, worker), 120)
    for name, resource_version in before.items():
        assert namespace.get(name)["metadata"]["resourceVersion"] == resource_version
        assert one_result(ids[name])["attempt"] == (1 if name == "retried" else 0)
    assert (starts.of("alone"), starts.of("retried"), starts.most()) == (1, 2, 1)


def left_on(namespace: Namespace, node: Node) -> list[str]:
    """The namespace's pods on a node."""
    field = f"--field-selector=spec.nodeName={node.name}"
    return namespace.kubectl("get", "pods", field, "-o", "name").split()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_node_frozen_until_its_jobs_are_lost_reports_late_in_vain(
    namespace: Namespace, starts: Starts, worker: Node, request_id: str
) -> None:
    """About 5 min. The code ends well after all, but everybody has read NodeLost already."""
    code = "import time\ntime.sleep(10)\nprint('late')"
    namespace.apply(inline("late", starts.marked(code), requestId=request_id, **HASTY))
    pod_of(namespace, starts, "late")

    worker.pause()
    began = time.monotonic()
    timeline(namespace, worker, "late", began)
    status = end_of(namespace, "late")
    print(f"{status['reason']} {time.monotonic() - began:.0f} s after the fault")
    assert (status["phase"], status["reason"]) == ("Failed", "NodeLost")
    before = namespace.get("late")["metadata"]["resourceVersion"]

    worker.resume()
    eventually("the old pod is gone", lambda: not left_on(namespace, worker), 120)
    assert namespace.get("late")["metadata"]["resourceVersion"] == before
    assert one_result(request_id)["reason"] == "NodeLost"
    assert starts.of("late") == 1
