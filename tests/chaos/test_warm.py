"""Pods of a pool are lost, frozen or cut off while they wait, or while a job gets them.

The agents reach the operator through a proxy, but for tests of frozen ones: a proxy would read what
an agent does not.
"""

import threading
import time
from collections.abc import Iterator
from itertools import cycle, islice

import pytest

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.laboratory import Laboratory, two_operators
from chaos.lanes import Lane, lanes
from chaos.ledger import Ledger
from chaos.pools import POOL, READY, apply_pool, wait_filled, waiting_pods
from chaos.rig import Rig, verify_jobs
from chaos.scenarios import WARM, WARM_FAILURE, Scenario
from chaos.starts import Starts
from nanogrid import names
from nanogrid.types import Json
from support.job_record import JobRecord
from support.kubectl import Namespace, condition, eventually, kubectl_json
from support.nodes import container_id, signal_container
from support.s3_server import free_port

FINISH_SECONDS = 180.0
REPLACED_SECONDS = 240.0  # the operator ends a request after a minute, and waits for another one
# For faults that cost the first attempt its pod.
TWO_TRIES = Scenario("two-tries", WARM.code, "Completed", attempts=2, spec=WARM_FAILURE.spec)


@pytest.fixture
def lane(lab: Laboratory, lab_starts: Starts) -> Iterator[Lane]:
    """A lane whose pool is full; the guarantees are checked at the end."""
    with lanes(lab, 1) as (one,):
        apply_pool(one.namespace)
        wait_filled(one.ledger, one.results)
        yield one
        verify_jobs(one.ledger, lab, lab_starts)


def shown_ready(namespace: Namespace, ledger: Ledger) -> list[Json]:
    """Make a pool; its pods, the oldest first, once the operator counts all as ready."""
    apply_pool(namespace)

    def ready() -> bool:
        found = kubectl_json("--namespace", namespace.name, "get", names.POOL_PLURAL, POOL)
        return bool((found.get("status") or {}).get("ready") == READY)

    def running() -> list[Json] | None:
        pods = waiting_pods(ledger)
        agents = [pod for pod in pods if container_id(pod, names.CONTAINER_AGENT)]
        return pods if len(agents) == READY else None

    eventually("the pool is full", ready, 120)
    pods = ledger.wait("the kubelet shows the agents", running, 60)
    return sorted(
        pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
    )


def pod_names(pods: list[Json]) -> set[str]:
    """The names of pods."""
    return {pod["metadata"]["name"] for pod in pods}


def run_one(
    namespace: Namespace, ledger: Ledger, starts: Starts, kind: Scenario, job: str
) -> JobRecord:
    """Run a job; its end and the number of its starts are as expected."""
    namespace.apply(kind.manifest(job, starts))
    (record,) = ledger.wait_finished([job], FINISH_SECONDS)
    tries = [(a["reason"], a["podName"]) for a in record.status.get("attempts") or []]
    print(f"{job}: {record.status['start']}, attempts {tries}")
    assert record.reason == kind.reason, record.status
    assert starts.count(job) == 1
    return record


@pytest.mark.parametrize("way", ["asked", "forced"])
def test_pod_deleted_between_claim_and_start(lane: Lane, lab_starts: Starts, way: str) -> None:
    """The code never runs in that pod; the attempt has lost it, and the next one gets another."""
    job = f"lost-{way}"
    deleted: list[str] = []

    def delete() -> None:
        lane.ledger.wait("the claim is seen", lambda: lane.ledger.pods_of(job), 60)
        deleted.extend(pod_names(lane.ledger.pods_of(job)))
        force = ("--force", "--grace-period=0") if way == "forced" else ()
        lane.namespace.kubectl("delete", "pod", *deleted, "--timeout=60s", *force)

    planned = lane.hand_overs.at_next(delete, after=False)

    record = run_one(lane.namespace, lane.ledger, lab_starts, TWO_TRIES, job)

    assert planned.hits == 1
    first, second = record.status["attempts"]
    assert [first["podName"]] == deleted
    assert (first["reason"], first["counted"]) == ("PodLost", False)
    assert second["podName"] != first["podName"]


def test_hand_over_lost_on_its_way(lane: Lane, lab_starts: Starts) -> None:
    """A proxy has read the task, so the operator believes in it. The agent asks again after 25 s
    of silence, and gets the same task."""
    over = threading.Event()
    planned = lane.hand_overs.at_next(lambda: over.wait(FINISH_SECONDS), after=False)
    try:
        record = run_one(lane.namespace, lane.ledger, lab_starts, WARM, "unheard")
    finally:
        over.set()

    assert planned.hits == 1
    assert record.status["start"] == "Warm"


