"""Two real operator processes with controller classes over one API server: each its own jobs."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from nanogrid import controller_class, names
from nanogrid.kube.conventions import collection
from support.operator_cluster import JOBS_PATH, PODS_OF_JOBS, OperatorCluster
from support.operators import Operators, running_operators
from support.redis_server import needs_redis
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security, needs_redis]

BETA = "beta"
PLAIN_JOBS, BETA_JOBS = ["plain-0", "plain-1"], ["beta-0", "beta-1"]
LEASES = "/leases/"


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    with running_operators(tmp_path) as started:
        yield started


def start(operators: Operators, name: str, own: str) -> None:
    """Start an operator of a class; its release has a namespace of its own."""
    settings = {controller_class.ENV: own, "NANOGRID_LEASE_NAMESPACE": f"release-{name}"}
    operators.start(name, **settings)


def written(cluster: OperatorCluster, sender: str) -> set[str]:
    """The names of jobs that an operator has written to, or whose pods it has created."""
    paths = [r.path for r in cluster.sent(sender) if r.writes and LEASES not in r.path]
    prefix = f"{JOBS_PATH}/"
    return {p.removeprefix(prefix).split("/")[0] for p in paths if p.startswith(prefix)}


def ended(cluster: OperatorCluster, jobs: list[str]) -> bool:
    return not set(jobs) & set(cluster.unfinished())


def owner_of(cluster: OperatorCluster, pod: str) -> str:
    labels = cluster.objects[f"{PODS_OF_JOBS}/{pod}"]["metadata"]["labels"]
    return str(labels[names.LABEL_JOB])


def test_each_operator_ends_its_own_jobs_and_writes_to_no_other(operators: Operators) -> None:
    cluster = operators.cluster
    cluster.put_jobs(*PLAIN_JOBS[:1])
    cluster.put_jobs(*BETA_JOBS[:1], controllerClass=BETA)
    start(operators, "plain", "")
    start(operators, "beta", BETA)
    # Those come by the watch, the first ones by the LIST.
    cluster.put_jobs(*PLAIN_JOBS[1:])
    cluster.put_jobs(*BETA_JOBS[1:], controllerClass=BETA)

    wait_until(lambda: not cluster.unfinished(), 120)

    assert written(cluster, "plain") == set(PLAIN_JOBS)
    assert written(cluster, "beta") == set(BETA_JOBS)
    assert len(cluster.pods) == len(set(cluster.pods)) == 4
    for sender, own, pods in (("plain", "", PLAIN_JOBS), ("beta", BETA, BETA_JOBS)):
        found = [
            body["metadata"]["labels"]
            for path, body in cluster.objects.items()
            if path.startswith(f"{PODS_OF_JOBS}/")
            and controller_class.labels(own).items() <= body["metadata"]["labels"].items()
            and (own or names.LABEL_CONTROLLER_CLASS not in body["metadata"]["labels"])
        ]
        assert sorted(labels[names.LABEL_JOB] for labels in found) == pods, sender
    assert len(operators.entries()) == 4


def test_jobs_of_a_class_without_an_operator_wait(operators: Operators) -> None:
    cluster = operators.cluster
    cluster.put_jobs("beta-0", controllerClass=BETA)
    cluster.put_jobs("plain-0")
    start(operators, "plain", "")
    wait_until(lambda: ended(cluster, ["plain-0"]), 120)
    untouched = "status" not in cluster.objects[f"{JOBS_PATH}/beta-0"]

    start(operators, "beta", BETA)
    wait_until(lambda: ended(cluster, ["beta-0"]), 120)

    assert untouched
    assert written(cluster, "plain") == {"plain-0"}


def test_the_api_server_selects_for_each_operator(operators: Operators) -> None:
    """No operator asks for, or gets, the jobs and pods of the other one."""
    cluster = operators.cluster
    start(operators, "plain", "")
    start(operators, "beta", BETA)
    wait_until(lambda: min(cluster.watches("plain"), cluster.watches("beta")) >= 2)

    for sender, own in (("plain", ""), ("beta", BETA)):
        asked = [unquote(r.path) for r in cluster.sent(sender)]
        jobs = [p for p in asked if p.startswith(f"{JOBS_PATH}?") and "limit=1&" not in f"{p}&"]
        pods = [p for p in asked if p.startswith(f"{PODS_OF_JOBS}?")]
        assert len(jobs) >= 2
        assert len(pods) >= 2
        assert all(f"spec.controllerClass={own}" in f"{p}&".replace("&", " ") for p in jobs), jobs
        assert all(controller_class.label_selector(own) in p for p in pods), pods


def test_a_restarted_operator_leaves_the_pods_of_the_other_one(operators: Operators) -> None:
    cluster = operators.cluster
    cluster.pod_seconds = 600.0
    start(operators, "plain", "")
    start(operators, "beta", BETA)
    cluster.put_jobs("plain-0")
    cluster.put_jobs("beta-0", controllerClass=BETA)
    wait_until(lambda: len(cluster.pods) == 2, 120)
    before = set(cluster.pods)

    operators.all["plain"].kill()
    start(operators, "again", "")
    cluster.put_jobs("plain-1")
    wait_until(lambda: len(cluster.pods) == 3, 120)

    assert {owner_of(cluster, pod) for pod in cluster.pods} == {"plain-0", "beta-0", "plain-1"}
    assert all(f"{PODS_OF_JOBS}/{pod}" in cluster.objects for pod in before)
    deleted = [r.path for r in cluster.sent("again") if r.method == "DELETE"]
    assert deleted == []


def test_each_lease_has_its_own_holder(operators: Operators) -> None:
    cluster = operators.cluster
    start(operators, "plain", "")
    start(operators, "beta", BETA)

    holders = {
        name: cluster.objects[
            f"{collection('/apis/coordination.k8s.io/v1', 'leases', f'release-{name}')}/nanogrid"
        ]["spec"]["holderIdentity"]
        for name in ("plain", "beta")
    }

    assert holders == {"plain": "plain", "beta": "beta"}
