"""The leader is killed, lost again and again, or has no CPU to spare."""

import os
import time
import uuid
from collections.abc import Iterator

import pytest

from chaos.labfixtures import checked_ledger
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.nodes import Node, signal_container
from support.operators import saturated
from support.release import (
    IN_RELEASE,
    OPERATOR_LABEL,
    acquired,
    leader_pod,
    lease,
    settled_lease,
    start_operator,
    with_new_holder,
)

KILLED_EVERY_SECONDS = 7.0
JOBS = 24
MOST_KILLS = 60  # 7 minutes
SATURATED_SECONDS = float(os.environ.get("NANOGRID_SATURATED_SECONDS", "600"))


@pytest.fixture
def replicas(request: pytest.FixtureRequest, cluster: None) -> Iterator[int]:
    """So many operators, all ready; one of them leads."""
    count: int = getattr(request, "param", 2)
    start_operator(count)
    yield count
    start_operator()


def short_jobs(run: str) -> list[Json]:
    """Jobs of up to four seconds; small, so that agents that wait leave room on the nodes."""
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}}
    return [
        inline(
            f"j{n}",
            f"import time; time.sleep({n % 5}); print({n})",
            requestId=f"{run}-{n}",
            resources=small,
        )
        for n in range(JOBS)
    ]


def all_finished(namespace: Namespace) -> bool:
    """Whether all jobs of the namespace have ended."""
    found = kubectl_json("--namespace", namespace.name, "get", "ej")["items"]
    return all((one.get("status") or {}).get("completionTime") for one in found)


def restarts() -> dict[str, int]:
    """How often each pod of the operator was restarted."""
    pods = kubectl_json(*IN_RELEASE, "get", "pods", "-l", OPERATOR_LABEL)["items"]
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
    }


def logs(pod: str) -> str:
    """What the present container of a pod has logged."""
    return kubectl(*IN_RELEASE, "logs", pod)


def test_a_standby_takes_over_when_its_leader_is_killed(
    kind_nodes: list[Node], namespace: Namespace, replicas: int
) -> None:
    before, started = settled_lease(replicas), restarts()
    leader = leader_pod(before)
    namespace.apply(inline("through", "import time; time.sleep(3); print('through')"))
    signal_container(kubectl_json(*IN_RELEASE, "get", "pod", leader), "operator")
    began = time.monotonic()

    def led_again() -> Json | None:
        now = lease()
        if now["leaseTransitions"] > before["leaseTransitions"]:
            return now
        # On a slow machine its container may start again before the standby takes over.
        came_back = restarts()[leader] > started[leader]
        return now if came_back and "acquired Lease" in logs(leader) else None

    after = eventually("a leader", led_again)
    print(f"taken over after {time.monotonic() - began:.1f} s: {acquired(after)}")
    assert namespace.finished("through")["result"]["stdout"] == "through\n"
    assert len(namespace.pods("through")) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("replicas", [1, 2], indirect=True)
def test_jobs_progress_while_the_leader_is_lost_every_seven_seconds(
    namespace: Namespace, replicas: int
) -> None:
    settled_lease(replicas)
    began, kills = time.monotonic(), 0
    with checked_ledger(namespace):  # each job has one pod, one end, one delivery
        namespace.apply(*short_jobs(uuid.uuid4().hex[:8]))
        while not all_finished(namespace):
            assert kills < MOST_KILLS, "the jobs do not progress"
            if leader := leader_pod(lease()):
                kubectl(
                    *IN_RELEASE, "delete", "pod", leader,
                    "--force", "--grace-period=0", "--ignore-not-found",
                )  # fmt: skip
                kills += 1
            time.sleep(KILLED_EVERY_SECONDS)
        took = time.monotonic() - began
        for n in range(JOBS):
            assert namespace.status(f"j{n}")["result"]["stdout"] == f"{n}\n"
    print(f"{replicas} replicas: {JOBS} jobs in {took:.0f} s, the leader lost {kills} times")
    assert kills >= 2


@pytest.mark.slow
@pytest.mark.timeout(SATURATED_SECONDS + 600)
def test_a_leader_without_spare_cpu_stays_the_leader(
    kind_nodes: list[Node], namespace: Namespace, replicas: int
) -> None:
    before, started = settled_lease(replicas), restarts()
    with saturated(2 * (os.cpu_count() or 1)):  # the nodes are containers of this machine
        end = time.monotonic() + SATURATED_SECONDS
        done = 0
        while time.monotonic() < end:
            name = f"busy-{done}"
            status = namespace.run(inline(name, f"print({done})"))
            assert status["reason"] == "Completed"
            done += 1
    after = lease()
    print(f"{done} jobs in {SATURATED_SECONDS:.0f} s without spare CPU")

    assert done > 0
    assert after["holderIdentity"] == before["holderIdentity"]
    assert after["leaseTransitions"] == before["leaseTransitions"]
    assert restarts() == started
    # A leader that does end is replaced: the same check can fail.
    kubectl(*IN_RELEASE, "delete", "pod", leader_pod(after), "--force", "--grace-period=0")
    assert eventually("another holder", lambda: with_new_holder(after))
