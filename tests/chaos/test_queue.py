"""More jobs than places: never too many pods at once, the oldest jobs first, all of them end."""

import time

import pytest

from chaos.lab.laboratory import Laboratory
from chaos.labfixtures import proven
from chaos.ledger import Ledger
from chaos.proof import Starts
from e2e.support import Namespace, inline

MOST, JOBS = 3, 12


def live_pods(ledger: Ledger) -> int:
    """How many pods have not ended, as far as the ledger has seen."""
    pods = [pod for uids in ledger.pods.values() for pod in uids.values()]
    return sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods)


def first_starts(starts: Starts) -> list[int]:
    """The numbers of the jobs in the order in which their code was started."""
    return [int(pod.split("-")[1]) for pod in starts.pods]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "killed",
    [
        pytest.param(False, id="", marks=pytest.mark.slow),  # the other one proves it as well
        pytest.param(True, id="operator killed"),
    ],
)
def test_jobs_queue_for_places(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace, killed: bool
) -> None:
    operator = lab.operator(NANOGRID_MAX_PODS=str(MOST)).start()
    operator.wait_ready()
    code = lab_starts.marked("import time; time.sleep(2)")
    jobs = [f"queued-{number:02}" for number in range(JOBS)]
    most = 0

    def watched(what: str, count: int, seconds: float) -> None:
        def ended() -> bool:
            nonlocal most
            most = max(most, live_pods(ledger))
            return sum(job.finished for job in ledger.jobs.values()) >= count

        ledger.wait(what, ended, seconds)

    began = time.monotonic()
    namespace.apply(*(inline(name, code, requestId=f"req-{name}") for name in jobs))
    if killed:
        watched("a few jobs have ended", MOST, 60)
        operator.kill()
        operator.start()
    watched("all jobs have ended", JOBS, 120)

    records = [record for name in jobs if (record := ledger.named(name)) is not None]
    queued = [record for record in records if any(p[2] == "Queued" for p in record.phases)]
    order = first_starts(lab_starts)
    print(
        f"{JOBS} jobs, at most {most} of {MOST} pods at once, {time.monotonic() - began:.1f} s, "
        f"{len(queued)} said Queued; started in the order {order}"
    )
    assert {record.reason for record in records} == {"Completed"}
    assert most == MOST
    assert len(queued) >= JOBS - 3 * MOST
    # Jobs of one apply are of one second or two, and then ordered by name.
    assert all(abs(place - number) < MOST for place, number in enumerate(order)), order
    proven(ledger, lab, lab_starts)


def test_a_job_that_no_node_takes_holds_its_place_until_it_is_cancelled(
    lab: Laboratory, ledger: Ledger, lab_starts: Starts, namespace: Namespace
) -> None:
    lab.operator(NANOGRID_MAX_WAITING_PODS="1").start().wait_ready()
    huge = {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}
    namespace.apply(
        inline("huge", lab_starts.marked("print(1)"), resources=huge, requestId="req-huge")
    )
    ledger.wait("huge has a pod", lambda: ledger.pods_of("huge"), 30)
    namespace.apply(
        inline("unwanted", lab_starts.marked("print(2)"), requestId="req-unwanted"),
        inline("patient", lab_starts.marked("print(3)"), requestId="req-patient"),
    )
    said = {"unwanted": "Queued", "patient": "Queued", "huge": "Unschedulable"}
    ledger.wait(
        "all say what they wait for",
        lambda: {j.name: j.reason for j in ledger.jobs.values()} == said,
        30,
    )
    namespace.kubectl("patch", "ej", "unwanted", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    ledger.wait_finished(["unwanted"], 20)
    assert not ledger.pods_of("patient"), "the place is still taken"

    namespace.kubectl("patch", "ej", "huge", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    ended = {r.name: r.reason for r in ledger.wait_finished(["huge", "patient"], 60)}

    assert ended == {"huge": "Cancelled", "patient": "Completed"}
    assert lab_starts.of("patient") == 1
    proven(ledger, lab, lab_starts)
