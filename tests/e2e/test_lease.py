"""Leader election: a rolling update hands over the Lease at once, a lost pod is replaced soon."""

import time
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.kube.leader_address import LeaderAddress
from support.kubectl import Namespace, eventually, inline, kubectl, kubectl_json
from support.release import (
    IN_RELEASE,
    OPERATOR,
    acquired,
    leader_pod,
    lease,
    operator_pods,
    settled_lease,
    start_operator,
    wait_for_operator,
    with_new_holder,
)

pytestmark = pytest.mark.alone

# Half of all results reach the standby, by chance.
MOST_ROUNDS = 4
JOBS_OF_A_ROUND = 6
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}


@pytest.fixture
def two_replicas(cluster: None) -> Iterator[None]:
    """Leader and standby, both ready."""
    start_operator(replicas=2)
    yield
    start_operator(replicas=1)


def delete_by_force(pod: str) -> None:
    """Delete a pod without grace, as when its node is lost."""
    kubectl(*IN_RELEASE, "delete", "pod", pod, "--force", "--grace-period=0")


def test_a_rolling_update_hands_over_while_jobs_run(namespace: Namespace) -> None:
    before = settled_lease()
    namespace.apply(inline("through", "import time; time.sleep(6); print('through')"))

    kubectl(*IN_RELEASE, "rollout", "restart", OPERATOR)
    free: list[float] = []

    def handed_over() -> Json | None:
        now = lease()
        if now.get("holderIdentity") == "":
            free.append(time.monotonic())
        return with_new_holder(before)

    after = eventually("another holder", handed_over)
    took = time.monotonic() - free[0] if free else 0.0
    wait_for_operator()

    log = kubectl(*IN_RELEASE, "logs", leader_pod(after))
    print(f"released and taken over within {took:.1f} s")
    assert f"standing by: {before['holderIdentity']} holds Lease" in log, "the new pod did not wait"
    assert acquired(after).endswith(after["holderIdentity"]), "a released Lease is not waited for"
    assert namespace.finished("through")["result"]["stdout"] == "through\n"
    assert len(namespace.pods("through")) == 1


def test_a_lost_leader_is_replaced(namespace: Namespace) -> None:
    before = settled_lease()
    delete_by_force(leader_pod(before))
    began = time.monotonic()
    after = eventually("another holder", lambda: with_new_holder(before))
    print(f"replaced after {time.monotonic() - began:.1f} s: {acquired(after)}")

    assert "did not renew" not in acquired(after), "the pod is gone, so its Lease is not waited for"
    assert namespace.run(inline("after", "print('after')"))["reason"] == "Completed"


@pytest.mark.usefixtures("two_replicas")
def test_a_standby_takes_over_from_a_lost_leader(namespace: Namespace) -> None:
    before = settled_lease(replicas=2)
    (standby,) = set(operator_pods()) - {leader_pod(before)}
    namespace.apply(inline("through", "import time; time.sleep(6); print('through')"))
    delete_by_force(leader_pod(before))
    began = time.monotonic()
    after = eventually("another holder", lambda: with_new_holder(before))
    print(f"taken over after {time.monotonic() - began:.1f} s: {acquired(after)}")

    assert leader_pod(after) == standby, "the pod that replaces the leader was faster"
    log = kubectl(*IN_RELEASE, "logs", standby)
    assert f"standing by: {before['holderIdentity']} holds Lease" in log
    assert namespace.finished("through")["result"]["stdout"] == "through\n"
    assert len(namespace.pods("through")) == 1


def agent_log(namespace: Namespace, job: str) -> str:
    """What the agent of a job's only pod has logged."""
    pod = namespace.only_pod(job)["metadata"]["name"]
    return namespace.kubectl("logs", pod, "-c", names.CONTAINER_AGENT)


def refusals(log: str) -> list[str]:
    """Why a replica refused an agent's reports.

    A connection that no replica accepts is none: a node's rules of the Service follow a deleted
    pod with a delay.
    """
    retries = [line for line in log.splitlines() if line.startswith("report-retry")]
    return [line for line in retries if "Connection refused" not in line]


def report_through(namespace: Namespace, standby: str, leader: str, prefix: str) -> None:
    """Run jobs until the standby has forwarded one of their results; none is refused."""
    host = kubectl_json(*IN_RELEASE, "get", "pod", leader)["status"]["podIP"]
    address = LeaderAddress(host, names.RESULTS_PORT)
    forwarded = f"the leader at {address} has answered a report with 202"
    for number in range(MOST_ROUNDS):
        jobs = [f"{prefix}-{number}-{n}" for n in range(JOBS_OF_A_ROUND)]
        namespace.apply(*(inline(job, f"print('{job}')", resources=SMALL) for job in jobs))
        for job in jobs:
            assert namespace.finished(job)["result"]["stdout"] == f"{job}\n"
            log = agent_log(namespace, job)
            assert "report-delivered" in log
            assert not refusals(log), f"a replica refused the report of {job}:\n{log}"
        log = kubectl(*IN_RELEASE, "logs", standby)
        assert "a report was not taken" not in log
        if count := log.count(forwarded):
            print(f"{standby} has forwarded {count} results to {leader}")
            return
    raise AssertionError(f"no result has reached {standby}, which the Service selects")


@pytest.mark.usefixtures("two_replicas")
def test_reports_reach_the_leader_through_a_standby(namespace: Namespace) -> None:
    before = settled_lease(replicas=2)
    (standby,) = set(operator_pods()) - {leader_pod(before)}
    report_through(namespace, standby, leader_pod(before), "before")

    delete_by_force(leader_pod(before))
    eventually("another holder", lambda: with_new_holder(before))
    wait_for_operator()

    after = settled_lease(replicas=2)
    (standby,) = set(operator_pods()) - {leader_pod(after)}
    assert leader_pod(after) != leader_pod(before)
    report_through(namespace, standby, leader_pod(after), "after")
    assert lease()["holderIdentity"] == after["holderIdentity"]
