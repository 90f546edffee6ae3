"""What a job that refers to a function runs: the pin, and its own fields before the defaults."""

from typing import Any

import pytest

from nanogrid import wire
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.manifests.task import task_for
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.function_ref import (
    PIN_CAP_BYTES,
    FunctionRefused,
    effective,
    pin,
    to_status,
)
from support.builders import some_settings, tenant_of
from support.function_builders import (
    FUNCTION,
    FUNCTION_UID,
    a_function_body,
    a_function_job,
    a_pinned_function,
    a_version,
)

SETTINGS = some_settings()
GIVEN = {
    "command": ["python3", "start.py"],
    "env": [{"name": "LEVEL", "value": "info"}, {"name": "ZONE", "value": "kr"}],
    "runtime": {"image": "python:3.12", "runtimeClassName": "gvisor"},
    "resources": {
        "limits": {"cpu": "2", "memory": "512Mi"},
        "requests": {"cpu": "500m", "memory": "256Mi"},
    },
    "timeouts": {"executionSeconds": 30},
    "outputs": {"path": "out"},
    "poolRef": {"name": "data"},
    "inputStrategy": "Agent",
}


def spec_of(job: Json, of: PinnedFunction) -> Spec:
    return effective(ExecutionJob.model_validate(job).spec, of)


@pytest.mark.parametrize(("asked", "found"), [(None, 2), (1, 1), (2, 2)])
def test_the_newest_version_is_pinned_unless_the_job_names_one(
    asked: int | None, found: int
) -> None:
    of = a_pinned_function(asked)

    assert (of.name, of.uid, of.version) == (FUNCTION, FUNCTION_UID, found)
    assert of.s3.key == f"functions/report/v{found}.zip"
    assert of.s3.bucket == SETTINGS.s3_bucket, "a later default does not change it"


def test_versions_can_have_any_order_and_their_own_buckets_and_commands() -> None:
    s3 = {**a_version(9)["s3"], "bucket": "theirs"}
    versions = [a_version(9, s3=s3, command=["sh", "run.sh"]), a_version(3)]

    tenant = tenant_of(allow={"buckets": [{"name": "theirs"}]})

    newest, older = (
        a_pinned_function(number, tenant=tenant, versions=versions, **GIVEN) for number in (None, 3)
    )

    assert (newest.version, newest.s3.bucket) == (9, "theirs")
    assert newest.command == ["sh", "run.sh"]
    assert older.command == GIVEN["command"]


@pytest.mark.parametrize(
    ("body", "version", "reason", "text"),
    [
        (None, None, Reason.FUNCTION_NOT_FOUND, "there is no function report"),
        (a_function_body(deleting=True), None, Reason.FUNCTION_NOT_FOUND, "is being deleted"),
        (a_function_body(), 7, Reason.VERSION_NOT_FOUND, "no version 7; the newest are 1, 2"),
        (a_function_body(colour="red"), None, Reason.INVALID_SPEC, "colour"),
        (
            a_function_body(env=[{"name": f"V{n}", "value": "x" * 32768} for n in range(2)]),
            None,
            Reason.INVALID_SPEC,
            f"at most {PIN_CAP_BYTES} fit",
        ),
    ],
)
def test_a_refused_function_has_a_reason_and_a_message(
    body: Json | None, version: int | None, reason: Reason, text: str
) -> None:
    with pytest.raises(FunctionRefused, match=text) as refused:
        pin(FunctionRef(name=FUNCTION, version=version), body, tenant_of())
    assert refused.value.reason is reason


def test_a_pin_can_be_read_back_from_the_status() -> None:
    of = a_pinned_function(**GIVEN)

    assert PinnedFunction.model_validate(to_status(of)) == of


@pytest.mark.parametrize(
    ("function", "job", "pool", "agent_syncs"),
    [
        ({}, {}, None, False),
        ({"poolRef": {"name": "f"}, "inputStrategy": "Agent"}, {}, "f", True),
        (
            {"poolRef": {"name": "f"}, "inputStrategy": "Agent"},
            {"poolRef": {"name": "j"}, "inputStrategy": "Init"},
            "j",
            False,
        ),
        ({}, {"poolRef": {"name": "j"}, "inputStrategy": "Agent"}, "j", True),
    ],
)
def test_pool_and_input_strategy_of_a_job_come_before_those_of_the_function(
    function: Json, job: Json, pool: str | None, agent_syncs: bool
) -> None:
    spec = spec_of(a_function_job(**job), a_pinned_function(**function))

    assert (spec.pool_ref.name if spec.pool_ref else None) == pool
    assert spec.agent_syncs is agent_syncs


def test_a_job_without_own_fields_runs_with_those_of_the_function() -> None:
    of = a_pinned_function(**GIVEN)
    spec = spec_of(a_function_job(), of)

    assert spec.function_id == FUNCTION
    assert spec.code is not None
    assert spec.code.s3 is not None
    assert (spec.code.s3.key, spec.code.s3.sha256) == (of.s3.key, of.s3.sha256)
    assert spec.command == ["python3", "start.py"]
    assert {e.name: e.value for e in spec.env} == {
        "LEVEL": "info",
        "ZONE": "kr",
        "FUNCTION_INPUT": "/dev/stdin",
    }
    assert spec.runtime == of.runtime
    assert spec.resources == of.resources
    assert spec.timeouts is not None
    assert spec.timeouts.execution_seconds == 30
    assert spec.outputs is not None
    assert spec.outputs.path == "out"


