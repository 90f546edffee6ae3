"""More jobs than the pod limit: the limit holds, the oldest jobs start first, and all jobs end."""

import time

import pytest

from chaos.ledger import Ledger
from chaos.rig import Rig
from support.kubectl import inline

MAX_PODS, JOBS = 3, 12


def live_pods(ledger: Ledger) -> int:
    """The number of pods in the ledger that have not ended."""
    pods = [pod for uids in ledger.pods.values() for pod in uids.values()]
    return sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods)


def pod_order(ledger: Ledger) -> list[int]:
    """The numbers of the jobs in the order in which their pods were created."""
    return [int(pod.split("-")[1]) for pod in ledger.pods]


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    "killed",
    [
        pytest.param(False, id="", marks=pytest.mark.slow),  # the other case covers this one
        pytest.param(True, id="operator killed"),
    ],
)
def test_jobs_queue_at_the_pod_limit(rig: Rig, killed: bool) -> None:
    ledger = rig.ledger
    operator = rig.lab.operator(NANOGRID_MAX_PODS=str(MAX_PODS)).start()
    operator.wait_ready()
    code = rig.starts.marked("import time; time.sleep(4)")
    jobs = [f"queued-{number:02}" for number in range(JOBS)]
    most = 0

    def wait_ended(what: str, count: int, seconds: float) -> None:
        def ended() -> bool:
            nonlocal most
            most = max(most, live_pods(ledger))
            return sum(job.finished for job in ledger.jobs.values()) >= count

        ledger.wait(what, ended, seconds)

    began = time.monotonic()
    rig.namespace.apply(*(inline(name, code, requestId=f"req-{name}") for name in jobs))
    if killed:
        wait_ended("a few jobs have ended", MAX_PODS, 180)
        operator.kill()
        operator.start()
    wait_ended("all jobs have ended", JOBS, 200)

    records = [record for name in jobs if (record := ledger.named(name)) is not None]
    queued = [record for record in records if any(p[2] == "Queued" for p in record.phases)]
    order = pod_order(ledger)
    print(
        f"{JOBS} jobs, at most {most} of {MAX_PODS} pods at once, "
        f"{time.monotonic() - began:.1f} s, {len(queued)} were Queued; pods in the order {order}"
    )
    assert {record.reason for record in records} == {"Completed"}
    assert most == MAX_PODS
    assert len(queued) >= JOBS - 3 * MAX_PODS
    # Jobs of one apply have the same creation second or two; equal seconds are ordered by name.
    assert all(abs(index - number) < MAX_PODS for index, number in enumerate(order)), order
    rig.verify()


def test_an_unschedulable_job_holds_the_waiting_limit_until_it_is_cancelled(rig: Rig) -> None:
    ledger, namespace, starts = rig.ledger, rig.namespace, rig.starts
    rig.lab.operator(NANOGRID_MAX_WAITING_PODS="1").start().wait_ready()
    huge = {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}
    namespace.apply(inline("huge", starts.marked("print(1)"), resources=huge, requestId="req-huge"))
    ledger.wait("huge has a pod", lambda: ledger.pods_of("huge"), 120)
    namespace.apply(
        inline("unwanted", starts.marked("print(2)"), requestId="req-unwanted"),
        inline("patient", starts.marked("print(3)"), requestId="req-patient"),
    )
    expected = {"unwanted": "Queued", "patient": "Queued", "huge": "Unschedulable"}
    ledger.wait(
        "all jobs show what they wait for",
        lambda: {j.name: j.reason for j in ledger.jobs.values()} == expected,
        120,
    )
    namespace.patch("unwanted", cancel=True)
    ledger.wait_finished(["unwanted"], 120)
    assert not ledger.pods_of("patient"), "the limit still holds"

    namespace.patch("huge", cancel=True)
    ended = {r.name: r.reason for r in ledger.wait_finished(["huge", "patient"], 120)}

    assert ended == {"huge": "Cancelled", "patient": "Completed"}
    assert starts.count("patient") == 1
    rig.verify()
