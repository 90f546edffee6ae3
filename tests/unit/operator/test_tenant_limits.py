"""Limits of one namespace: jobs wait for them, and the reason names the limit and where it is."""

from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.output_bytes import OutputBytes, stored_bytes
from nanogrid_operator.decision.pod_use import Need
from nanogrid_operator.model.tenant import Tenants
from support.builders import (
    CREATED,
    MIB,
    POD_NAME,
    a_job,
    a_job_body,
    a_pod_body,
    running,
    some_settings,
)
from support.builders import time_text as at
from support.operator_fakes import PODS
from support.operator_world import World

pytestmark = pytest.mark.security

HERE = "team-a"
SMALL, LARGE = Need(500, 256 * MIB), Need(1500, 1024 * MIB)
LIVE = a_pod_body(phase="Running", agent=running(), sandbox=running(), cpu="500m")


class Queue:
    """One namespace with a tenant, and the time."""

    def __init__(self, defaults: str = "", **limits: Any) -> None:
        self.now = CREATED
        self.woken: list[str] = []
        settings = some_settings(tenant_defaults=defaults)
        self.tenants = Tenants(settings)
        self.set_limits(**limits)
        self.outputs = OutputBytes(self.tenants)
        self.queue = AdmissionQueue(
            settings, self.woken.append, self.tenants, self.outputs, lambda: self.now
        )

    def set_limits(self, **limits: Any) -> None:
        spec = {"limits": limits} if limits else {}
        self.tenants.replace([{"metadata": {"name": HERE}, "spec": spec}])

    def reason(self, need: Need = SMALL) -> str:
        return self.queue.wait_reason(a_job(), need)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"jobs": 1}, "1 pods of this namespace are live, which is the limit (limits.jobs of "),
        ({"cpu": "900m"}, "have 0.5 CPU and this job needs 0.5; the limit is 0.9 (limits.cpu of "),
        ({"memory": "400Mi"}, "256Mi; the limit is 400Mi (limits.memory of "),
    ],
    ids=["jobs", "cpu", "memory"],
)
def test_a_job_over_a_limit_waits_until_a_pod_ends(limits: Json, reason: str) -> None:
    queue = Queue(**limits)
    assert queue.reason() == ""
    queue.queue.observe_pod(HERE, "first", LIVE)

    assert f"{reason}NanoGridTenant team-a)" in queue.reason()
    queue.queue.enqueue(a_job(), SMALL)
    assert queue.woken == []
    queue.queue.observe_pod(HERE, "first", None)
    assert queue.woken == [a_job().uid]


def test_a_pod_that_is_created_counts_with_its_resources() -> None:
    queue = Queue(cpu="900m")

    with queue.queue.reserve(HERE, "first", SMALL):
        assert "limits.cpu" in queue.reason()
    assert queue.reason() == ""


def test_the_limits_of_the_chart_are_named_as_such() -> None:
    queue = Queue('{"limits": {"jobs": 1}}')
    queue.queue.observe_pod(HERE, "first", LIVE)

    assert "limits.jobs of the chart's tenancy.defaults" in queue.reason()


def test_a_large_job_is_next_and_smaller_ones_do_not_pass_it() -> None:
    queue = Queue(cpu="2")
    queue.queue.observe_pod(HERE, "first", a_pod_body(cpu="1"))
    large = a_job(uid="large", name="a")
    queue.queue.enqueue(large, LARGE)

    assert "this job needs 1.5" in queue.reason(SMALL)
    queue.queue.observe_pod(HERE, "first", None)
    assert queue.woken == ["large"]


def test_a_job_that_can_never_fit_does_not_hold_up_the_queue() -> None:
    queue = Queue(cpu="1")
    queue.queue.observe_pod(HERE, "first", a_pod_body(cpu="1"))

    assert queue.reason(LARGE) == ""  # it gets its turn, and ends with InvalidSpec
    assert queue.reason(SMALL)