def test_waiting_agents_lose_the_operator(lane: Lane, lab_starts: Starts) -> None:
    """They ask again, so the same pods take jobs; meanwhile jobs start cold, at once."""
    before = pod_names(waiting_pods(lane.ledger))

    lane.results.reset_connections()
    wait_filled(lane.ledger, lane.results)
    assert pod_names(waiting_pods(lane.ledger)) == before
    lane.results.down()
    lane.ledger.wait("no agent waits", lambda: not lane.results.streams, 60)
    lane.namespace.apply(WARM.manifest("meanwhile", lab_starts))
    lane.ledger.wait("its pod exists", lambda: lane.ledger.pods_of("meanwhile"), 60)
    assert not names.is_pool_pod(lane.ledger.pods_of("meanwhile")[0]["metadata"]["name"])
    lane.results.up()
    lane.ledger.wait_finished(["meanwhile"], FINISH_SECONDS)
    wait_filled(lane.ledger, lane.results)
    assert pod_names(waiting_pods(lane.ledger)) == before

    record = run_one(lane.namespace, lane.ledger, lab_starts, WARM, "after")
    assert record.status["podName"] in before


def test_redis_away_while_a_warm_job_ends(lab: Laboratory, lane: Lane, lab_starts: Starts) -> None:
    lab.redis.pause()
    try:
        record = run_one(lane.namespace, lane.ledger, lab_starts, WARM, "undelivered")
        assert record.status["start"] == "Warm"
        assert condition(record.status, "ResultDelivered")["status"] == "False"
    finally:
        lab.redis.resume()

    def delivered() -> bool:
        return bool(condition(record.status, "ResultDelivered")["status"] == "True")

    lane.ledger.wait("the result is delivered", delivered, 120)


def test_frozen_pod_gets_a_job(rig: Rig) -> None:
    """The operator gives it up after 10 s, and the next attempt gets another pod."""
    rig.lab.operator().start().wait_ready()
    oldest, _ = shown_ready(rig.namespace, rig.ledger)
    signal_container(oldest, names.CONTAINER_AGENT, "STOP")
    record = run_one(rig.namespace, rig.ledger, rig.starts, TWO_TRIES, "frozen")
    first, second = record.status["attempts"]
    assert first["podName"] == oldest["metadata"]["name"]
    assert (first["reason"], first["counted"]) == ("PodLost", False)
    assert second["podName"] != first["podName"]
    assert first["podName"] not in rig.starts.pods
    rig.verify()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_frozen_pod_leaves_its_pool(rig: Rig) -> None:
    """Two minutes. Its agent does not ask again when its request has ended."""
    rig.lab.operator().start().wait_ready()
    oldest, _ = shown_ready(rig.namespace, rig.ledger)
    signal_container(oldest, names.CONTAINER_AGENT, "STOP")
    began = time.monotonic()
    left = oldest["metadata"]["name"]

    def deleted() -> bool:
        return left not in pod_names(waiting_pods(rig.ledger))

    rig.ledger.wait("its pod is deleted", deleted, REPLACED_SECONDS)
    print(f"deleted {time.monotonic() - began:.0f} s after its agent was frozen")
    record = run_one(rig.namespace, rig.ledger, rig.starts, WARM, "next")
    assert record.status["start"] == "Warm"
    rig.verify()


@pytest.mark.timeout(500)
def test_two_operators_at_once_on_a_pool(rig: Rig) -> None:
    """Both act on all of 16 jobs; each waiting agent has asked one of them."""
    count, ports = 16, [str(free_port()) for _ in range(2)]
    services = [f"http://127.0.0.1:{port}" for port in ports]
    with FaultProxy(*services, host=rig.lab.address) as results:
        own = [
            {"NANOGRID_PORT": port, "NANOGRID_RESULTS_URL": f"{results.url}/v1/results"}
            for port in ports
        ]
        with two_operators(rig.lab, *own):
            apply_pool(rig.namespace, minReady=4, maxReady=8)
            rig.ledger.wait("agents ask", lambda: len(results.streams) >= 4, FINISH_SECONDS)
            kinds = cycle((WARM, WARM_FAILURE))
            jobs = {f"both-{n}": kind for n, kind in enumerate(islice(kinds, count))}
            records = rig.run_all(jobs, FINISH_SECONDS + 5 * count)
        warm = sum(record.status["start"] == "Warm" for record in records)
        print(f"{warm} of {count} jobs were warm")
        assert warm
        assert rig.starts.most_per_pod() == 1
        for job, kind in jobs.items():
            assert rig.starts.count(job) == kind.attempts, job
        rig.verify()
