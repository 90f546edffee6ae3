"""Two real operator processes and one Lease: the standby takes over, and nothing happens twice."""

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from nanogrid.tenancy import PLATFORM_STREAM
from support.operator_cluster import OWN_PODS, OperatorCluster, operator_cluster
from support.operator_process import OperatorProcess
from support.redis_server import PASSWORD, Server, a_server, needs_redis
from support.s3_server import free_port
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, needs_redis]

SATURATED_SECONDS = 20


class Operators:
    """The operators of one cluster."""

    def __init__(self, cluster: OperatorCluster, store: Server, directory: Path) -> None:
        self.cluster, self._store, self._directory = cluster, store, directory
        self.all: dict[str, OperatorProcess] = {}

    def start(self, name: str, **settings: str) -> OperatorProcess:
        """Start an operator; returns when it is ready."""
        environment = self.cluster.environment(name) | {
            "NANOGRID_REDIS_URL": f"redis://127.0.0.1:{self._store.port}/0",
            "NANOGRID_REDIS_PASSWORD": PASSWORD,
            **settings,
        }
        log = self._directory / f"{name}.log"
        self.all[name] = OperatorProcess(environment, free_port(), log).start()
        self.all[name].wait_ready()
        return self.all[name]

    def entries(self) -> list[str]:
        """The requestIds in the stream, one for each delivery."""
        with redis.Redis(port=self._store.port, password=PASSWORD, decode_responses=True) as store:
            return [fields["requestId"] for _, fields in store.xrange(PLATFORM_STREAM)]


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    with operator_cluster(tmp_path) as cluster, a_server(tmp_path) as store:
        started = Operators(cluster, store, tmp_path)
        yield started
        for operator in started.all.values():
            operator.kill()


def all_ended_once(operators: Operators, jobs: list[str]) -> None:
    """Each job has one pod and one entry in the stream."""
    cluster = operators.cluster
    wait_until(lambda: len(operators.entries()) >= len(jobs) and not cluster.unfinished(), 120)
    statuses = [o["status"] for path, o in cluster.objects.items() if "/executionjobs/" in path]
    assert [s["reason"] for s in statuses] == ["Completed"] * len(jobs)
    assert len(cluster.pods) == len(set(cluster.pods)) == len(jobs)
    entries = operators.entries()
    assert len(entries) == len(set(entries)) == len(jobs)


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
    for name in ("a", "b"):
        pod = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "platform"}}
        cluster.put(OWN_PODS, pod)
    leader = operators.start("a", NANOGRID_POD_UID="uid-a")
    cluster.put_jobs("job-0")
    leader.freeze()  # it does not notice, as on a node that is cut off
    cluster.remove(f"{OWN_PODS}/a")

    successor = operators.start("b", NANOGRID_POD_UID="uid-b")

    assert "the pod of a_uid-a is gone" in successor.log.read_text()
    assert "standing by" not in successor.log.read_text()
    all_ended_once(operators, ["job-0"])


@contextmanager
def saturated() -> Iterator[None]:
    """Four processes use all CPU that they get, as long as the context lasts."""
    burner = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            process = stack.enter_context(subprocess.Popen(burner))
            stack.callback(process.kill)
        yield


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
