"""Nodes are drained, frozen, powered off, or their runtime restarts, while jobs run on them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chaos.onejob import SLEEPER, OneJob, running_pod
from chaos.results import one_result
from chaos.starts import Starts
from nanogrid import names
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl
from support.nodes import Node, workers

# The first attempt sleeps until it is lost; the next attempt ends at once.
FIRST_SLEEPS = """
import socket, time
time.sleep(600 if socket.gethostname().endswith('-0') else 0)
print('again')
"""
# Seconds: Kubernetes detects the loss after 40 to 50 and evicts after nodeLostSeconds (60).
LOST_SECONDS = 150
SHORT_GRACE = {"terminationGracePeriodSeconds": 1, "timeouts": {"uploadSeconds": 1}}


@contextmanager
def drained(node: str, job: str) -> Iterator[None]:
    """`kubectl drain` for the pods of one job only: the release also runs on the node."""
    selector = f"--pod-selector={names.LABEL_JOB}={job}"
    try:
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", selector,
                "--timeout=180s")  # fmt: skip
        yield
    finally:
        kubectl("uncordon", node)


def test_drain_moves_a_job_to_another_node_without_counting(
    one_job: OneJob, kind_nodes: list[Node]
) -> None:
    """About 8 s. No --force is needed: a sandbox pod has a controller."""
    if len(kind_nodes) < 2:
        pytest.skip("one worker only: there is no other node")
    namespace = one_job.namespace
    first = one_job.run("moved", FIRST_SLEEPS, backoffLimit=1)
    began = time.monotonic()

    with drained(first["spec"]["nodeName"], "moved"):
        print(f"drained after {time.monotonic() - began:.1f} s")
        status = namespace.finished("moved")

    print(f"ended elsewhere after {time.monotonic() - began:.1f} s")
    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "again\n")
    assert [(a["reason"], a["counted"]) for a in status["attempts"]] == [
        ("Evicted", False),
        ("Completed", False),
    ]
    second = next(p for p in namespace.pods("moved") if p["metadata"]["name"].endswith("-1"))
    assert second["spec"]["nodeName"] != first["spec"]["nodeName"]
    assert one_result(one_job.request_id)["attempt"] == 1
    assert (one_job.starts.count("moved"), one_job.starts.most_per_pod()) == (2, 1)


def test_a_job_survives_a_restart_of_the_container_runtime(one_job: OneJob) -> None:
    """About 12 s."""
    pod = one_job.run("steady", "import time\ntime.sleep(6)\nprint('whole')")

    Node(pod["spec"]["nodeName"]).restart_runtime()

    one_job.ends_with("Succeeded", "Completed", "steady")
    assert one_result(one_job.request_id)["stdout"] == "whole\n"


@pytest.mark.slow
def test_a_job_survives_a_short_freeze_of_its_node(one_job: OneJob, worker: Node) -> None:
    """About 40 s. The freeze ends before Kubernetes marks the node as lost."""
    one_job.run("stalled", "import time\ntime.sleep(10)\nprint('whole')")

    worker.pause()
    began = time.monotonic()
    eventually("the code's time is over", lambda: time.monotonic() - began > 15, 20)
    worker.resume()

    one_job.ends_with("Succeeded", "Completed", "stalled")
    assert one_result(one_job.request_id)["stdout"] == "whole\n"


@pytest.mark.slow
def test_node_rebooted_at_once(one_job: OneJob, worker: Node) -> None:
    """About 60 s. The node is back before Kubernetes marks it as lost; its containers are gone."""
    one_job.run("rebooted")

    worker.stop()
    worker.resume()
    began = time.monotonic()

    status = one_job.namespace.finished("rebooted", 120)
    print(f"{status['reason']} {time.monotonic() - began:.1f} s after: {status['message']}")
    assert status["phase"] == "Failed"
    assert one_result(one_job.request_id)["reason"] == status["reason"] == "NodeLost"
    assert one_job.starts.count("rebooted") == 1


def wait_for_eviction(namespace: Namespace, node: Node, name: str, began: float) -> None:
    """Wait until the pod of a job on a lost node is evicted; prints the times since ``began``."""

    def terminating() -> bool:
        return any(p["metadata"].get("deletionTimestamp") for p in namespace.pods(name))

    eventually("the node is NotReady", lambda: not node.ready(), 90)
    print(f"node NotReady {time.monotonic() - began:.0f} s after the fault")
    eventually("the pod is evicted", lambda: terminating() or not namespace.pods(name), 120)
    print(f"pod evicted {time.monotonic() - began:.0f} s after the fault")


def wait_for_end(namespace: Namespace, name: str) -> Json:
    """The status of a job whose node was lost; this takes longer than one `kubectl wait`."""

    def over() -> bool:
        return "completionTime" in namespace.status(name)

    eventually("the job has ended", over, LOST_SECONDS)
    return namespace.status(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_node_powered_off(
    namespace: Namespace, starts: Starts, worker: Node, request_id: str
) -> None:
    """About 5 min. One job ends, one is retried elsewhere; the node's return changes nothing."""
    ids = {"alone": request_id, "retried": f"{request_id}-r"}
    namespace.apply(
        inline("alone", starts.marked(SLEEPER), requestId=ids["alone"], **SHORT_GRACE),
        inline("retried", starts.marked(FIRST_SLEEPS), requestId=ids["retried"], backoffLimit=1,
               **SHORT_GRACE),
    )  # fmt: skip
    for name in ids:
        running_pod(namespace, starts, name)

    worker.stop()
    began = time.monotonic()
    for other in workers():
        if other != worker:
            kubectl("uncordon", other.name)
    wait_for_eviction(namespace, worker, "alone", began)
    alone = wait_for_end(namespace, "alone")
    print(f"{alone['reason']} {time.monotonic() - began:.0f} s after the fault: {alone['message']}")
    retried = namespace.finished("retried", 60)
    print(f"second attempt ended {time.monotonic() - began:.0f} s after the fault")

    assert (alone["phase"], alone["reason"]) == ("Failed", "NodeLost")
    assert retried["phase"] == "Succeeded"
    lost = retried["attempts"][0]
    assert (lost["reason"], lost["counted"]) == ("NodeLost", False)
    before = {name: namespace.get(name)["metadata"]["resourceVersion"] for name in ids}

    worker.resume()
    eventually("the old pods are deleted", lambda: not left_on(namespace, worker), 120)
    for name, resource_version in before.items():
        assert namespace.get(name)["metadata"]["resourceVersion"] == resource_version
        assert one_result(ids[name])["attempt"] == (1 if name == "retried" else 0)
    assert (starts.count("alone"), starts.count("retried"), starts.most_per_pod()) == (1, 2, 1)


def left_on(namespace: Namespace, node: Node) -> list[str]:
    """The namespace's pods on a node."""
    field = f"--field-selector=spec.nodeName={node.name}"
    return namespace.kubectl("get", "pods", field, "-o", "name").split()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_late_report_from_a_node_that_was_lost_changes_nothing(
    one_job: OneJob, worker: Node
) -> None:
    """About 5 min. The code succeeds after the freeze, but the result NodeLost is published."""
    namespace = one_job.namespace
    one_job.run("late", "import time\ntime.sleep(10)\nprint('late')", **SHORT_GRACE)

    worker.pause()
    began = time.monotonic()
    wait_for_eviction(namespace, worker, "late", began)
    status = wait_for_end(namespace, "late")
    print(f"{status['reason']} {time.monotonic() - began:.0f} s after the fault")
    assert (status["phase"], status["reason"]) == ("Failed", "NodeLost")
    before = namespace.get("late")["metadata"]["resourceVersion"]

    worker.resume()
    eventually("the old pod is deleted", lambda: not left_on(namespace, worker), 120)
    assert namespace.get("late")["metadata"]["resourceVersion"] == before
    assert one_result(one_job.request_id)["reason"] == "NodeLost"
    assert one_job.starts.count("late") == 1
