"""Thousands of jobs whose pods only seem to run: an operator that dies all the time, two at once,
and one that starts among thousands that have ended."""

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

from chaos.lab.apiserver import api_server
from chaos.lab.faultproxy import Answer, Call
from chaos.lab.kubeclient import KubeCallError, KubeClient, core_path, jobs_path
from chaos.lab.kwok import fake_nodes, onto
from chaos.lab.laboratory import Laboratory
from chaos.lab.operatorprocess import OperatorProcess
from chaos.ledger import Ledger
from e2e.support import Namespace, eventually, inline
from nanogrid import names
from nanogrid.quantity import quantity
from nanogrid_operator.facts import owner_reference
from nanogrid_operator.pod import pod_name

pytestmark = pytest.mark.slow

Json = dict[str, Any]
MIB = 1 << 20
WRITERS = 8
STORM_JOBS = int(os.environ.get("STORM_JOBS", "3000"))
STORM_SECONDS, KILL_SECONDS = 720, 10.0  # two busy cores end six jobs a second
TWICE_JOBS = 500
# 10,000 take five minutes to make and to remove.
FINISHED_JOBS = int(os.environ.get("FINISHED_JOBS", "3000"))
READY_SECONDS = 10.0
CHART_VALUES = Path(__file__).parents[2] / "helm/nanogrid-operator/values.yaml"


@pytest.fixture
def nodes(lab: Laboratory, tmp_path: Path) -> Iterator[list[str]]:
    """Fake nodes of the test's own."""
    with fake_nodes(tmp_path, f"kwok-{lab.namespace}") as made:
        yield made


