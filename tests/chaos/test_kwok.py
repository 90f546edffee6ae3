"""Thousands of jobs with simulated pods: an operator that is killed repeatedly, two operators at
once, and an operator that starts with thousands of ended jobs."""

import copy
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from chaos.lab.apifaults import creates_pod
from chaos.lab.faults import Answer, Call
from chaos.lab.kubeclient import KubeCallError, KubeClient, core_path, jobs_path
from chaos.lab.kwok import assign_pods, fake_nodes
from chaos.lab.laboratory import Laboratory, two_operators
from chaos.ledger import Ledger
from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid.types import Json
from nanogrid_operator.kube.objects import owner_reference, pod_name
from support.job_record import JobRecord
from support.kubectl import Namespace, eventually, inline
from support.operator_process import OperatorProcess

pytestmark = pytest.mark.slow

MIB = 1 << 20
WRITERS = 8
STORM_JOBS = int(os.environ.get("STORM_JOBS", "3000"))
STORM_SECONDS, KILL_SECONDS = 720, 10.0  # two busy cores finish six jobs per second
TWICE_JOBS = 500
# 10,000 take five minutes to create and delete.
FINISHED_JOBS = int(os.environ.get("FINISHED_JOBS", "3000"))
READY_SECONDS = 10.0
CHART_VALUES = Path(__file__).parents[2] / "helm/nanogrid-operator/values.yaml"

KEYLESS = "chaos.lab.keyless_operator"  # see there


@pytest.fixture
def nodes(lab: Laboratory, tmp_path: Path) -> Iterator[list[str]]:
    """Fake nodes for this test."""
    with fake_nodes(tmp_path, f"kwok-{lab.namespace}") as created:
        yield created