@pytest.mark.parametrize(
    ("limits", "memory", "cpu"),
    [
        ({}, "256Mi", "1"),
        ({"memory": "128Mi"}, "128Mi", "1"),
        ({"memory": "1Gi", "cpu": "500m"}, "256Mi", "500m"),
    ],
)
def test_default_limits_of_a_job_fit_into_the_sums_of_its_namespace(
    limits: Json, memory: str, cpu: str
) -> None:
    settings = Queue(**limits).queue.settings_of(HERE)

    assert (settings.memory_limit, settings.cpu_limit) == (memory, cpu)


async def test_a_job_without_limits_runs_in_a_namespace_with_small_sums() -> None:
    world = World(some_settings(tenant_defaults='{"limits": {"memory": "96Mi", "cpu": "250m"}}'))

    await world.reconcile()

    pod = world.kube.objects[f"{PODS}/{POD_NAME}"]
    (sandbox,) = [c for c in pod["spec"]["containers"] if c["name"] == "sandbox"]
    limits = sandbox["resources"]["limits"]
    assert (limits["memory"], limits["cpu"]) == ("96Mi", "250m")


def test_jobs_are_considered_again_when_limits_change() -> None:
    queue = Queue(jobs=1)
    queue.queue.observe_pod(HERE, "first", LIVE)
    queue.queue.enqueue(a_job(), SMALL)
    queue.queue.wake_all([HERE])
    assert queue.woken == []

    queue.set_limits(jobs=2)
    queue.queue.wake_all([HERE])
    assert queue.woken == [a_job().uid]


def test_an_invalid_tenant_does_not_stop_the_queue() -> None:
    queue = Queue(jobs=1)
    queue.queue.observe_pod(HERE, "first", LIVE)
    queue.queue.enqueue(a_job(), SMALL)

    queue.tenants.replace([{"metadata": {"name": HERE}, "spec": {"limits": {"jobs": "many"}}}])
    queue.queue.wake_all([HERE])
    assert queue.woken == [a_job().uid]  # its turn ends it, with the error in the tenant


def finished_job(uid: str, age: float, **result: Any) -> Json:
    status = {"phase": "Succeeded", "completionTime": at(age), "result": result}
    return a_job_body(uid=uid, status=status)


def test_jobs_wait_while_the_namespace_stored_too_much_in_24_hours() -> None:
    queue = Queue(outputBytesPerDay=1000)
    queue.outputs.offer(finished_job("early", -80_000, outputBytes=600))
    queue.outputs.offer(finished_job("early", -80_000, outputBytes=600))  # a second LIST
    assert queue.reason() == ""
    queue.outputs.offer(finished_job("late", -10, outputBytes=500))

    reason = queue.reason()
    assert "have 1100 bytes and the limit is 1000 (limits.outputBytesPerDay of Nano" in reason
    assert f"below it at {at(86_400 - 80_000)}" in reason
    queue.now = CREATED + 86_401 - 80_000
    assert queue.reason() == ""


def test_a_queued_job_gets_its_turn_when_the_day_is_over() -> None:
    queue = Queue(outputBytesPerDay=1000)
    queue.outputs.offer(finished_job("early", 0, outputBytes=1000))
    assert queue.reason()
    queue.queue.enqueue(a_job(), SMALL)

    queue.now = CREATED + 86_401
    assert queue.reason() == ""
    assert queue.woken == [a_job().uid]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"outputBytes": 7, "outputs": [{"bytes": 1}]}, 7),
        ({"outputs": [{"bytes": 3}, {"bytes": 4}]}, 7),
        ({"outputs": [{"bytes": "odd"}, 4, {"bytes": 5}]}, 5),
        ({"outputBytes": -5}, 0),
        ({"outputBytes": 1 << 80}, 1 << 50),
        ({}, 0),
    ],
    ids=["total", "older agent", "malformed", "negative", "absurd", "none"],
)
def test_stored_bytes_are_read_from_the_result(result: Json, expected: int) -> None:
    assert stored_bytes(finished_job("one", 0, **result)) == expected


def test_an_unfinished_job_and_a_namespace_without_the_limit_store_nothing() -> None:
    queue = Queue(jobs=5)
    queue.outputs.offer(finished_job("one", 0, outputBytes=1 << 40))
    queue.outputs.offer(a_job_body(uid="two"))
    queue.set_limits(outputBytesPerDay=10)

    assert queue.reason() == ""
