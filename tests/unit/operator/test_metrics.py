"""What the operator measures, from the lives of jobs, with exact values."""

import asyncio
import copy
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.metrics.registry import IDLE_SECONDS, OTHER, GaugeSet, Metrics
from nanogrid.names import LABEL_FUNCTION
from nanogrid.types import Json
from nanogrid_operator import metrics as operator_metrics
from nanogrid_operator.metrics import OperatorMetrics
from support.builders import (
    CREATED,
    JOB_UID,
    MIB,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    ended,
    running,
)
from support.function_builders import a_labelled_run
from support.operator_fakes import JOBS, PODS
from support.operator_world import World

TIMINGS = wire.Timings(sync_millis=40, start_millis=200, execution_millis=312, upload_millis=500)


async def finished(result: wire.Result | None = None, **job: Any) -> World:
    """A job whose code has run, ten seconds after its creation."""
    world = World(**job)
    world.now = CREATED + 10
    world.see_pod(phase="Running", agent=running(), sandbox=running(), age=2)
    world.push(a_report(result or a_result(timings=TIMINGS)))
    await world.reconcile()
    return world


async def test_a_finished_job_counts_once() -> None:
    world = await finished()
    await world.reconcile()
    await world.reconcile()

    assert world.series("jobs_finished_total") == {("team-a", "Batch", "Succeeded", "Completed"): 1}


async def test_a_failed_job_counts_with_its_reason() -> None:
    world = await finished(a_failed_result(3))

    assert world.series("jobs_finished_total") == {("team-a", "Batch", "Failed", "NonZeroExit"): 1}


async def test_the_parts_of_a_finished_job_are_in_histograms() -> None:
    world = await finished()

    sums = {
        part: world.measured(f"job_{part}_seconds_sum")
        for part in ("sync", "start", "execution", "upload", "total")
    }
    assert sums == {"sync": 0.04, "start": 0.2, "execution": 0.312, "upload": 0.5, "total": 10.0}
    assert world.measured("job_queue_seconds_sum", namespace="team-a") == 2.0
    assert world.measured("job_execution_seconds_bucket", le="0.5") == 1
    assert world.measured("job_execution_seconds_bucket", le="0.25") == 0


async def test_a_part_that_did_not_happen_is_not_measured() -> None:
    world = await finished(a_result(timings=wire.Timings(execution_millis=312)))

    assert world.measured("job_sync_seconds_count") == 0
    assert world.measured("job_execution_seconds_count") == 1


# Jobs that other processes finish, and lost answers.


async def test_a_standby_counts_no_job_that_its_leader_finishes() -> None:
    world = await finished()
    await world.stand_by()
    world.parts.handlers.on_job("MODIFIED", copy.deepcopy(world.kube.objects[f"{JOBS}/sales"]))
    await world.parts.gauges.refresh()

    assert world.series("jobs_finished_total") == {}
    assert world.series("jobs") == {}
    assert world.measured("jobs_oldest_phase_seconds", phase="Pending") is None
    assert world.measured("leader") == 0


async def test_a_new_leader_does_not_count_what_its_predecessor_finished() -> None:
    world = await finished()
    await world.stand_by()
    world.parts.resync.take_over()
    await world.confirm()
    await world.reconcile()
    await world.parts.gauges.refresh()

    assert world.series("jobs_finished_total") == {}
    assert world.series("jobs") == {("team-a", "Succeeded"): 1}
    assert world.measured("leader") == 1


async def test_a_new_leader_counts_the_job_that_it_finishes() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body(phase="Failed", agent=ended(1), sandbox=ended(1)))
    await world.stand_by()
    world.parts.resync.take_over()
    await world.reconcile()

    ((labels, count),) = world.series("jobs_finished_total").items()
    assert (labels[:3], count) == (("team-a", "Batch", "Failed"), 1)


async def test_a_job_counts_once_if_the_answer_to_its_last_write_is_lost() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(timings=TIMINGS)))
    world.lose_next_answer()
    with pytest.raises(KubeError):
        await world.reconcile()
    before = world.series("jobs_finished_total")

    world.parts.handlers.on_job("MODIFIED", copy.deepcopy(world.kube.objects[f"{JOBS}/sales"]))
    await world.reconcile()
    await world.reconcile()

    assert before == {}
    assert world.series("jobs_finished_total") == {("team-a", "Batch", "Succeeded", "Completed"): 1}
    assert world.measured("job_execution_seconds_sum") == 0.312


async def test_a_job_counts_once_if_its_last_write_is_repeated() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.refuse("PATCH", 0, "TimeoutError")
    with pytest.raises(KubeError):
        await world.reconcile()
    await world.reconcile()
    await world.reconcile()

    assert world.series("jobs_finished_total") == {("team-a", "Batch", "Succeeded", "Completed"): 1}


