"""Two real operator processes and one Lease: the standby takes over, and nothing happens twice."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid_executor.agent.report_client import post_once
from support.builders import a_report, a_result, signed
from support.operator_cluster import (
    JOBS_PATH,
    NAMESPACE,
    OWN_PODS,
    REPORT_KEY,
    OperatorCluster,
)
from support.operator_process import OperatorProcess
from support.operators import Operators, all_ended_once, running_operators, saturated
from support.redis_server import needs_redis
from support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.integration, needs_redis]

SATURATED_SECONDS = 20
LOST_EVERY_SECONDS = 7


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    with running_operators(tmp_path) as started:
        yield started


def test_a_standby_has_listed_and_writes_nothing(operators: Operators) -> None:
    operators.start("a")
    operators.start("b")
    cluster = operators.cluster
    cluster.put_jobs("job-0", "job-1")
    all_ended_once(operators, ["job-0", "job-1"])
    wait_until(lambda: cluster.watches("b") >= 2)

    assert cluster.holder == "a"
    assert any(r.writes for r in cluster.sent("a")), "the leader writes"
    assert [r for r in cluster.sent("b") if r.writes] == []


def test_a_standby_takes_over_when_its_leader_is_killed(operators: Operators) -> None:
    leader = operators.start("a")
    operators.start("b")
    cluster = operators.cluster
    wait_until(lambda: cluster.watches("b") >= 2)
    jobs = [f"job-{n}" for n in range(20)]
    cluster.put_jobs(*jobs[:10])
    wait_until(lambda: cluster.pods)

    leader.kill()
    killed = time.monotonic()
    cluster.put_jobs(*jobs[10:])
    wait_until(lambda: cluster.holder == "b")
    taken = cluster.holders[-1][0] - killed
    all_ended_once(operators, jobs)

    first = next(r for r in cluster.sent("b") if r.writes and "/leases/" not in r.path)
    print(f"taken over after {taken:.1f} s, first write after {first.at - killed:.1f} s")
    assert cluster.lease["leaseTransitions"] == 2


def test_a_leader_that_stops_hands_over(operators: Operators) -> None:
    leader = operators.start("a")
    operators.start("b")
    cluster = operators.cluster
    cluster.put_jobs("job-0")
    wait_until(lambda: cluster.pods)

    assert leader.stop() == 0
    wait_until(lambda: cluster.holder == "b")
    all_ended_once(operators, ["job-0"])

    released, taken = [at for at, _ in cluster.holders[-2:]]
    print(f"taken over {taken - released:.1f} s after the release")
    assert [holder for _, holder in cluster.holders] == ["a", "", "b"]


def test_a_frozen_leader_that_comes_back_ends_itself(operators: Operators) -> None:
    """It acts for a moment with what it knew. Nothing happens twice."""
    leader = operators.start("a")
    operators.start("b")
    cluster = operators.cluster
    cluster.put_jobs(*(jobs := [f"job-{n}" for n in range(10)]))
    wait_until(lambda: cluster.pods)

    leader.freeze()
    wait_until(lambda: cluster.holder == "b")
    leader.resume()

    wait_until(lambda: not leader.running)
    assert "b holds Lease" in leader.tail()
    all_ended_once(operators, jobs)


def test_a_single_replica_does_not_wait_for_a_pod_that_is_gone(operators: Operators) -> None:
    cluster = operators.cluster
    leader = operators.start_in_pod("a")
    cluster.put_jobs("job-0")
    leader.freeze()  # it does not notice, as on a node that is cut off
    cluster.remove(f"{OWN_PODS}/a")

    successor = operators.start_in_pod("b")

    assert "the pod of a_uid-a is gone" in successor.log.read_text()
    assert "standing by" not in successor.log.read_text()
    all_ended_once(operators, ["job-0"])


def test_a_leader_without_spare_cpu_stays_the_leader(operators: Operators) -> None:
    operators.start("a")
    operators.start("b")
    cluster = operators.cluster
    wait_until(lambda: cluster.watches("b") >= 2)
    jobs = [f"job-{n}" for n in range(100)]
    before = len(cluster.renewals)
    with saturated():
        cluster.put_jobs(*jobs)
        time.sleep(SATURATED_SECONDS)
    times = cluster.renewals[before:]
    longest = max(b - a for a, b in itertools.pairwise(times))
    print(f"{len(times)} renewals, {longest:.2f} s apart at most")
    all_ended_once(operators, jobs)

    assert [holder for _, holder in cluster.holders] == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_jobs_progress_while_the_leader_is_lost_every_seven_seconds(
    operators: Operators, replicas: int
) -> None:
    """Its pod is gone each time, and the Deployment makes a new one."""
    cluster, lost = operators.cluster, 0
    cluster.pod_seconds = 3.0
    for number in range(replicas):
        operators.start_in_pod(f"operator-{number}")
    jobs = [f"job-{n}" for n in range(100)]
    for first in range(0, len(jobs), 20):
        cluster.put_jobs(*jobs[first : first + 20])
        time.sleep(LOST_EVERY_SECONDS)
        wait_until(lambda: cluster.holder)
        leader = cluster.holder.partition("_")[0]
        operators.lose(leader)
        lost += 1
        operators.start_in_pod(f"operator-{replicas + lost}", wait=False)
    all_ended_once(operators, jobs)
    print(f"{replicas} replicas: the leader was lost {lost} times")


def report(to: OperatorProcess, cluster: OperatorCluster, job: str, token_file: Path) -> int | str:
    """POST the result of a job to an operator, as its agent does: once."""
    uid = cluster.objects[f"{JOBS_PATH}/{job}"]["metadata"]["uid"]
    token_file.write_text(names.report_token(REPORT_KEY.encode(), uid))
    ref = wire.JobRef(namespace=NAMESPACE, name=job, uid=uid)
    body = wire.dumps(a_report(signed(a_result(request_id=uid, job=ref))))
    url = f"http://127.0.0.1:{to.port}{names.RESULTS_PATH}"
    return post_once(url, str(token_file), body.encode())


def runs(cluster: OperatorCluster, job: str) -> bool:
    """Whether the leader knows that the pod of a job runs."""
    found = cluster.objects[f"{JOBS_PATH}/{job}"].get("status") or {}
    return bool(found.get("phase") == "Running")


def test_a_result_that_reaches_the_standby_ends_the_job_at_the_first_try(
    operators: Operators, tmp_path: Path
) -> None:
    cluster, token = operators.cluster, tmp_path / "token"
    cluster.pod_seconds = 600.0  # only a report ends a job
    operators.start_in_pod("a")
    standby = operators.start_in_pod("b")
    cluster.put_jobs("job-0", "job-1")
    wait_until(lambda: runs(cluster, "job-0") and runs(cluster, "job-1"), 120)

    wrong = tmp_path / "wrong"
    wrong.write_text(names.report_token(b"another key", "uid"))
    url = f"http://127.0.0.1:{standby.port}{names.RESULTS_PATH}"
    assert post_once(url, str(wrong), b"{}") == 401

    assert report(standby, cluster, "job-0", token) == 202
    assert report(operators.all["a"], cluster, "job-1", token) == 202, "the control"

    all_ended_once(operators, ["job-0", "job-1"])
    assert cluster.holder.startswith("a_")
    assert [r for r in cluster.sent("b") if r.writes] == []
    taken = f"the leader at 127.0.0.1:{operators.all['a'].port} has answered a report with 202"
    assert standby.log.read_text().count(taken) == 1


def test_results_follow_the_leader_through_a_take_over(
    operators: Operators, tmp_path: Path
) -> None:
    cluster, token = operators.cluster, tmp_path / "token"
    cluster.pod_seconds = 600.0
    operators.start_in_pod("a")
    second = operators.start_in_pod("b")
    jobs = ["job-0", "job-1", "job-2"]
    cluster.put_jobs(*jobs)
    wait_until(lambda: all(runs(cluster, job) for job in jobs), 120)
    assert report(second, cluster, "job-0", token) == 202
    # A report that its leader has not acted on ends with it; then the pod's end has the result.
    wait_until(lambda: "job-0" not in cluster.unfinished(), 120)

    operators.lose("a")
    while (answer := report(second, cluster, "job-1", token)) != 202:
        assert answer == 503, "the agent tries again"
        time.sleep(0.05)
    assert cluster.holder.startswith("b_")

    third = operators.start_in_pod("c")
    assert report(third, cluster, "job-2", token) == 202
    all_ended_once(operators, jobs)
    assert [r for r in cluster.sent("c") if r.writes] == []


def test_a_standby_whose_leader_hangs_answers_the_agent_in_time(
    operators: Operators, tmp_path: Path
) -> None:
    """The agent waits for 5 s. The frozen leader accepts connections and answers none."""
    cluster, token = operators.cluster, tmp_path / "token"
    cluster.pod_seconds = 600.0
    leader = operators.start_in_pod("a")
    standby = operators.start_in_pod("b")
    cluster.put_jobs("job-0")
    wait_until(lambda: runs(cluster, "job-0"), 120)

    leader.freeze()
    assert report(standby, cluster, "job-0", token) == 503
    wait_until(lambda: report(standby, cluster, "job-0", token) == 202, 60)
    all_ended_once(operators, ["job-0"])
