"""The operator sends the spans of a job when its attempts, it itself and its deliveries end."""

import copy
import json
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.kube.conventions import KubeError
from nanogrid.traces.settings import Sampler
from nanogrid.types import Json
from nanogrid_operator.status.traces import MAX_STARTED, JobTraces
from support.builders import (
    CREATED,
    JOB_UID,
    a_failed_result,
    a_job_body,
    a_pod,
    a_report,
    a_result,
    an_attempt,
    ended,
    running,
)
from support.operator_fakes import JOBS, PODS
from support.operator_world import World
from support.span_recorder import SpanRecorder, connected

TIMINGS = wire.Timings(start_millis=10, execution_millis=300, upload_millis=5)
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def a_world(tracing: SpanRecorder, parent: str = "", **job: Any) -> World:
    body = a_job_body(**job)
    if parent:
        body["metadata"]["annotations"] = {names.ANNOTATION_TRACEPARENT: parent}
    return World(body=body, tracing=tracing)


def end(world: World, result: wire.Result | None = None) -> None:
    """The code has ended and its agent reports."""
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now += 2
    world.push(a_report(result or a_result(timings=TIMINGS)))


async def test_a_job_that_ends_is_one_connected_trace() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, PARENT)
    end(world)

    await world.reconcile()

    assert tracing.names == [
        "nanogrid.job", "queue", "attempt", "start", "execution", "upload", "delivery",
    ]  # fmt: skip
    assert connected(tracing.spans)
    assert tracing.spans[0].parent is not None
    assert tracing.spans[0].parent.header() == PARENT


async def test_the_pod_has_the_id_that_the_span_of_its_execution_gets() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, PARENT)
    await world.reconcile()
    (pod,) = (o for path, o in world.kube.objects.items() if path.startswith(PODS))
    agent = next(c for c in pod["spec"]["containers"] if c["name"] == names.CONTAINER_AGENT)
    text = next(e["value"] for e in agent["env"] if e["name"] == names.ENV_TASK)
    given = wire.loads(wire.PodTask, text).env["TRACEPARENT"]
    end(world)

    await world.reconcile()

    assert given == tracing.named("nanogrid.job.execution").context.header()


async def test_a_retry_sends_its_attempt_and_the_next_one_has_other_ids() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, backoffLimit=1)
    end(world, a_failed_result(timings=TIMINGS))

    await world.reconcile()

    assert tracing.names == ["queue", "attempt", "start", "execution", "upload"]
    assert tracing.named("nanogrid.job.execution").error == "NonZeroExit"
    world.now += 10
    await world.reconcile()
    world.see_pod(attempt=1, age=10.0, phase="Running", agent=running(), sandbox=running())
    world.now += 5
    world.push(a_report(a_result(attempt=1, timings=TIMINGS)))
    await world.reconcile()

    assert connected(tracing.spans)
    assert len({span.context.span_id for span in tracing.spans}) == len(tracing.spans)
    root = tracing.named("nanogrid.job")
    assert [e.attributes["nanogrid.reason"] for e in root.events] == ["NonZeroExit"]
    assert not root.error


async def test_a_result_that_reaches_redis_late_has_its_delivery_then() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing)
    world.redis.up = False
    end(world)
    await world.reconcile()
    before = tracing.names
    world.redis.up = True
    world.now += 60

    await world.reconcile()  # removes the pod that still runs
    await world.reconcile()

    assert "delivery" not in before
    assert tracing.names == [*before, "delivery"]
    delivery = tracing.named("nanogrid.job.delivery")
    assert delivery.end - delivery.start == pytest.approx(60)
    assert connected(tracing.spans)


async def test_a_result_that_reaches_s3_late_has_its_delivery_then() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, cancel=True)
    world.s3.up = False
    await world.reconcile()
    world.s3.up = True
    await world.store_late(5)

    targets = [s.attributes["nanogrid.delivery.target"] for s in tracing.spans
               if s.name == "nanogrid.job.delivery"]  # fmt: skip
    assert targets == ["redis", "s3"]


async def test_a_job_that_fails_in_the_sync() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing)
    message = wire.dumps(wire.SyncFailure(reason="InputNotFound", message="no s3://b/k"))
    world.see_pod(phase="Failed", sync=ended(1, message=message, age=1.0))

    await world.reconcile()

    assert tracing.named("nanogrid.job.sync").error == "InputNotFound"
    assert tracing.named("nanogrid.job").error == "InputNotFound"
    assert "s3://" not in repr(tracing.spans)
    assert connected(tracing.spans)