async def test_an_object_that_cannot_be_read_is_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = OperatorMetrics(Metrics("operator"))

    with caplog.at_level(logging.ERROR):
        metrics.finished({"metadata": {"uid": "u-1"}, "status": {}})

    assert "the job is not in the metrics" in caplog.text


async def test_a_measurement_that_fails_does_not_keep_a_job_from_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: OperatorMetrics, job: Json) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(OperatorMetrics, "finished", broken)
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result()))
    with caplog.at_level(logging.INFO):
        await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert "the job has ended" in caplog.text
    assert "failed for an ended job" in caplog.text


# Retries.


async def test_an_attempt_that_is_repeated_counts_with_its_reason() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3)))
    await world.reconcile()

    assert world.series("job_retries_total") == {("team-a", "NonZeroExit"): 1}
    assert world.series("jobs_finished_total") == {}


async def test_an_attempt_of_a_job_that_is_gone_is_no_retry() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3)))
    del world.kube.objects[f"{JOBS}/sales"]
    await world.reconcile()

    assert world.cache.job(JOB_UID) is None
    assert world.series("job_retries_total") == {}


# Delivery.


async def test_a_delivery_counts_from_the_end_of_the_code() -> None:
    """The report has come 0.3 s ago, after an upload of 0.5 s."""
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now = CREATED + 10
    world.push(a_report(a_result(timings=TIMINGS)))
    world.now += 0.3
    await world.reconcile()

    assert world.measured("job_delivery_seconds_sum") == pytest.approx(0.8)
    assert world.measured("job_delivery_seconds_bucket", le="1.0") == 1
    assert world.measured("job_delivery_seconds_bucket", le="0.5") == 0


async def test_a_late_delivery_counts_from_the_terminal_status() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.redis.up = False
    await world.reconcile()
    world.now += 90
    await world.reconcile()
    world.redis.up = True
    await world.reconcile()
    await world.reconcile()

    assert world.measured("job_delivery_seconds_count") == 1
    assert world.measured("job_delivery_seconds_sum") == 90


async def test_without_code_that_ran_no_delivery_is_measured() -> None:
    world = await finished(a_failed_result(None))

    assert world.end[2] == "Delivered"
    assert world.measured("job_delivery_seconds_count") == 0


# Functions.


def a_run(name: str, namespace: str = "team-a", number: int = 0) -> Json:
    body = a_labelled_run(f"uid-{number}")
    body["metadata"]["labels"][LABEL_FUNCTION] = name
    body["metadata"]["namespace"] = namespace
    return body


def function_series(metrics: OperatorMetrics, sample: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(s.labels.values()): s.value
        for family in metrics.registry.collect()
        for s in family.samples
        if s.name == f"nanogrid_function_{sample}"
    }


def test_a_run_of_a_function_counts_with_time_and_memory() -> None:
    metrics = OperatorMetrics(Metrics("operator"))
    body = a_run("report")
    body["status"]["result"] |= {"durationMillis": 700, "peakMemoryBytes": 41 * MIB}

    metrics.finished(body)

    assert function_series(metrics, "runs_total") == {("team-a", "report", "Succeeded"): 1}
    assert set(function_series(metrics, "execution_seconds_sum").values()) == {0.7}
    assert set(function_series(metrics, "peak_memory_bytes_sum").values()) == {41 * MIB}


def test_a_function_id_is_no_label_because_it_can_be_any_text() -> None:
    metrics = OperatorMetrics(Metrics("operator"))
    body = a_run("report")
    body["spec"]["functionId"] = body["metadata"]["labels"].pop(LABEL_FUNCTION)

    metrics.finished(body)

    assert function_series(metrics, "runs_total") == {}


def test_the_number_of_functions_has_a_bound_for_all_and_for_one_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operator_metrics, "FUNCTIONS", 5)
    monkeypatch.setattr(operator_metrics, "FUNCTIONS_OF_NAMESPACE", 3)
    metrics = OperatorMetrics(Metrics("operator"))
    for namespace in ("team-a", "team-b"):
        for number in range(20):
            metrics.finished(a_run(f"f-{number}", namespace))

    runs = function_series(metrics, "runs_total")
    assert len(runs) == 7  # three of team-a, two of team-b, and the rest of each
    assert sum(runs.values()) == 40
    assert {count for labels, count in runs.items() if OTHER in labels} == {17, 18}


def test_the_number_of_namespaces_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_metrics, "NAMESPACES", 2)
    metrics = OperatorMetrics(Metrics("operator"))
    for number in range(10):
        metrics.finished(a_run("report", f"team-{number}"))
        metrics.retried(f"team-{number}", "NonZeroExit")

    samples = [s for family in metrics.registry.collect() for s in family.samples]
    assert {s.labels["namespace"] for s in samples if "namespace" in s.labels} == {
        "team-0", "team-1", OTHER
    }  # fmt: skip


