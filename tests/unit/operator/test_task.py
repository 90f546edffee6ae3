"""The task and the resources of a pod: defaults, limits, and refusals with a hint."""

from typing import Any

import pytest

from nanogrid import wire
from nanogrid.api.job import ExecutionJob
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod, needs_sync
from nanogrid_operator.manifests.task import base_memory_limit, task_for, task_json
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.settings import Settings
from support.builders import JOB_UID, MIB, a_job_body, some_settings, tenant_of


def model(**changes: Any) -> ExecutionJob:
    return ExecutionJob.model_validate(a_job_body(**changes))


def built(settings: Settings | None = None, **changes: Any) -> wire.PodTask:
    return task_for(model(**changes), 0, settings or some_settings(), tenant_of(settings))


# The task.


@pytest.mark.parametrize(
    "spec",
    [
        {"code": {"inline": "x" * 65_536}, "stdin": "y" * 65_536},
        {"code": {"inline": "값" * 45_000}},
        {"code": {"inline": "\x01" * 30_000}},
        {"code": {"inline": "$" * 30_000}},
        {"env": [{"name": f"V{n}", "value": "x" * 32_768} for n in range(4)]},
    ],
    ids=["plain", "korean", "control characters", "dollars", "env"],
)
def test_a_task_that_is_too_large_is_refused_with_a_hint(spec: Json) -> None:
    with pytest.raises(
        InvalidSpecError, match=r"have \d+ bytes, at most 122880 fit .* ZIP in S3 \(spec\.code\.s3"
    ):
        built(**spec)


def test_code_that_its_declared_encoding_cannot_hold_is_refused() -> None:
    code = "# -*- coding: {} -*-\nprint('값')\n"
    assert built(code={"inline": code.format("cp949")}).code_inline == code.format("cp949")
    with pytest.raises(InvalidSpecError, match=r"code\.inline: .* latin-1, .* Declare utf-8"):
        built(code={"inline": code.format("latin-1")})


def test_an_accepted_task_fits_into_an_environment_variable() -> None:
    task = built(code={"inline": "값" * 40_000})

    assert len(f"NANOGRID_TASK={task_json(task)}".encode()) < 128 * 1024


def test_a_spec_without_a_bucket_needs_a_default_bucket() -> None:
    with pytest.raises(InvalidSpecError, match="names no bucket, and the operator has no default"):
        built(some_settings(s3_bucket=""), code={"s3": {"key": "f.zip"}})


def test_an_inline_job_without_outputs_needs_no_bucket() -> None:
    assert not needs_sync(built(some_settings(s3_bucket="")))


def test_the_default_request_id_is_the_uid_and_names_the_outputs() -> None:
    task = built()

    assert (task.request_id, task.outputs.prefix) == (JOB_UID, f"outputs/{JOB_UID}/")


# Resources.


def resources(
    settings: Settings | None = None, memory_limit: int | None = None, **given: Any
) -> Any:
    """CPU and memory of the sandbox container."""
    pod = build_pod(
        model(resources=given), 0, settings or some_settings(), tenant_of(), memory_limit
    )
    (sandbox,) = [c for c in pod["spec"]["containers"] if c["name"] == "sandbox"]
    return {
        kind: {name: amounts[name] for name in ("cpu", "memory")}
        for kind, amounts in sandbox["resources"].items()
    }


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (
            {},
            {
                "limits": {"cpu": "1", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "256Mi"},
            },
        ),
        (
            {"limits": {"memory": "1Gi"}},
            {
                "limits": {"cpu": "1", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "1Gi"},
            },
        ),
        (
            {"limits": {"cpu": 2}},
            {
                "limits": {"cpu": "2", "memory": "256Mi"},
                "requests": {"cpu": "2", "memory": "256Mi"},
            },
        ),
        (
            {"limits": {"cpu": "50m"}},
            {
                "limits": {"cpu": "50m", "memory": "256Mi"},
                "requests": {"cpu": "50m", "memory": "256Mi"},
            },
        ),
        (
            {"requests": {"memory": "16Mi", "cpu": "10m"}},
            {
                "limits": {"cpu": "1", "memory": "256Mi"},
                "requests": {"cpu": "10m", "memory": "16Mi"},
            },
        ),
        (
            {"requests": {"memory": "2Gi", "cpu": "3"}},
            {
                "limits": {"cpu": "3", "memory": "2Gi"},
                "requests": {"cpu": "3", "memory": "2Gi"},
            },
        ),
    ],
)
def test_requests_default_to_the_given_limits(given: Json, want: Json) -> None:
    assert resources(**given) == want


def test_a_small_default_limit_bounds_the_default_request() -> None:
    assert resources(some_settings(cpu_limit="50m"))["requests"]["cpu"] == "50m"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}},
            "resources.requests.memory 2Gi exceeds the limit 1Gi: raise resources.limits.memory",
        ),
        (
            {"limits": {"cpu": "500m"}, "requests": {"cpu": 1}},
            "resources.requests.cpu 1 exceeds the limit 500m: raise resources.limits.cpu",
        ),
    ],
)
def test_a_request_above_its_limit_is_refused_with_both_values(given: Json, message: str) -> None:
    with pytest.raises(InvalidSpecError) as error:
        resources(**given)

    assert str(error.value) == message