async def test_a_job_that_is_deleted_while_it_runs_has_a_trace() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, PARENT)
    await world.reconcile()
    world.now += 5
    del world.kube.objects[f"{JOBS}/sales"]
    world.cache.drop_job(JOB_UID)

    await world.reconcile()
    await world.reconcile()

    assert tracing.names == ["nanogrid.job", "queue", "attempt", "start"]
    assert {s.error for s in tracing.spans} == {"Deleted", ""}
    assert connected(tracing.spans)


async def test_a_finished_job_that_is_deleted_sends_nothing_more() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing)
    await world.reconcile()
    end(world)
    await world.reconcile()
    sent = len(tracing.spans)
    world.cache.drop_job(JOB_UID)

    await world.reconcile()

    assert sent
    assert len(tracing.spans) == sent


async def test_a_job_has_a_trace_if_the_answer_to_its_last_write_is_lost() -> None:
    tracing = SpanRecorder()
    world = a_world(tracing)
    end(world)
    world.lose_next_answer()
    with pytest.raises(KubeError):
        await world.reconcile()
    before = tracing.names

    world.parts.handlers.on_job("MODIFIED", copy.deepcopy(world.kube.objects[f"{JOBS}/sales"]))
    await world.reconcile()
    await world.reconcile()

    assert before == []
    assert tracing.names.count("nanogrid.job") == 1
    assert connected(tracing.spans)


async def test_a_repetition_after_a_restart_has_the_same_ids() -> None:
    first, second = SpanRecorder(), SpanRecorder()
    for tracing in (first, second):
        world = a_world(tracing)
        end(world)
        await world.reconcile()

    assert [s.context for s in first.spans] == [s.context for s in second.spans]


@pytest.mark.parametrize("parent", ["", PARENT[:-1] + "0"])
async def test_a_trace_that_is_not_sampled_sends_nothing(parent: str) -> None:
    tracing = SpanRecorder(Sampler("parentbased_traceidratio", 0.0))
    world = a_world(tracing, parent)
    end(world)

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert tracing.spans == []


async def test_a_sampled_parent_wins_over_the_ratio() -> None:
    tracing = SpanRecorder(Sampler("parentbased_traceidratio", 0.0))
    world = a_world(tracing, PARENT)
    end(world)

    await world.reconcile()

    assert tracing.spans


@pytest.mark.parametrize("parent", ["no", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "\n"])
async def test_an_invalid_annotation_starts_a_trace_of_its_own(parent: str) -> None:
    tracing = SpanRecorder()
    world = a_world(tracing, parent)
    end(world)

    await world.reconcile()

    assert tracing.spans[0].parent is None
    assert connected(tracing.spans)


async def test_a_failing_exporter_is_not_in_the_way_of_a_job() -> None:
    tracing = SpanRecorder()
    tracing.failure = RuntimeError("broken")
    world = a_world(tracing, backoffLimit=1)
    end(world, a_failed_result(timings=TIMINGS))
    await world.reconcile()
    world.now += 10
    await world.reconcile()
    world.see_pod(attempt=1, age=10.0, phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(attempt=1)))

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")


def test_the_memory_for_deletions_is_bounded_and_has_no_code() -> None:
    traces = JobTraces(tracing=SpanRecorder(), clock=lambda: CREATED)
    status: Json = {"attempts": [an_attempt()], "function": {"version": 1, "env": ["x" * 1000]}}
    for number in range(MAX_STARTED + 5):
        body = a_job_body(uid=f"u-{number}", status=status, stdin="x" * 10_000)
        body["metadata"] |= {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 10_000},
            "labels": {f"label-{n}": "x" * 63 for n in range(100)},
        }
        traces.started(body, a_pod())

    kept = [body for body, _ in traces._started.values()]
    assert len(kept) == MAX_STARTED
    assert len(json.dumps(kept[0])) < 2000


async def test_a_deleted_job_keeps_what_names_its_trace_and_its_function() -> None:
    tracing = SpanRecorder()
    body = a_job_body()
    body["metadata"] |= {
        "annotations": {names.ANNOTATION_TRACEPARENT: PARENT},
        "labels": {names.LABEL_FUNCTION: "sales-report"},
    }
    world = World(body=body, tracing=tracing)
    await world.reconcile()
    world.cache.drop_job(JOB_UID)
    await world.reconcile()

    job = tracing.spans[0]
    assert job.parent is not None
    assert job.parent.header() == PARENT
    assert job.attributes["faas.name"] == "sales-report"