def in_parallel(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Do the work for all items in a few threads; returns the seconds it took."""
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(work, items):
            pass
    return time.monotonic() - began


def create(namespace: str, count: int, prefix: str, client: KubeClient) -> list[str]:
    """Create ``count`` jobs; returns their names."""
    wanted = [f"{prefix}-{number}" for number in range(count)]
    path = jobs_path(namespace)
    in_parallel(lambda name: client.call("POST", path, inline(name, "print(1)")), wanted)
    return wanted


def clean(namespace: str, client: KubeClient) -> None:
    """Delete pods and jobs; deleting the namespace alone would take many minutes."""
    for path in (core_path(namespace, "pods"), jobs_path(namespace)):
        items, _ = client.list(path)
        wanted = [item["metadata"]["name"] for item in items]
        in_parallel(partial(delete, client, path), wanted)


def delete(client: KubeClient, path: str, name: str) -> None:
    """Delete one object without grace; it may be absent."""
    try:
        client.call("DELETE", f"{path}/{name}", {"gracePeriodSeconds": 0})
    except KubeCallError as error:
        if error.code != 404:
            raise


def verify_simulated(lab: Laboratory, ledger: Ledger, records: list[JobRecord]) -> None:
    """Check the guarantees for simulated jobs, whose results are not in S3, and delete them."""
    assert {r.reason for r in records} == {"Completed"}
    ledger.check(lab.redis.client(), lab.s3_server.client, lab.area, stored=False)
    clean(lab.namespace, ledger.client)


@contextmanager
def killed_repeatedly(operator: OperatorProcess, seconds: float) -> Iterator[list[float]]:
    """Kill and restart the operator every ``seconds``; yields its memory (MiB) at each kill."""
    over, memory = threading.Event(), []

    def kill() -> None:
        while not over.wait(seconds):
            memory.append(operator.memory_bytes() / MIB)
            operator.kill()
            operator.start()

    thread = threading.Thread(target=kill, name="killer", daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join(20)


@pytest.mark.storm
@pytest.mark.timeout(900)
def test_thousands_of_jobs_while_the_operator_is_killed_every_ten_seconds(
    lab: Laboratory, ledger: Ledger, nodes: list[str]
) -> None:
    assign_pods(nodes, lab.api)
    operator = lab.operator(module=KEYLESS).start()
    operator.wait_ready()
    began = time.monotonic()
    with killed_repeatedly(operator, KILL_SECONDS) as memory:
        wanted = create(lab.namespace, STORM_JOBS, "many", ledger.client)
        created = time.monotonic() - began
        records = ledger.wait_finished(wanted, STORM_SECONDS)
    took = time.monotonic() - began
    last = max(r.finished_at for r in records) - began
    longest = max(r.finished_at - r.first_seen for r in records)
    print(
        f"{STORM_JOBS} jobs created in {created:.0f} s, ended within {took:.0f} s "
        f"({STORM_JOBS / last:.1f}/s), the longest took {longest:.0f} s; {len(memory)} kills; "
        f"memory {min(memory):.0f} to {max(memory):.0f} MiB"
    )
    verify_simulated(lab, ledger, records)


@pytest.mark.timeout(600)
def test_two_operators_share_five_hundred_jobs(
    lab: Laboratory, ledger: Ledger, nodes: list[str]
) -> None:
    assign_pods(nodes, lab.api)
    with two_operators(lab) as other:
        assign_pods(nodes, other)
        began = time.monotonic()
        wanted = create(lab.namespace, TWICE_JOBS, "twice", ledger.client)
        records = ledger.wait_finished(wanted, 300)
        took = time.monotonic() - began
    print(f"{TWICE_JOBS} jobs with two operators in {took:.0f} s")
    verify_simulated(lab, ledger, records)


def create_ended_jobs(
    namespace: str, client: KubeClient, model: Json, pod: Json, nodes: list[str], count: int
) -> float:
    """Create ``count`` jobs with the status of an ended one, and their pods.

    Returns the seconds it took.
    """
    jobs, pods = jobs_path(namespace), core_path(namespace, "pods")

    def create_one(number: int) -> None:
        name = f"ended-{number}"
        job = client.call("POST", jobs, inline(name, "print(1)"))
        uid = job["metadata"]["uid"]
        own_pod = copy.deepcopy(pod)
        own_pod["metadata"] = {
            "name": pod_name(name, uid, 0),
            "labels": {**pod["metadata"]["labels"], names.LABEL_JOB_UID: uid},
            "ownerReferences": [owner_reference(name, uid)],
        }
        own_pod["spec"]["nodeName"] = nodes[number % len(nodes)]
        client.call("POST", pods, own_pod)
        client.call("PATCH", f"{jobs}/{name}/status", {"status": model})

    began = time.monotonic()
    in_parallel(create_one, range(count))
    running = urlencode({"fieldSelector": "status.phase!=Succeeded", "limit": 1})
    eventually("all pods end", lambda: not client.call("GET", f"{pods}?{running}")["items"], 300)
    return time.monotonic() - began


@pytest.mark.timeout(900)
def test_start_with_thousands_of_ended_jobs(
    lab: Laboratory, namespace: Namespace, nodes: list[str]
) -> None:
    operator = lab.operator(module=KEYLESS).start()
    empty = operator.wait_ready()
    few = operator.memory_bytes() / MIB
    model = namespace.run(inline("model", "print('x' * 2000)"))
    pod = namespace.only_pod("model")
    operator.kill()
    client = KubeClient()
    try:
        made = create_ended_jobs(namespace.name, client, model, pod, nodes, FINISHED_JOBS)
        bare = seconds_to_list(namespace.name, client)
        # The second page has expired, as a slow reader sees it.
        expired = lab.api.fault(
            lambda call: call.path.endswith(names.PLURAL) and "continue" in call.query,
            Answer(410, b'{"kind":"Status","code":410,"reason":"Expired","message":"fault"}'),
            times=1,
        )
        namespace.apply(inline("fresh", "print(1)"))
        before = time.monotonic()
        ready = operator.start().wait_ready(60)
        created = wait_call(lab, creates_pod, before)
        status = namespace.finished("fresh")
        settled, most = operator.memory_bytes() / MIB, operator.peak_memory_bytes()
        print(
            f"{FINISHED_JOBS} ended jobs with their pods (created in {made:.0f} s): ready after "
            f"{ready:.1f} s (alone {empty:.1f} s), a new job's pod after {created - before:.1f} s; "
            f"a bare LIST of both takes {bare:.1f} s; "
            f"memory {few:.0f} → {settled:.0f} MiB, at most {most / MIB:.0f}"
        )
        assert expired.hits == 1
        assert status["phase"] == "Succeeded"
        # On a busy machine the interpreter's start and the API server's LIST take seconds, which
        # the operator does not cause.
        assert created - before - empty <= max(READY_SECONDS, 2 * bare)
        assert ready - empty <= READY_SECONDS
        assert most < chart_limit_bytes()
    finally:
        operator.kill()
        clean(namespace.name, client)


def chart_limit_bytes() -> int:
    """The operator's memory limit; above it the kernel would kill it at every start."""
    limits = yaml.safe_load(CHART_VALUES.read_text())["operator"]["resources"]["limits"]
    return int(quantity(limits["memory"]))


def seconds_to_list(namespace: str, client: KubeClient) -> float:
    """The seconds to read all jobs and pods from the API server without a proxy."""
    began = time.monotonic()
    for path in (jobs_path(namespace), core_path(namespace, "pods")):
        client.list(path)
    return time.monotonic() - began


def wait_call(lab: Laboratory, picks: Callable[[Call], bool], since: float) -> float:
    """The time of the first matching call after ``since`` (monotonic seconds)."""
    while True:
        found = [call for call in lab.api.calls if call.at > since and picks(call)]
        if found:
            return found[0].at
        assert time.monotonic() - since < 120, "no such call within 120 s"
        time.sleep(0.1)
