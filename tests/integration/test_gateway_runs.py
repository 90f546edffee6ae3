"""Runs over HTTP: their answers, results, input, output files and logs.

The gateway waits for an hour. So an answer with a result does not come from the end of the wait.
"""

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, wire
from support.builders import ROOT
from support.gateway_fixtures import MARKS
from support.gateway_results import finish, result_of
from support.gateway_runs import waiting
from support.gateway_world import Answer, Gateway, World, wait_for

pytestmark = MARKS


ENDED = {"SUCCESS", "FAILED", "TIMEOUT"}


def test_a_result_arrives_as_soon_as_it_is_published(gateway: Gateway, function: str) -> None:
    answer = gateway.run(function, {"after": 1})

    assert answer.status == 200
    assert answer.seconds >= 1
    assert answer.json["status"] == "SUCCESS"
    assert answer.json["functionId"] == function
    assert answer.json["stdout"] == "합계\n"
    assert answer.json["peakMemoryMB"] == 9


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("FAILED", "NonZeroExit", 2),
        ("FAILED", "OOMKilled", 137),
        ("TIMEOUT", "ExecutionTimeout", 143),
    ],
)
def test_failures_and_timeouts_are_delivered_like_successes(
    gateway: Gateway, function: str, status: str, reason: str, code: int
) -> None:
    plan = {"after": 0.2, "status": status, "reason": reason, "exit_code": code}

    answer = gateway.run(function, plan)

    assert answer.status == 200
    assert (answer.json["status"], answer.json["reason"]) == (status, reason)
    assert answer.json["exitCode"] == code


def test_a_result_published_before_the_answer_to_the_creation_is_not_lost(
    gateway: Gateway, function: str
) -> None:
    answer = gateway.run(function, {"after": 0, "how": "redis only"})

    assert answer.status == 200


