"""Settings, limits, authorization, jobs and file names of the functions' API, without a server."""

import json
from typing import Any

import pytest

from nanogrid import names
from nanogrid.api.job import ExecutionJob
from nanogrid.connection_limits import Slots
from nanogrid.function_input import fits_stdin, input_text
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid.s3.errors import S3Error
from nanogrid.settings import SettingsError
from nanogrid_gateway.api.errors import ApiError, storage_failed
from nanogrid_gateway.api.limits import Limits
from nanogrid_gateway.api.requests import (
    RunRequest,
    RunsQuery,
    json_body,
    query,
    run_request,
    upload_form,
)
from nanogrid_gateway.api.runs import jobs
from nanogrid_gateway.api.runs.outputs import disposition
from nanogrid_gateway.api.settings import Settings, help_text, variable
from nanogrid_operator.model.function_ref import effective, pin
from support.builders import tenant_of
from support.fake_clock import FakeClock

REQUIRED = {
    "NANOGRID_NAMESPACE": "functions",
    "NANOGRID_S3_BUCKET": "bucket",
    "NANOGRID_REDIS_URL": "redis://r:6379/0",
}


@pytest.mark.parametrize(
    ("compatibility", "key"), [("functions", "result:r"), ("", "result:functions:r")]
)
def test_the_gateway_finds_the_redis_names_of_its_namespace(compatibility: str, key: str) -> None:
    environ = {
        "NANOGRID_NAMESPACE": "functions",
        "NANOGRID_COMPATIBILITY_NAMESPACE": compatibility,
        "NANOGRID_S3_BUCKET": "bucket",
        "NANOGRID_REDIS_URL": "redis://r",
    }

    assert Settings.from_env(environ).area.result_key("r") == key


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env(
        REQUIRED | {"NANOGRID_WAIT_SECONDS": "5", "AWS_REGION": "eu-west-1", "NANOGRID_PORT": ""}
    )

    assert (settings.namespace, settings.wait_seconds) == ("functions", 5)
    assert (settings.s3_region, settings.port) == ("eu-west-1", 8080)
    assert settings.auth_mode == "kubernetes"


def test_redis_takes_the_role_of_the_gateway_as_the_gateways_user() -> None:
    server = Settings.from_env(
        REQUIRED
        | {
            "NANOGRID_REDIS_URL": "rediss://nanogrid@r/0",
            "NANOGRID_REDIS_USERNAME": "gateway",
            "NANOGRID_REDIS_IAM_CACHE": "results",
            "NANOGRID_REDIS_IAM_REGION": "eu-west-2",
        }
    ).redis_server

    assert server.iam is not None
    assert (server.iam.user, server.iam.region) == ("gateway", "eu-west-2")