def in_parallel(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Do the work for all items with a few threads; the seconds it took."""
    began = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(work, items):
            pass
    return time.monotonic() - began


def create(namespace: str, count: int, prefix: str, client: KubeClient) -> list[str]:
    """So many jobs; their names."""
    wanted = [f"{prefix}-{number}" for number in range(count)]
    path = jobs_path(namespace)
    in_parallel(lambda name: client.call("POST", path, inline(name, "print(1)")), wanted)
    return wanted


def clean(namespace: str, client: KubeClient) -> None:
    """Remove pods and jobs, for which the namespace's own deletion would take many minutes."""
    for path in (core_path(namespace, "pods"), jobs_path(namespace)):
        items, _ = client.list(path)
        names_ = [item["metadata"]["name"] for item in items]
        in_parallel(partial(remove, client, path), names_)


def remove(client: KubeClient, path: str, name: str) -> None:
    """Delete one object at once; none there is as good."""
    try:
        client.call("DELETE", f"{path}/{name}", {"gracePeriodSeconds": 0})
    except KubeCallError as error:
        if error.code != 404:
            raise


@contextmanager
def killed_again_and_again(operator: OperatorProcess, seconds: float) -> Iterator[list[float]]:
    """The operator dies every so many seconds and starts at once; its memory at each death."""
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
def test_thousands_of_jobs_while_the_operator_dies_every_ten_seconds(
    lab: Laboratory, ledger: Ledger, nodes: list[str]
) -> None:
    onto(nodes, lab.api)
    operator = lab.operator().start()
    operator.wait_ready()
    began = time.monotonic()
    with killed_again_and_again(operator, KILL_SECONDS) as memory:
        wanted = create(lab.namespace, STORM_JOBS, "many", ledger.client)
        created = time.monotonic() - began
        records = ledger.wait_finished(wanted, STORM_SECONDS)
    took = time.monotonic() - began
    last = max(r.finished_at for r in records) - began
    longest = max(r.finished_at - r.seen for r in records)
    print(
        f"{STORM_JOBS} jobs created in {created:.0f} s, ended within {took:.0f} s "
        f"({STORM_JOBS / last:.1f}/s), the longest took {longest:.0f} s; {len(memory)} deaths; "
        f"memory {min(memory):.0f} to {max(memory):.0f} MiB"
    )
    assert {r.reason for r in records} == {"Completed"}
    ledger.check(lab.redis.client(), lab.s3_server.client, lab.bucket, stored=False)
    clean(lab.namespace, ledger.client)


@pytest.mark.timeout(600)
def test_two_operators_share_five_hundred_jobs(
    lab: Laboratory, ledger: Ledger, nodes: list[str]
) -> None:
    with api_server() as other:
        for api in (lab.api, other):
            onto(nodes, api)
            lab.operator(api).start()
        for operator in lab.operators:
            operator.wait_ready()
        began = time.monotonic()
        wanted = create(lab.namespace, TWICE_JOBS, "twice", ledger.client)
        records = ledger.wait_finished(wanted, 300)
        took = time.monotonic() - began
    print(f"{TWICE_JOBS} jobs with two operators in {took:.0f} s")
    assert {r.reason for r in records} == {"Completed"}
    ledger.check(lab.redis.client(), lab.s3_server.client, lab.bucket, stored=False)
    clean(lab.namespace, ledger.client)


def ended_jobs(
    namespace: str, client: KubeClient, model: Json, pod: Json, nodes: list[str], count: int
) -> float:
    """So many jobs with the status of one that has ended, and their pods; the seconds it took."""
    jobs, pods = jobs_path(namespace), core_path(namespace, "pods")

    def make(number: int) -> None:
        name = f"ended-{number}"
        job = client.call("POST", jobs, inline(name, "print(1)"))
        uid = job["metadata"]["uid"]
        mine = copy.deepcopy(pod)
        mine["metadata"] = {
            "name": pod_name(name, uid, 0),
            "labels": {**pod["metadata"]["labels"], names.LABEL_JOB_UID: uid},
            "ownerReferences": [owner_reference(name, uid)],
        }
        mine["spec"]["nodeName"] = nodes[number % len(nodes)]
        client.call("POST", pods, mine)
        client.call("PATCH", f"{jobs}/{name}/status", {"status": model})

    began = time.monotonic()
    in_parallel(make, range(count))
    going = urlencode({"fieldSelector": "status.phase!=Succeeded", "limit": 1})
    eventually("all pods end", lambda: not client.call("GET", f"{pods}?{going}")["items"], 300)
    return time.monotonic() - began


@pytest.mark.timeout(900)
def test_start_among_thousands_of_ended_jobs(
    lab: Laboratory, namespace: Namespace, nodes: list[str]
) -> None:
    operator = lab.operator().start()
    empty = operator.wait_ready()
    few = operator.memory_bytes() / MIB
    model = namespace.run(inline("model", "print('x' * 2000)"))
    (pod,) = namespace.pods("model")
    operator.kill()
    client = KubeClient()
    try:
        made = ended_jobs(namespace.name, client, model, pod, nodes, FINISHED_JOBS)
        bare = seconds_to_list(namespace.name, client)
        # The first page after the first one has expired meanwhile, as a slow reader finds it.
        expired = lab.api.fault(
            lambda call: call.path.endswith(names.PLURAL) and "continue" in call.query,
            Answer(410, b'{"kind":"Status","code":410,"reason":"Expired","message":"fault"}'),
            times=1,
        )
        namespace.apply(inline("fresh", "print(1)"))
        before = time.monotonic()
        ready = operator.start().wait_ready(60)
        created = wait_call(lab, lambda c: c.method == "POST" and c.path.endswith("/pods"), before)
        status = namespace.finished("fresh")
        settled, most = operator.memory_bytes() / MIB, operator.peak_memory_bytes()
        print(
            f"{FINISHED_JOBS} ended jobs with their pods (made in {made:.0f} s): ready after "
            f"{ready:.1f} s (alone {empty:.1f} s), a new job's pod after {created - before:.1f} s; "
            f"a bare LIST of both takes {bare:.1f} s; "
            f"memory {few:.0f} → {settled:.0f} MiB, at most {most / MIB:.0f}"
        )
        assert expired.hits == 1
        assert status["phase"] == "Succeeded"
        # A busy machine takes seconds for the interpreter alone, and its API server for the LIST:
        # those are not of the operator's making.
        assert created - before - empty <= max(READY_SECONDS, 2 * bare)
        assert ready - empty <= READY_SECONDS
        assert most < chart_limit_bytes()
    finally:
        operator.kill()
        clean(namespace.name, client)


def chart_limit_bytes() -> int:
    """The operator's memory limit: beyond it the kernel would kill it at every start."""
    limits = yaml.safe_load(CHART_VALUES.read_text())["operator"]["resources"]["limits"]
    return int(quantity(limits["memory"]))


def seconds_to_list(namespace: str, client: KubeClient) -> float:
    """How long it takes to read all jobs and pods from the API server, past every proxy."""
    began = time.monotonic()
    for path in (jobs_path(namespace), core_path(namespace, "pods")):
        client.list(path)
    return time.monotonic() - began


def wait_call(lab: Laboratory, picks: Callable[[Call], bool], since: float) -> float:
    """When the first such call since a moment came (monotonic seconds)."""
    while True:
        found = [call for call in lab.api.calls if call.at > since and picks(call)]
        if found:
            return found[0].at
        assert time.monotonic() - since < 120, "no such call within 120 s"
        time.sleep(0.1)