@pytest.mark.security
@pytest.mark.parametrize("amount", [0, "0", "0m", "0.0Mi", "00"])
@pytest.mark.parametrize("kind", ["limits", "requests"])
@pytest.mark.parametrize("name", ["cpu", "memory"])
def test_an_amount_of_zero_which_is_none_for_kubernetes_is_refused(
    kind: str, name: str, amount: str | int
) -> None:
    body = a_job_body(resources={kind: {name: amount}})

    facts = job_facts(body)

    assert facts.model is None
    assert f"spec.resources.{kind}.{name}: " in facts.error


def test_memory_can_be_given_in_kibibytes() -> None:
    job = model(resources={"limits": {"memory": "524288Ki"}})

    assert task_for(job, 0, some_settings(), tenant_of()).memory_limit_bytes == 512 * 2**20


def test_a_malformed_quantity_makes_the_spec_invalid() -> None:
    facts = job_facts(a_job_body(resources={"limits": {"memory": "lots"}}))

    assert facts.error == (
        "spec.resources.limits.memory: 'lots' is not a quantity such as 256Mi or 500m"
    )


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({}, {"limits": str(512 * MIB), "requests": str(512 * MIB)}),
        (
            {"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}},
            {"limits": str(512 * MIB), "requests": "64Mi"},
        ),
    ],
    ids=["request follows the limit", "request of its own stays"],
)
def test_an_attempt_can_have_more_memory_than_the_spec(given: Json, want: Json) -> None:
    made = resources(memory_limit=512 * MIB, **given)

    assert {kind: amounts["memory"] for kind, amounts in made.items()} == want


def test_the_task_has_the_memory_of_the_attempt() -> None:
    task = task_for(model(), 2, some_settings(), tenant_of(), 512 * MIB)

    assert (task.attempt, task.memory_limit_bytes) == (2, 512 * MIB)


@pytest.mark.parametrize(
    ("spec", "want"),
    [({}, 256 * MIB), ({"resources": {"limits": {"memory": "1Gi"}}}, 1024 * MIB)],
)
def test_the_first_attempt_has_the_memory_of_the_spec_or_the_default(spec: Json, want: int) -> None:
    assert base_memory_limit(model(**spec).spec, some_settings()) == want


# Outputs, logs, times.


def test_outputs_have_default_rules() -> None:
    assert built().outputs == wire.OutputRules(
        bucket="user-data",
        prefix=f"outputs/{JOB_UID}/",
        path="output",
        include=[],
        exclude=[],
        max_files=1000,
        max_file_bytes=1 << 30,
        max_bytes=4 << 30,
        upload_policy="Always",
        presigned_expiry_seconds=None,
    )


def test_outputs_follow_the_spec() -> None:
    tenant = tenant_of(allow={"buckets": [{"name": "reports", "access": "ReadWrite"}]})
    job = model(
        outputs={
            "path": "out",
            "s3": {"bucket": "reports", "prefix": "daily"},
            "include": ["**/*.csv"],
            "exclude": ["tmp/**"],
            "maxFiles": 7,
            "maxFileBytes": 8,
            "maxBytes": 9,
            "uploadPolicy": "OnSuccess",
            "urlFormat": "Presigned",
            "presignedExpirySeconds": 60,
        }
    )

    task = task_for(job, 0, some_settings(), tenant)

    assert task.outputs == wire.OutputRules(
        bucket="reports",
        prefix="daily/",
        path="out",
        include=["**/*.csv"],
        exclude=["tmp/**"],
        max_files=7,
        max_file_bytes=8,
        max_bytes=9,
        upload_policy="OnSuccess",
        presigned_expiry_seconds=60,
    )


@pytest.mark.parametrize(
    ("logs", "want"),
    [
        (None, 10 << 20),
        ({}, 10 << 20),
        ({"maxBytes": 5}, 5),
        ({"maxBytes": 5, "archive": False}, 0),
    ],
)
def test_full_logs_have_a_limit_and_can_be_disabled(logs: Json | None, want: int) -> None:
    spec: Json = {} if logs is None else {"logs": logs}

    assert built(**spec).log_cap_bytes == want


@pytest.mark.parametrize(("given", "want"), [(None, 10.0), (0, 0.0), (45, 45.0)])
def test_the_jobs_grace_period_wins_over_the_default(given: int | None, want: float) -> None:
    spec: Json = {} if given is None else {"terminationGracePeriodSeconds": given}

    assert built(**spec).termination_grace_seconds == want


def test_each_phase_has_its_own_timeout() -> None:
    task = built(timeouts={"inputSyncSeconds": 1, "executionSeconds": 2, "uploadSeconds": 3})

    assert (
        task.input_sync_timeout_seconds,
        task.execution_timeout_seconds,
        task.upload_timeout_seconds,
    ) == (1.0, 2.0, 3.0)


def test_all_fields_of_an_input_are_in_the_task() -> None:
    task = built(
        inputs=[
            {
                "name": "one",
                "s3": {"key": "a.zip", "versionId": "v7", "sha256": "ab" * 32},
                "mountPath": "/app/one",
                "required": False,
                "minFiles": 2,
                "maxBytes": 3,
                "unpack": True,
            }
        ]
    )

    assert task.inputs == [
        wire.Input(
            name="one",
            s3=wire.S3Source(bucket="user-data", key="a.zip", version_id="v7", sha256="ab" * 32),
            mount_path="/app/one",
            required=False,
            min_files=2,
            max_bytes=3,
            unpack=True,
        )
    ]
