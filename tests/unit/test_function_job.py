"""A job that refers to a function: the pin is on its status before there is a pod, and stays."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid_operator.actions import Create, Finish, Nothing, Pin, Progress, Wait
from nanogrid_operator.decide import decide
from nanogrid_operator.facts import job_facts
from nanogrid_operator.functionref import stored
from nanogrid_operator.kube import KubeError
from nanogrid_operator.view import View
from unit.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    Json,
    a_failed_result,
    a_report,
    a_result,
    a_view,
    an_attempt,
    retrying,
    running,
)
from unit.fakes import CREATE_POD, JOBS, PODS, WRITE_STATUS, World
from unit.function_builders import (
    FUNCTION,
    FUNCTION_UID,
    FUNCTIONS,
    a_function_body,
    a_function_job,
    a_version,
)
from unit.test_functionref import pinned

PINNED: Json = {"function": stored(pinned(1))}


def view(status: Json | None = None, *, age: float = 1.0, **more: Any) -> View:
    """A job that refers to the function; refused as in :func:`a_view`."""
    refused = more.pop("refused", None)
    job = job_facts(a_function_job(status=status, **more))
    return a_view(job, age=age, refused=refused)


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        (view(), Pin()),
        (view(PINNED), Create(0)),
        (view(PINNED | retrying(an_attempt(age=0)), backoffLimit=1, age=5), Create(1)),
        (view({"phase": "Pending", "reason": "PodRejected"}, refused=(0, 1), age=9), Pin()),
        (view({"phase": "Suspended", "reason": "Suspended"}), Pin()),
        (view(deleting=True), Nothing()),
    ],
)
def test_the_function_is_read_when_a_pod_is_due_and_only_until_it_is_pinned(
    seen: View, action: object
) -> None:
    assert decide(seen) == action


@pytest.mark.parametrize(
    ("seen", "kind"),
    [(view(suspend=True), Progress), (view(cancel=True), Finish), (view(refused=(0, 0)), Wait)],
)
def test_a_job_that_is_not_to_start_reads_no_function(seen: View, kind: type) -> None:
    if kind is Wait:  # the refusal is told first
        kind = Progress
    assert isinstance(decide(seen), kind)


def a_world(version: int | None = None, **job: Any) -> World:
    """A cluster with the function and a job that refers to it."""
    world = World(body=a_function_job(version, **job))
    world.kube.put(FUNCTIONS, a_function_body())
    return world


def task_of(world: World, pod: str = POD_NAME) -> wire.Task:
    """What the sandbox pod was told."""
    spec = world.kube.objects[f"{PODS}/{pod}"]["spec"]
    env = {e["name"]: e.get("value") for e in spec["initContainers"][0]["env"]}
    return wire.loads(wire.Task, env[names.ENV_TASK])


def code_of(world: World) -> str | None:
    code = task_of(world).code_s3
    return code.key if code else None


async def test_it_costs_one_write_more_and_its_result_names_the_function() -> None:
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


async def test_a_named_version_runs() -> None:
    world = a_world(1)

    await world.reconcile()
    await world.reconcile()

    assert code_of(world) == "functions/report/v1.zip"


@pytest.mark.parametrize("gone", [False, True])
async def test_a_kill_after_the_pin_a_newer_version_and_a_deletion_change_nothing(
    gone: bool,
) -> None:
    world = a_world(backoffLimit=1, failurePolicy={"backoff": {"initialSeconds": 0}})
    await world.reconcile()
    newer = [a_version(1), a_version(2), a_version(3)]
    world.kube.put(FUNCTIONS, a_function_body(versions=newer, command=["sh", "new.sh"]))
    if gone:
        del world.kube.objects[f"{FUNCTIONS}/{FUNCTION}"]
    world.start()
    world.store.put_job(world.kube.objects[f"{JOBS}/sales"])

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


async def test_two_operators_pin_the_same() -> None:
    world = a_world()
    world.kube.touch(JOBS, "sales")  # the other one wrote, and this one has not seen it
    other = world.kube.objects[f"{JOBS}/sales"]
    other["status"] = {"function": stored(pinned(1))}

    with pytest.raises(KubeError, match="409"):
        await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    assert code_of(world) == "functions/report/v1.zip"


@pytest.mark.parametrize(
    ("function", "version", "reason", "says"),
    [
        (None, None, "FunctionNotFound", "there is no function report"),
        (a_function_body(deleting=True), None, "FunctionNotFound", "is being deleted"),
        (a_function_body(), 9, "VersionNotFound", "no version 9"),
        (a_function_body(versions=[]), None, "InvalidSpec", "spec.versions"),
    ],
)
async def test_a_function_that_cannot_be_run_ends_the_job_at_once(
    function: Json | None, version: int | None, reason: str, says: str
) -> None:
    world = World(body=a_function_job(version, backoffLimit=3))
    if function is not None:
        world.kube.put(FUNCTIONS, function)

    await world.reconcile()

    assert world.end == ("Failed", reason, "Delivered")
    assert says in world.status["message"]
    assert world.redis.told[0].function_id == FUNCTION
    assert world.kube.writes == [WRITE_STATUS]


@pytest.mark.parametrize("code", [0, 429, 500, 503])
async def test_an_api_server_that_does_not_answer_is_no_failure(code: int) -> None:
    world = a_world()
    world.kube.refuse("GET", code)

    with pytest.raises(KubeError):
        await world.reconcile()
    assert world.status == {}
    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]


async def test_a_missing_right_is_told_and_asked_for_again() -> None:
    world = a_world()
    world.kube.refuse("GET", 403, "Forbidden", "functions.nanogrid.io is forbidden")

    await world.reconcile()
    await world.reconcile()
    said = world.status
    world.now = CREATED + 9
    await world.reconcile()
    await world.reconcile()

    assert (said["phase"], said["reason"]) == ("Pending", "PodRejected")
    assert "functions.nanogrid.io is forbidden" in said["message"]
    assert code_of(world) == "functions/report/v2.zip"


async def test_an_ended_run_is_offered_once_as_the_api_server_has_it() -> None:
    world = a_world()
    offered: list[Json] = []
    world.operator.ending.counted = offered.append
    await world.reconcile()
    await world.reconcile()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    for _ in range(3):
        await world.reconcile()

    (body,) = offered
    assert body["status"]["result"]["reason"] == "Completed"
    assert body["status"]["function"]["name"] == FUNCTION
    assert body["spec"]["functionRef"] == {"name": FUNCTION}