def test_a_new_namespace_takes_the_place_of_one_that_is_gone_with_all_its_series(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operator_metrics, "NAMESPACES", 2)
    monkeypatch.setattr(operator_metrics, "FUNCTIONS", 2)
    clock = SimpleNamespace(now=0.0)
    metrics = OperatorMetrics(Metrics("operator"), lambda: clock.now)
    metrics.finished(a_run("report", "preview-1"))
    metrics.retried("preview-1", "NonZeroExit")
    for clock.now in (1.0, 2.0 + IDLE_SECONDS):
        metrics.finished(a_run("report", "team-a"))

    metrics.finished(a_run("report", "preview-2"))

    samples = [s for family in metrics.registry.collect() for s in family.samples]
    assert {s.labels["namespace"] for s in samples if "namespace" in s.labels} == {
        "team-a", "preview-2"
    }  # fmt: skip
    assert function_series(metrics, "runs_total") == {
        ("team-a", "report", "Succeeded"): 2,
        ("preview-2", "report", "Succeeded"): 1,
    }


def test_a_new_function_takes_the_place_of_one_that_runs_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operator_metrics, "FUNCTIONS_OF_NAMESPACE", 1)
    clock = SimpleNamespace(now=0.0)
    metrics = OperatorMetrics(Metrics("operator"), lambda: clock.now)
    for clock.now, function in ((0.0, "old"), (IDLE_SECONDS, "new"), (IDLE_SECONDS + 1, "newer")):
        metrics.finished(a_run(function))

    assert set(function_series(metrics, "runs_total")) == {
        ("team-a", "new", "Succeeded"),
        ("team-a", OTHER, "Succeeded"),
    }


# The watch, reports, requests to targets.


async def test_the_lag_of_the_watch_is_measured_for_new_jobs_only() -> None:
    world = World()
    world.now = CREATED + 1.5
    new = a_job_body(name="other", uid="uid-2")

    world.parts.handlers.on_job(None, a_job_body(name="listed", uid="uid-3"))
    world.parts.handlers.on_job("ADDED", a_job_body())
    world.parts.handlers.on_job("ADDED", new)
    world.parts.handlers.on_job("MODIFIED", new)

    assert world.measured("watch_lag_seconds_count") == 1
    assert world.measured("watch_lag_seconds_sum") == 1.5


async def test_a_standby_measures_no_lag() -> None:
    world = World()
    await world.stand_by()

    world.parts.handlers.on_job("ADDED", a_job_body(name="other", uid="uid-2"))

    assert world.measured("watch_lag_seconds_count") == 0


def test_tries_to_deliver_count_by_target_and_outcome() -> None:
    metrics = OperatorMetrics(Metrics("operator"))
    for target, success in (("redis", True), ("redis", False), ("s3", True)):
        metrics.attempted(target, success, 0.2)

    value: Callable[..., float | None] = metrics.registry.get_sample_value
    tries = "nanogrid_delivery_attempts_total"
    assert value(tries, {"target": "redis", "outcome": "success"}) == 1
    assert value(tries, {"target": "redis", "outcome": "error"}) == 1
    assert value(tries, {"target": "s3", "outcome": "success"}) == 1
    assert value("nanogrid_delivery_attempt_seconds_count", {"target": "redis"}) == 2


async def test_the_queue_measures_what_workers_do() -> None:
    world = World()
    world.kube.refuse("POST", 500)
    await world.work(5.0)

    assert world.measured("workqueue_retries_total") == 1
    adds = world.measured("workqueue_adds_total")
    assert adds is not None
    assert adds >= 2
    assert world.measured("workqueue_wait_seconds_count") == adds
    assert world.measured("workqueue_work_seconds_count") == adds


async def test_depth_and_longest_run_of_the_queue() -> None:
    world = World()
    world.queue.add("a")
    world.queue.add("b")
    await world.queue.get()
    await world.queue.get()
    world.queue.add("c")
    world.queue.add("d")
    await asyncio.sleep(7)
    await world.parts.gauges.refresh()

    assert world.measured("workqueue_depth") == 2
    assert world.measured("workqueue_longest_running_seconds") == 7


# All of them.


def test_each_metric_follows_the_conventions() -> None:
    declared = Metrics("operator")
    OperatorMetrics(declared)

    for name, kind, labels, unit, about in declared.described:
        assert name.startswith("nanogrid_")
        assert about.endswith(".")
        assert (kind == "counter") == name.endswith("_total")
        assert kind != "histogram" or unit
        assert not {"job", "uid", "name", "request", "pod"} & set(labels)


def test_series_of_a_gauge_that_are_not_set_again_disappear() -> None:
    metrics = Metrics("test")
    gauge = GaugeSet(metrics.gauge("nanogrid_x", "X.", ["namespace"]))

    gauge.replace({("a",): 1, ("b",): 2})
    gauge.replace({("b",): 3})

    value = metrics.registry.get_sample_value
    assert value("nanogrid_x", {"namespace": "a"}) is None
    assert value("nanogrid_x", {"namespace": "b"}) == 3
