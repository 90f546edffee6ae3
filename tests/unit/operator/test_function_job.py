"""A job that refers to a function: its status has the pin before it has a pod."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.api.function_spec import FunctionRef
from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.decision.actions import Create, Finish, Nothing, Pin, Progress, Wait
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.function_ref import to_status
from support.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_report,
    a_result,
    an_attempt,
    retrying,
    running,
)
from support.function_builders import (
    FUNCTION,
    FUNCTION_UID,
    FUNCTIONS,
    a_function_body,
    a_function_job,
    a_pinned_function,
    a_version,
)
from support.operator_fakes import CREATE_POD, JOBS, PODS, WRITE_STATUS
from support.operator_world import World, run_for
from support.snapshots import a_snapshot

REF = FunctionRef(name=FUNCTION)
PINNED: Json = {"function": to_status(a_pinned_function(1))}


def snapshot(status: Json | None = None, *, age: float = 1.0, **more: Any) -> Snapshot:
    """A snapshot of a job that refers to the function; ``refused`` as in :func:`a_snapshot`."""
    refused = more.pop("refused", None)
    job = job_facts(a_function_job(status=status, **more))
    return a_snapshot(job, age=age, refused=refused)


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (snapshot(), Pin(REF)),
        (snapshot(PINNED), Create(0)),
        (snapshot(PINNED | retrying(an_attempt(age=0)), backoffLimit=1, age=5), Create(1)),
        (snapshot({"phase": "Pending", "reason": "PodRejected"}, refused=(0, 1), age=9), Pin(REF)),
        (snapshot({"phase": "Suspended", "reason": "Suspended"}), Pin(REF)),
        (snapshot(deleting=True), Nothing()),
    ],
)
def test_the_function_is_read_when_a_pod_is_due_unless_it_is_pinned(
    given: Snapshot, action: object
) -> None:
    assert decide(given) == action


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (snapshot(suspend=True), Progress),
        (snapshot(cancel=True), Finish),
        (snapshot(refused=(0, 0)), Wait),
    ],
)
def test_a_job_that_does_not_start_reads_no_function(given: Snapshot, kind: type) -> None:
    if kind is Wait:  # the rejection is written first
        kind = Progress
    assert isinstance(decide(given), kind)


def a_world(version: int | None = None, **job: Any) -> World:
    """A cluster with the function and a job that refers to it."""
    world = World(body=a_function_job(version, **job))
    world.kube.put(FUNCTIONS, a_function_body())
    return world


def task_of(world: World, pod: str = POD_NAME) -> wire.PodTask:
    """The task of the sandbox pod."""
    spec = world.kube.objects[f"{PODS}/{pod}"]["spec"]
    env = {e["name"]: e.get("value") for e in spec["initContainers"][0]["env"]}
    return wire.loads(wire.PodTask, env[names.ENV_TASK])


def code_of(world: World) -> str | None:
    code = task_of(world).code_s3
    return code.key if code else None


async def test_a_function_costs_one_more_write_and_the_result_names_it() -> None:
    world = a_world()

    await world.reconcile()
    pin = world.status
    await world.reconcile()
    assert code_of(world) == "functions/report/v2.zip"
    assert task_of(world).function_id == FUNCTION
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(function_id=FUNCTION)))
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD, WRITE_STATUS]
    assert pin["function"]["version"] == 2
    assert pin["function"]["uid"] == FUNCTION_UID
    assert pin["requestId"] == JOB_UID
    assert "phase" not in pin
    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.status["function"] == pin["function"]


async def test_the_requested_version_runs() -> None:
    world = a_world(1)

    await world.reconcile()
    await world.reconcile()

    assert code_of(world) == "functions/report/v1.zip"


@pytest.mark.parametrize("gone", [False, True])
async def test_later_changes_of_the_function_do_not_change_a_pinned_job(
    gone: bool,
) -> None:
    world = a_world(backoffLimit=1, failurePolicy={"backoff": {"initialSeconds": 0}})
    await world.reconcile()
    newer = [a_version(1), a_version(2), a_version(3)]
    world.kube.put(FUNCTIONS, a_function_body(versions=newer, command=["sh", "new.sh"]))
    if gone:
        del world.kube.objects[f"{FUNCTIONS}/{FUNCTION}"]
    world.start()
    world.cache.put_job(world.kube.objects[f"{JOBS}/sales"])

    await world.reconcile()
    first = task_of(world)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result()))
    await world.reconcile()
    world.now += 5
    await world.reconcile()

    second = task_of(world, POD_NAME[:-1] + "1")
    assert first.code_s3 is not None
    assert first.code_s3.key == "functions/report/v2.zip"
    assert first.command == ["python3", "main.py"]
    assert replace(second, attempt=0) == first


async def test_two_operators_pin_the_same_version() -> None:
    world = a_world()
    world.kube.touch(JOBS, "sales")  # the other operator wrote it, and this one does not know
    other = world.kube.objects[f"{JOBS}/sales"]
    other["status"] = {"function": to_status(a_pinned_function(1))}

    with pytest.raises(KubeError, match="409"):
        await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    assert code_of(world) == "functions/report/v1.zip"


@pytest.mark.parametrize(
    ("function", "version", "reason", "text"),
    [
        (None, None, "FunctionNotFound", "there is no function report"),
        (a_function_body(deleting=True), None, "FunctionNotFound", "is being deleted"),
        (a_function_body(), 9, "VersionNotFound", "no version 9"),
        (a_function_body(versions=[]), None, "InvalidSpec", "spec.versions"),
    ],
)
async def test_a_function_that_cannot_run_ends_the_job_at_once(
    function: Json | None, version: int | None, reason: str, text: str
) -> None:
    world = World(body=a_function_job(version, backoffLimit=3))
    if function is not None:
        world.kube.put(FUNCTIONS, function)

    await world.reconcile()

    assert world.end == ("Failed", reason, "Delivered")
    assert text in world.status["message"]
    assert world.redis.offered[0].function_id == FUNCTION
    assert world.kube.writes == [WRITE_STATUS]


@pytest.mark.parametrize("code", [0, 429, 500, 503])
async def test_an_outage_of_the_api_server_does_not_fail_the_job(code: int) -> None:
    world = a_world()
    world.kube.refuse("GET", code)

    with pytest.raises(KubeError):
        await world.reconcile()
    assert world.status == {}
    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]


async def test_a_missing_permission_is_shown_and_the_read_is_retried() -> None:
    world = a_world()
    world.kube.refuse("GET", 403, "Forbidden", "functions.nanogrid.io is forbidden")

    await world.reconcile()
    await world.reconcile()
    rejected = world.status
    world.now = CREATED + 9
    await world.reconcile()
    await world.reconcile()

    assert (rejected["phase"], rejected["reason"]) == ("Pending", "PodRejected")
    assert "functions.nanogrid.io is forbidden" in rejected["message"]
    assert code_of(world) == "functions/report/v2.zip"


async def test_a_finished_run_is_counted_once() -> None:
    world = a_world()
    await world.reconcile()
    await world.reconcile()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    for _ in range(3):
        await world.reconcile()

    await run_for(10, world.parts.function_runs.run())

    status = world.kube.objects[f"{FUNCTIONS}/{FUNCTION}"]["status"]
    (run,) = status["recent"]
    assert (status["runs"], run["job"], run["version"]) == (1, "sales", 2)
    assert run["reason"] == "Completed"
