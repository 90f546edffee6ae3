"""Specs that the models accept and refuse. The API server checks the CEL rules."""

from typing import Any

import pytest
from pydantic import ValidationError

from nanogrid.api.inputs_outputs import Outputs
from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.runtime import Timeouts
from nanogrid.lifecycle import Phase
from nanogrid.types import Json
from support.builders import INLINE, a_job_body


def a_spec(**fields: Any) -> Spec:
    return Spec.model_validate({"code": INLINE, **fields})


def test_a_job_needs_only_code() -> None:
    spec = a_spec()

    assert spec.model_dump(exclude_none=True, by_alias=True) == {
        "mode": "Batch",
        "code": {"inline": "print('hello')\n"},
        "env": [],
        "inputs": [],
        "backoffLimit": 0,
        "cancel": False,
        "suspend": False,
    }


def test_each_phase_has_a_default_timeout() -> None:
    assert Timeouts().model_dump(by_alias=True, exclude_none=True) == {
        "startupSeconds": 300,
        "inputSyncSeconds": 300,
        "uploadSeconds": 300,
    }
    assert a_spec().execution_seconds == 300


def test_default_folders_are_data_and_output() -> None:
    spec = a_spec(inputs=[{"name": "a", "s3": {"prefix": "in/"}}], outputs={})

    (one,) = spec.inputs
    assert (one.mount_path, one.required, one.min_files) == ("/app/data", True, 1)
    assert spec.outputs == Outputs(path="output")


@pytest.mark.parametrize(
    "fields",
    [
        {"requestId": "order-1.a_B"},
        {"requestId": "a"},
        {"code": {"s3": {"key": "functions/판매/v1.zip", "sha256": "0" * 64}}},
        {"command": ["bash", "-c", "echo $(date)"], "args": []},
        {"stdin": "안녕\0"},
        {"args": ["", "two\nlines\n", "\r\n"]},
        {"env": [{"name": "_A1"}, {"name": "EMPTY", "value": ""}]},
        {"inputs": [{"name": "a", "s3": {"key": "a"}, "maxBytes": 1 << 50}]},
        {"resources": {"limits": {"cpu": 1, "memory": "256Mi"}}},
        {"resources": {"requests": {"cpu": "100m"}}},
        {"runtime": {}},
        {"timeouts": {"executionSeconds": 86_400}},
        {"outputs": {"s3": {"prefix": "daily/"}}},
        {"outputs": {"include": ["**/*.csv"], "uploadPolicy": "Never", "urlFormat": "Presigned"}},
        {"logs": {"archive": False}},
        {"cancel": True, "suspend": True, "ttlSecondsAfterFinished": 0, "backoffLimit": 10},
        {"terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": 604_800},
        {"serviceAccountName": "reports", "priorityClassName": "low"},
        {"failurePolicy": {"rules": [{"onReasons": ["Evicted"], "action": "Ignore"}]}},
        {"failurePolicy": {"backoff": {"initialSeconds": 0, "factor": 1, "maxSeconds": 0}}},
    ],
)
def test_a_spec_is_accepted(fields: Json) -> None:
    assert a_spec(**fields)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"later": 1}, "later"),
        ({"mode": "Dance"}, "mode"),
        ({"session": {"expose": "NodePort"}}, "session.expose"),
        ({"session": {"idleTimeoutSeconds": 4}}, "session.idleTimeoutSeconds"),
        ({"session": {"maxExecutions": 0}}, "session.maxExecutions"),
        ({"requestId": ""}, "requestId"),
        ({"requestId": "-a"}, "requestId"),
        ({"requestId": "a-"}, "requestId"),
        ({"requestId": "../a"}, "requestId"),
        ({"functionId": "x" * 64}, "functionId"),
        ({"code": {"inline": ""}}, "code.inline"),
        ({"code": {"s3": {"key": ""}}}, "code.s3.key"),
        ({"code": {"s3": {"key": "k" * 1025}}}, "code.s3.key"),
        ({"code": {"s3": {"key": "k", "sha256": "A" * 64}}}, "code.s3.sha256"),
        ({"code": {"s3": {"key": "k", "bucket": "Upper"}}}, "code.s3.bucket"),
        ({"command": []}, "command"),
        ({"command": ["a"] * 65}, "command"),
        ({"args": ["a"] * 257}, "args"),
        ({"command": ["sh", "a\0"]}, "command.1"),
        ({"args": ["\0"]}, "args.0"),
        ({"env": [{"name": "A", "value": "\0b"}]}, "env.0.value"),
        ({"stdin": "x" * 65_537}, "stdin"),
        ({"env": [{"name": "A-B"}]}, "env.0.name"),
        ({"env": [{"name": "A", "value": "x" * 32_769}]}, "env.0.value"),
        ({"env": [{"name": f"V{n}"} for n in range(65)]}, "env"),
        ({"inputs": [{"name": "a"}]}, "inputs.0.s3"),
        ({"inputs": [{"name": "a", "s3": {"key": "a"}, "minFiles": 0}]}, "inputs.0.minFiles"),
        ({"outputs": {"path": ""}}, "outputs.path"),
        ({"outputs": {"include": [""]}}, "outputs.include.0"),
        ({"outputs": {"s3": {"prefix": "/"}}}, "outputs.s3.prefix"),
        ({"inputs": [{"name": "a", "s3": {"prefix": ""}}]}, "inputs.0.s3.prefix"),
        ({"outputs": {"exclude": ["{a,b}" * 7]}}, "outputs.exclude.0"),
        ({"outputs": {"presignedExpirySeconds": 604_801}}, "outputs.presignedExpirySeconds"),
        ({"logs": {"maxBytes": 1 << 26}}, "logs.maxBytes"),
        ({"backoffLimit": -1}, "backoffLimit"),
        ({"ttlSecondsAfterFinished": 31_536_001}, "ttlSecondsAfterFinished"),
        ({"terminationGracePeriodSeconds": 3601}, "terminationGracePeriodSeconds"),
        ({"activeDeadlineSeconds": 0}, "activeDeadlineSeconds"),
        ({"serviceAccountName": ""}, "serviceAccountName"),
        ({"failurePolicy": {"rules": [{"onReasons": ["X"]}]}}, "failurePolicy.rules.0.action"),
        (
            {"failurePolicy": {"rules": [{"onReasons": ["lower"], "action": "Count"}]}},
            "failurePolicy.rules.0.onReasons.0",
        ),
        ({"timeouts": {"startupSeconds": 0}}, "timeouts.startupSeconds"),
        ({"timeouts": {"executionSeconds": 1.5}}, "timeouts.executionSeconds"),
    ],
)
def test_a_wrong_spec_is_refused_at_its_wrong_field(fields: Json, where: str) -> None:
    with pytest.raises(ValidationError) as error:
        a_spec(**fields)

    assert [".".join(str(p) for p in e["loc"]) for e in error.value.errors()] == [where]


def test_an_unknown_resource_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"nvidia\.com/gpu"):
        a_spec(resources={"limits": {"nvidia.com/gpu": 1}})


def test_a_job_is_read_from_its_kubernetes_object() -> None:
    job = ExecutionJob.model_validate(a_job_body(requestId="order-1"))

    assert job.spec.request_id == "order-1"
    assert job.metadata["name"] == "sales"
    assert job.status.phase is None


@pytest.mark.parametrize("phase", Phase)
def test_two_phases_are_terminal(phase: Phase) -> None:
    assert phase.terminal == (phase.value in ("Succeeded", "Failed"))