def test_the_client_of_the_examples_uploads_and_runs(
    world: World, gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text("print(1)")
    command = [sys.executable, str(ROOT / "examples/gateway_client.py"), str(tmp_path)]
    command += ["--url", f"http://127.0.0.1:{gateway.port}", "--input"]

    good, bad = (
        subprocess.run([*command, json.dumps(plan)], capture_output=True, text=True, timeout=120)
        for plan in ({"after": 0.1}, {"after": 0.1, "status": "TIMEOUT"})
    )

    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["status"] == "SUCCESS"
    assert (bad.returncode, json.loads(bad.stdout)["status"]) == (1, "TIMEOUT")


def test_a_result_that_is_already_in_redis_is_read(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    plan = {"after": 0, "how": "redis only"}
    first = gateway.run(function, plan, requestId=request_id, wait=0)
    second = gateway.run(function, plan, requestId=request_id)

    assert first.status == 202
    assert second.status == 200
    assert world.cluster.jobs(request_id) == 1


def test_the_gateway_subscribes_before_the_job_exists(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    seen = []
    ends = world.cluster.on_create

    def created(job: dict[str, Any]) -> None:
        seen.append(waiting(world, request_id))
        ends(job)

    world.cluster.on_create = created
    try:
        gateway.run(function, {"after": 0.1}, requestId=request_id)
    finally:
        world.cluster.on_create = ends

    assert seen == [True]
    wait_for(lambda: not waiting(world, request_id), "the end of the subscription")


def test_when_the_wait_ends_first_the_link_leads_to_the_result(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    answer = gateway.run(function, {"never": True}, requestId=request_id, wait=0.5)

    assert answer.status == 202
    assert answer.seconds >= 0.5
    assert answer.json["requestId"] == request_id
    assert answer.json["status"] == "PENDING"
    here = answer.json["links"]["self"]
    assert answer.headers["Location"] == here == f"/runs/{request_id}"
    assert gateway.call("GET", here).status == 202

    job = world.cluster.job(request_id)
    finish(world.cluster, job, result_of(job))
    assert gateway.call("GET", here).status == 200
    assert gateway.call("GET", here).json["status"] == "SUCCESS"


def test_the_same_request_finds_the_same_run(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    plan = {"after": 0.3, "b": [1, 2.5, None], "a": "가"}
    same = {"a": "가", "b": [1, 2.5, None], "after": 0.3}
    first = gateway.run(function, plan, requestId=request_id)
    again = gateway.run(function, same, requestId=request_id)

    assert first.status == again.status == 200
    assert first.json == again.json
    assert world.cluster.jobs(request_id) == 1


def test_the_same_request_at_the_same_time_finds_the_same_run(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(gateway.run, function, {"after": 0.5}, requestId=request_id)
            for _ in range(8)
        ]
        answers = [call.result(60) for call in calls]

    assert {a.status for a in answers} == {200}
    assert len({a.body for a in answers}) == 1
    assert world.cluster.jobs(request_id) == 1


@pytest.mark.parametrize("change", ["inputData", "version", "functionId"])
def test_a_request_id_belongs_to_one_request(
    gateway: Gateway, function: str, request_id: str, change: str
) -> None:
    assert gateway.run(function, {"after": 0}, requestId=request_id).status == 200
    body = {"functionId": function, "inputData": {"after": 0}, "requestId": request_id}
    others = {"inputData": {"after": 0.0001}, "version": 1, "functionId": "f-other"}

    answer = gateway.post("/run", body | {change: others[change]})

    assert answer.status == 409
    assert answer.reason == "IdempotencyConflict"


def test_the_complete_result_of_a_shortened_one_comes_from_s3(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    assert gateway.run(function, None, requestId=request_id, wait=0).status == 202
    job = world.cluster.job(request_id)
    whole = result_of(job, stdout="x" * 40_000)
    world.s3.put(names.result_object(request_id), wire.dumps(whole).encode())
    finish(world.cluster, job, whole)

    answer = gateway.call("GET", f"/runs/{request_id}")

    assert len(answer.json["stdout"]) == 40_000


def test_the_result_outlives_its_job(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    gateway.run(function, {"after": 0}, requestId=request_id)
    world.cluster.remove(names.PLURAL, world.cluster.job(request_id)["metadata"]["name"])

    assert gateway.call("GET", f"/runs/{request_id}").json["status"] == "SUCCESS"
    assert gateway.call("GET", "/runs/unknown").reason == "RunNotFound"


def test_small_input_is_standard_input_and_large_input_a_file(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    small = {"날짜": "2025-10-06", "n": 1}
    gateway.run(function, small, requestId=request_id, wait=0)
    spec = world.cluster.job(request_id)["spec"]

    assert json.loads(spec["stdin"]) == small
    assert {"name": "FUNCTION_INPUT", "value": "/dev/stdin"} in spec["env"]
    assert "inputs" not in spec

    large = ["가" * 1000] * 100
    gateway.run(function, large, requestId=f"{request_id}2", wait=0)
    spec = world.cluster.job(f"{request_id}2")["spec"]
    (given,) = spec["inputs"]

    assert "stdin" not in spec
    assert given["mountPath"] == "/app/input"
    assert {"name": "FUNCTION_INPUT", "value": "/app/input/input.json"} in spec["env"]
    assert given["s3"]["key"].endswith("/input.json")
    assert json.loads(world.s3.get(given["s3"]["key"])) == large


def test_a_run_is_cancelled_once(
    world: World, gateway: Gateway, function: str, request_id: str
) -> None:
    gateway.run(function, None, requestId=request_id, wait=0)

    assert gateway.call("DELETE", f"/runs/{request_id}").status == 202
    job = world.cluster.job(request_id)
    assert job["spec"]["cancel"] is True

    finish(world.cluster, job, result_of(job, status="FAILED", reason="Cancelled"))
    again = gateway.call("DELETE", f"/runs/{request_id}")
    assert (again.status, again.reason) == (409, "RunEnded")


def test_two_hundred_at_once_share_one_connection(
    world: World, gateway: Gateway, function: str, record_property: Callable[[str, object], None]
) -> None:
    ids = [f"share-{number}-{uuid.uuid4().hex[:8]}" for number in range(200)]

    def subscriptions() -> list[int]:
        """The number of channels of each connection that has subscribed to some."""
        with world.server.client() as client:
            clients: Any = client.client_list()
        return [channels for c in clients if (channels := int(c["sub"]))]

    def run(request_id: str) -> tuple[Answer, float]:
        return gateway.run(function, None, requestId=request_id), time.monotonic()

    with ThreadPoolExecutor(len(ids)) as pool:
        calls = [pool.submit(run, request_id) for request_id in ids]
        wait_for(lambda: max(subscriptions(), default=0) >= len(ids), "all subscriptions")
        wait_for(lambda: all(world.cluster.jobs(request_id) for request_id in ids), "all jobs")
        connections = subscriptions()
        published = []
        for request_id in ids:
            world.operator.publish(result_of(world.cluster.job(request_id)))
            published.append(time.monotonic())
        ended = [call.result(120) for call in calls]
    answers = [answer for answer, _ in ended]
    over = sorted(at - began for (_, at), began in zip(ended, published, strict=True))
    p50, p99 = statistics.median(over), over[int(len(ids) * 0.99) - 1]
    took = f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
    record_property("overhead", took)
    print(f"\n{len(ids)} at once: after the publication {took}")

    assert {a.status for a in answers} == {200}
    assert {a.json["status"] for a in answers} <= ENDED
    assert len(connections) == 1