@pytest.mark.parametrize(
    ("own", "field", "value"),
    [
        ({"command": ["true"]}, "command", ["true"]),
        ({"args": ["--x"]}, "command", ["python3", "start.py"]),
        ({"args": ["--x"]}, "args", ["--x"]),
        # A block is taken as a whole: the API server fills in its defaults.
        ({"timeouts": {"uploadSeconds": 9}}, "timeouts.executionSeconds", 30),
        ({"outputs": {"maxFiles": 5}}, "outputs.path", "output"),
        ({"runtime": {"image": "mine"}}, "runtime",
         {"image": "mine", "runtimeClassName": "gvisor"}),
        ({"runtime": {"runtimeClassName": "kata"}}, "runtime",
         {"image": "python:3.12", "runtimeClassName": "kata"}),
        ({"resources": {"limits": {"memory": "1Gi"}}}, "resources",
         {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
        # Less than the function's request, which was chosen for its own limit.
        ({"resources": {"limits": {"memory": "64Mi"}}}, "resources",
         {"limits": {"cpu": "2", "memory": "64Mi"}, "requests": {"cpu": "500m"}}),
        ({"resources": {"limits": {"ephemeral-storage": "1Gi"}}}, "resources",
         {"limits": {"cpu": "2", "memory": "512Mi", "ephemeral-storage": "1Gi"},
          "requests": {"cpu": "500m", "memory": "256Mi"}}),
        ({"resources": {"requests": {"memory": "128Mi"}}}, "resources",
         {"limits": {"cpu": "2", "memory": "512Mi"},
          "requests": {"cpu": "500m", "memory": "128Mi"}}),
    ],
)  # fmt: skip
def test_the_jobs_own_fields_win(own: Json, field: str, value: Any) -> None:
    spec = spec_of(a_function_job(**own), a_pinned_function(**GIVEN))

    found: Any = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in field.split("."):
        found = found[name]
    assert found == value


def test_variables_are_merged_by_name_and_the_job_sets_its_input() -> None:
    function = [*GIVEN["env"], {"name": "FUNCTION_INPUT", "value": "theirs"}]
    mine = [{"name": "LEVEL", "value": "debug"}, {"name": "FUNCTION_INPUT", "value": "/app/in"}]

    spec = spec_of(a_function_job(env=mine), a_pinned_function(**{**GIVEN, "env": function}))
    without = spec_of(a_function_job(), a_pinned_function(**{**GIVEN, "env": function}))

    assert {e.name: e.value for e in spec.env} == {
        "LEVEL": "debug", "ZONE": "kr", "FUNCTION_INPUT": "/app/in",
    }  # fmt: skip
    assert {e.name: e.value for e in without.env}["FUNCTION_INPUT"] == "/dev/stdin"


def test_a_job_with_its_own_code_does_not_change() -> None:
    spec = ExecutionJob.model_validate(a_function_job() | {"spec": {"code": {"inline": "1"}}}).spec

    assert effective(spec, a_pinned_function(**GIVEN)) is spec


def test_facts_show_whether_the_function_is_pinned() -> None:
    before = job_facts(a_function_job())
    after = job_facts(a_function_job(status={"function": to_status(a_pinned_function(1, **GIVEN))}))

    assert before.unpinned_function == FunctionRef(name=FUNCTION)
    assert before.model is not None
    assert before.model.spec.function_id == FUNCTION, "a failure also names the function"
    assert after.unpinned_function is None
    assert (
        job_facts(a_function_job() | {"spec": {"code": {"inline": "1"}}}).unpinned_function is None
    )
    malformed = job_facts(a_function_job(status={"function": {"name": "UPPER"}}))
    assert malformed.model is None
    assert "version" in malformed.error


def test_pod_and_task_have_the_effective_spec() -> None:
    job = job_facts(a_function_job(status={"function": to_status(a_pinned_function(1, **GIVEN))}))
    assert job.model is not None

    task = task_for(job.model, 0, SETTINGS, tenant_of())
    pod = build_pod(job.model, 0, SETTINGS, tenant_of())

    assert task.function_id == FUNCTION
    assert task.command == ["python3", "start.py"]
    assert task.execution_timeout_seconds == 30
    assert task.env["ZONE"] == "kr"
    assert task.code_s3 == wire.S3Source(
        bucket="user-data", key="functions/report/v1.zip", sha256="1" * 64
    )
    sandbox = next(c for c in pod["spec"]["containers"] if c["name"] == "sandbox")
    assert sandbox["image"] == "python:3.12"
    limits = sandbox["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == ("2", "512Mi")
    assert pod["spec"]["runtimeClassName"] == "gvisor"