def test_a_short_maximum_shortens_the_default_wait() -> None:
    settings = Settings.from_env(REQUIRED | {"NANOGRID_MAX_WAIT_SECONDS": "10"})

    assert settings.wait_seconds == 10


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"NANOGRID_NAMESPACE": ""}, "NANOGRID_NAMESPACE"),
        ({"NANOGRID_REDIS_IAM_SERVICE": "rds"}, "NANOGRID_REDIS_IAM_SERVICE"),
        ({"NANOGRID_REDIS_IAM_CACHE": "results"}, "NANOGRID_REDIS_IAM_CACHE=results needs TLS"),
        ({"NANOGRID_PORT": "http"}, "NANOGRID_PORT"),
        ({"NANOGRID_MAX_WAITING": "0"}, "NANOGRID_MAX_WAITING"),
        ({"NANOGRID_AUTH_MODE": "magic"}, "NANOGRID_AUTH_MODE"),
        ({"NANOGRID_AUTH_MODE": "tokens"}, "NANOGRID_AUTH_TOKENS_FILE"),
        ({"NANOGRID_WAIT_SECONDS": "61"}, "NANOGRID_WAIT_SECONDS"),
        ({"NANOGRID_RUNTIMES": "{"}, "NANOGRID_RUNTIMES"),
        ({"NANOGRID_AUTH_CACHE_SECONDS": "31"}, "NANOGRID_AUTH_CACHE_SECONDS"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.from_env(REQUIRED | environ)


def test_help_names_every_variable() -> None:
    assert all(variable(name) in help_text() for name in Settings.model_fields)


def test_a_caller_above_the_rate_learns_when_to_retry() -> None:
    clock = FakeClock()
    limits = Limits(rate=0.5, burst=2, concurrent=10, clock=clock)
    for _ in range(2):
        with limits.request("a"):
            pass

    with pytest.raises(ApiError) as caught, limits.request("a"):
        pass

    assert (caught.value.status, caught.value.reason) == (429, Reason.RATE_LIMITED)
    assert caught.value.retry_after == 2
    with limits.request("b"):
        pass
    clock.now += 2
    with limits.request("a"):
        pass


def test_the_active_requests_of_a_caller_are_limited() -> None:
    limits = Limits(rate=100, burst=100, concurrent=1, clock=FakeClock())
    with (
        limits.request("a"),
        pytest.raises(ApiError, match="active requests"),
        limits.request("a"),
    ):
        pass
    with limits.request("a"):
        pass


def test_slots_are_given_back() -> None:
    slots = Slots(1)

    assert [slots.take(), slots.take()] == [True, False]
    slots.give_back()
    assert slots.take()


FUNCTION = {
    "metadata": {"name": "f-1", "uid": "u-1"},
    "spec": {
        "versions": [
            {
                "version": n,
                "s3": {"key": f"functions/f-1/v{n}.zip", "sha256": f"{n}" * 64},
                "createdAt": "2025-10-06T06:30:14Z",
            }
            for n in (1, 2)
        ],
        "env": [{"name": "MODE", "value": "x"}, {"name": "FUNCTION_INPUT", "value": "mine"}],
        "resources": {"limits": {"memory": "64Mi"}},
        "timeouts": {"executionSeconds": 7},
    },
}


def job_of(value: object, version: int = 2) -> dict[str, Any]:
    request = RunRequest.model_validate({"functionId": "f-1", "inputData": value})
    return jobs.job_body(request, version, "r-1", jobs.run_input(request), 60)


def test_a_job_refers_to_a_version_of_the_function() -> None:
    body = job_of({"a": 1})

    assert body["spec"] == {
        "requestId": "r-1",
        "functionRef": {"name": "f-1", "version": 2},
        "stdin": '{"a":1}',
        "env": [{"name": "FUNCTION_INPUT", "value": "/dev/stdin"}],
        "ttlSecondsAfterFinished": 60,
    }
    assert body["metadata"]["labels"][names.LABEL_FUNCTION] == "f-1"
    assert body["metadata"]["annotations"][names.ANNOTATION_FUNCTION_VERSION] == "2"


def test_the_operator_runs_that_version_with_the_functions_settings() -> None:
    spec = ExecutionJob.model_validate(job_of({"a": 1}, version=1)).spec
    assert spec.function_ref is not None
    run = effective(spec, pin(spec.function_ref, FUNCTION, tenant_of()))

    assert run.code is not None
    assert run.code.s3 is not None
    assert (run.code.s3.key, run.code.s3.sha256) == ("functions/f-1/v1.zip", "1" * 64)
    assert (run.request_id, run.function_id, run.stdin) == ("r-1", "f-1", '{"a":1}')
    assert run.timeouts is not None
    assert run.timeouts.execution_seconds == 7
    assert run.resources is not None
    assert run.resources.limits is not None
    assert run.resources.limits.memory == "64Mi"
    assert {v.name: v.value for v in run.env} == {"MODE": "x", "FUNCTION_INPUT": "/dev/stdin"}


def test_a_run_takes_the_pool_of_the_request_else_that_of_the_function() -> None:
    function = FUNCTION | {"spec": FUNCTION["spec"] | {"poolRef": {"name": "slow"}}}

    def pool_of(**fields: str) -> str | None:
        request = RunRequest.model_validate({"functionId": "f-1"} | fields)
        body = jobs.job_body(request, 1, "r-1", jobs.run_input(request), 60)
        spec = ExecutionJob.model_validate(body).spec
        assert spec.function_ref is not None
        run = effective(spec, pin(spec.function_ref, function, tenant_of()))
        return None if run.pool_ref is None else run.pool_ref.name

    assert pool_of() == "slow"
    assert pool_of(pool="fast") == "fast"


def test_the_same_request_with_another_pool_is_another_one() -> None:
    digests = {
        jobs.run_input(RunRequest.model_validate({"functionId": "f-1"} | fields)).digest
        for fields in ({}, {"pool": "fast"}, {"pool": "slow"})
    }

    assert len(digests) == 3


@pytest.mark.parametrize("name", ["", "Fast", "a/b", "x" * 46])
def test_a_pool_that_cannot_exist_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(ApiError, match="pool"):
        run_request(json.dumps({"functionId": "f-1", "pool": name}).encode())
    if name:
        with pytest.raises(ApiError, match="pool"):
            upload_form({"pool": name})


def test_large_input_is_below_the_root_of_the_namespace() -> None:
    request = RunRequest.model_validate({"functionId": "f-1", "inputData": "x" * 100_000})
    body = jobs.job_body(request, 1, "r-1", jobs.run_input(request), 60, "team-b/")

    (item,) = body["spec"]["inputs"]
    assert item["s3"]["key"].startswith("team-b/functions/f-1/inputs/r-1/")


@pytest.mark.parametrize(("root", "valid"), [("a/b/", True), ("a", False), ("/a/", False)])
def test_a_root_is_a_folder(root: str, valid: bool) -> None:
    environ = REQUIRED | {"NANOGRID_S3_ROOT": root}
    if valid:
        assert Settings.from_env(environ).s3_root == root
        return
    with pytest.raises(SettingsError, match="NANOGRID_S3_ROOT"):
        Settings.from_env(environ)


def test_large_input_is_a_file_and_the_code_is_given_its_path() -> None:
    spec = ExecutionJob.model_validate(job_of(["x" * 1000] * 100)).spec

    assert spec.stdin is None
    assert [(v.name, v.value) for v in spec.env] == [("FUNCTION_INPUT", "/app/input/input.json")]
    assert [i.mount_path for i in spec.inputs] == ["/app/input"]


@pytest.mark.parametrize("request_id", ["a", "A.b_C-9", "x" * 63, "2025-10-06-06-30-14", "1._.1"])
def test_the_name_of_a_job_is_fixed_valid_and_short(request_id: str) -> None:
    name = jobs.job_name(request_id)

    assert name == jobs.job_name(request_id)
    assert len(name) <= 52
    assert name.strip("-") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_similar_request_ids_have_different_jobs() -> None:
    alike = ["a.b", "a-b", "a_b", "A-b", "x" * 62, "x" * 63]

    assert len({jobs.job_name(request_id) for request_id in alike}) == len(alike)


@pytest.mark.parametrize("value", [None, [], "텍스트", "\ud800", {"a": [1.5, True]}, '"' * 10_000])
def test_input_data_arrives_unchanged(value: object) -> None:
    text = input_text(value)

    text.encode()
    assert json.loads(text) == value
    assert fits_stdin(text)


def test_quotes_count_as_in_the_environment_of_the_pod() -> None:
    assert not fits_stdin(input_text('"' * 30_000))
    assert fits_stdin(input_text("x" * 30_000))


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"1e999", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        json_body(data)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ['a"b.csv', "보고서.pdf", "a\r\nX-Evil: 1", "d/x.txt", "%41"])
def test_a_file_name_cannot_leave_its_header(name: str) -> None:
    header = disposition(name)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in header


