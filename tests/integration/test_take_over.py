"""Two real operator processes and one Lease: the standby takes over, and nothing happens twice."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.operator_cluster import OWN_PODS
from support.operators import Operators, all_ended_once, running_operators, saturated
from support.redis_server import needs_redis
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, needs_redis]

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
