"""Pods deleted and evicted through the API: a named end, one result, one start per pod."""

import pytest

from chaos.onejob import OneJob
from chaos.results import stored_result
from support.kubectl import eventually
from support.release import kill_operator


def test_pod_deleted_gracefully_keeps_the_printed_output(one_job: OneJob) -> None:
    """About 5 s."""
    pod = one_job.run("asked")

    one_job.namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")

    status = one_job.ends_with("Failed", "Terminated", "asked")
    assert status["result"]["stdout"] == "begun\n"
    assert stored_result(one_job.namespace, one_job.request_id)["reason"] == "Terminated"


def test_evicted_pod_has_its_reason_and_keeps_the_printed_output(one_job: OneJob) -> None:
    """About 5 s."""
    one_job.namespace.evict(one_job.run("moved"))

    status = one_job.ends_with("Failed", "Evicted", "moved")
    assert status["result"]["stdout"] == "begun\n"


@pytest.mark.slow
def test_evicted_pod_is_retried_without_counting(one_job: OneJob) -> None:
    """About 12 s. Each pod starts the code once; only the last attempt's result is delivered."""
    code = (
        "import time, socket\n"
        "time.sleep(600 if socket.gethostname().endswith('-0') else 0)\n"
        "print('second')"
    )
    one_job.namespace.evict(one_job.run("again", code, backoffLimit=1))

    status = one_job.ends_with("Succeeded", "Completed", "again", starts=2)
    first, _ = status["attempts"]
    assert (first["reason"], first["counted"]) == ("Evicted", False)
    assert one_job.starts.most_per_pod() == 1


@pytest.mark.slow
def test_pod_deleted_by_force_while_the_operator_restarts(one_job: OneJob) -> None:
    """About 12 s. The new operator has never seen the pod; it must not start the job again."""
    pod = one_job.run("vanished")
    eventually(
        "the status names the pod", lambda: one_job.namespace.status("vanished").get("podName")
    )

    kill_operator()
    name = pod["metadata"]["name"]
    one_job.namespace.kubectl("delete", "pod", name, "--force", "--grace-period=0")

    status = one_job.ended("vanished")
    assert status["phase"] == "Failed"
    assert status["reason"] in ("PodLost", "Terminated")
    assert one_job.starts.count("vanished") == 1