@pytest.mark.parametrize(
    ("status", "code", "reason", "retry"),
    [
        (503, "SlowDown", Reason.STORAGE_UNAVAILABLE, 2),
        (0, "EndpointConnectionError", Reason.STORAGE_UNAVAILABLE, 2),
        (403, "AccessDenied", Reason.STORAGE_UNAVAILABLE, None),
        (403, "RequestTimeTooSkewed", Reason.CLOCK_SKEW, None),
        (301, "PermanentRedirect", Reason.STORAGE_MISCONFIGURED, None),
        (0, "SSLError", Reason.STORAGE_MISCONFIGURED, None),
        (400, "KMS.DisabledException", Reason.ENCRYPTION_KEY_REFUSED, None),
    ],
)
def test_a_failure_of_s3_is_503_and_repeated_only_if_that_helps(
    status: int, code: str, reason: Reason, retry: int | None
) -> None:
    error = storage_failed(S3Error("it said so", "s3://b/k", status, code))

    assert (error.status, error.reason, error.retry_after) == (503, reason, retry)
    assert "s3://b/k: it said so" in str(error)
    assert ("Try again." in str(error)) is (retry is not None)


@pytest.mark.parametrize("phase", ["Running", "running", "RUNNING"])
def test_a_query_takes_a_phase_in_upper_and_lower_case(phase: str) -> None:
    assert query({"phase": phase}, RunsQuery).phase is Phase.RUNNING


def test_a_query_names_the_phases_when_there_is_no_such_phase() -> None:
    with pytest.raises(ApiError, match=r"phase: .*'Pending'.*'Failed'") as caught:
        query({"phase": "runing"}, RunsQuery)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NANOGRID_REDIS_URL": "redis://a,b"}, "names 2 servers"),
        ({"NANOGRID_REDIS_MODE": "Sentinel"}, "the name of the master"),
        (
            {"NANOGRID_REDIS_MODE": "Cluster", "NANOGRID_COMPATIBILITY_NAMESPACE": "functions"},
            "functions is the compatibility namespace",
        ),
    ],
)
def test_modes_of_redis_that_cannot_work_are_refused(changes: dict[str, str], message: str) -> None:
    assert Settings.from_env(REQUIRED).area.redis_cluster is False
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(REQUIRED | changes)
    cluster = Settings.from_env(REQUIRED | {"NANOGRID_REDIS_MODE": "Cluster"})
    assert cluster.area.result_key("r") == "result:{functions}:r"
