"""Settings, limits, callers, jobs and output names of the functions' API: no server."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.envsettings import SettingsError
from nanogrid.function import Function
from nanogrid.job import ExecutionJob
from nanogrid.reasons import Reason
from nanogrid_gateway.api import jobs
from nanogrid_gateway.api.auth import KubernetesAuth, Right, TokenAuth
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.limits import Limits, Places
from nanogrid_gateway.api.outputs import disposition
from nanogrid_gateway.api.requests import RunRequest, json_body
from nanogrid_gateway.api.settings import Settings, help_text, variable
from nanogrid_gateway.router.cluster import KubeError

REQUIRED = {
    "NANOGRID_NAMESPACE": "functions",
    "NANOGRID_S3_BUCKET": "bucket",
    "NANOGRID_REDIS_URL": "redis://r:6379/0",
}
RUN = Right("create", names.PLURAL)


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env(
        REQUIRED | {"NANOGRID_WAIT_SECONDS": "5", "AWS_REGION": "eu-west-1", "NANOGRID_PORT": ""}
    )

    assert (settings.namespace, settings.wait_seconds) == ("functions", 5)
    assert (settings.s3_region, settings.port) == ("eu-west-1", 8080)
    assert settings.auth_mode == "kubernetes"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"NANOGRID_NAMESPACE": ""}, "NANOGRID_NAMESPACE"),
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


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_beyond_the_rate_is_told_when_to_come_back() -> None:
    clock = Clock()
    limits = Limits(rate=0.5, burst=2, concurrent=10, clock=clock)
    for _ in range(2):
        limits.enter("a")
        limits.leave("a")

    with pytest.raises(ApiError) as caught:
        limits.enter("a")

    assert (caught.value.status, caught.value.reason) == (429, Reason.RATE_LIMITED)
    assert caught.value.retry_after == 2
    limits.enter("b")
    clock.now += 2
    limits.enter("a")


def test_a_caller_has_so_many_requests_under_way() -> None:
    limits = Limits(rate=100, burst=100, concurrent=1, clock=Clock())
    limits.enter("a")
    with pytest.raises(ApiError, match="under way"):
        limits.enter("a")
    limits.leave("a")
    limits.enter("a")


def test_places_are_given_back() -> None:
    places = Places(1)
    places.take()
    with pytest.raises(ApiError):
        places.take()
    places.give_back()
    places.take()


class Reviews:
    """The API server's side of tokens and rights."""

    namespace = "functions"

    def __init__(self) -> None:
        self.users = {"good-token": "alice"}
        self.may = {("alice", "create")}
        self.asked: list[str] = []
        self.away = False

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.away:
            raise KubeError(0, "away")
        self.asked.append(path.rpartition("/")[2])
        spec = body["spec"]
        if "token" in spec:
            user = self.users.get(spec["token"])
            return {"status": {"authenticated": user is not None, "user": {"username": user}}}
        return {
            "status": {"allowed": (spec["user"], spec["resourceAttributes"]["verb"]) in self.may}
        }


@pytest.fixture
def reviews() -> Reviews:
    return Reviews()


def status_of(auth: Any, header: str | None, right: Right = RUN) -> tuple[int, str]:
    try:
        return 200, auth.admit(header, "1.2.3.4", right)
    except ApiError as e:
        return e.status, e.reason.value


def test_the_cluster_says_who_calls_and_what_for(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, Clock())  # type: ignore[arg-type]

    assert status_of(auth, "Bearer good-token") == (200, "alice")
    assert status_of(auth, "bearer good-token", Right("delete", names.PLURAL)) == (403, "Forbidden")
    for header in (None, "", "Basic x", "Bearer ", "Bearer " + "x" * 20_000, "Bearer other"):
        assert status_of(auth, header) == (401, "Unauthorized"), header


def test_its_word_is_kept_for_a_short_time_only(reviews: Reviews) -> None:
    clock = Clock()
    auth: Any = KubernetesAuth(reviews, "", 30, clock)  # type: ignore[arg-type]
    for _ in range(3):
        assert status_of(auth, "Bearer good-token")[0] == 200
    assert reviews.asked == ["tokenreviews", "subjectaccessreviews"]

    del reviews.users["good-token"]
    clock.now += 29
    assert status_of(auth, "Bearer good-token")[0] == 200
    clock.now += 2
    assert status_of(auth, "Bearer good-token")[0] == 401

    reviews.users["good-token"] = "alice"
    clock.now += 6
    assert status_of(auth, "Bearer good-token")[0] == 200


def test_when_nobody_can_tell_nobody_enters(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "", 30, Clock())  # type: ignore[arg-type]
    reviews.away = True

    assert status_of(auth, "Bearer good-token") == (503, "ClusterUnavailable")


def test_a_wanted_audience_must_be_confirmed(reviews: Reviews) -> None:
    auth: Any = KubernetesAuth(reviews, "nanogrid", 30, Clock())  # type: ignore[arg-type]

    assert status_of(auth, "Bearer good-token")[0] == 401


def test_tokens_of_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who may enter\nalice aaaaaaaaaaaaaaaaaaaa\n")
    auth = TokenAuth(str(file))
    assert status_of(auth, "Bearer aaaaaaaaaaaaaaaaaaaa") == (200, "alice")
    assert status_of(auth, "Bearer bbbbbbbbbbbbbbbbbbbb")[0] == 401

    (tmp_path / "new").write_text("bob bbbbbbbbbbbbbbbbbbbb\n")
    (tmp_path / "new").rename(file)
    assert status_of(auth, "Bearer bbbbbbbbbbbbbbbbbbbb") == (200, "bob")
    assert status_of(auth, "Bearer aaaaaaaaaaaaaaaaaaaa")[0] == 401


@pytest.mark.parametrize("text", ["", "alice", "alice short", "a b c"])
def test_a_file_without_good_tokens_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(SettingsError, match="tokens"):
        TokenAuth(str(tmp_path / "tokens"))


FUNCTION = Function.model_validate(
    {
        "metadata": {"name": "f-1"},
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
)


def job_of(value: object, **more: object) -> dict[str, Any]:
    request = RunRequest.model_validate({"functionId": "f-1", "inputData": value, **more})
    text = jobs.input_text(value)
    return jobs.job_body(FUNCTION, FUNCTION.spec.newest, request, "r-1", text, 60)


def test_a_job_is_the_functions_newest_version_with_its_settings() -> None:
    body = job_of({"a": 1})
    job = ExecutionJob.model_validate(body)

    assert job.spec.code is not None
    assert job.spec.code.s3 is not None
    assert (job.spec.code.s3.key, job.spec.code.s3.sha256) == ("functions/f-1/v2.zip", "2" * 64)
    assert (job.spec.request_id, job.spec.function_id) == ("r-1", "f-1")
    assert (job.spec.stdin, job.spec.ttl_seconds_after_finished) == ('{"a":1}', 60)
    assert job.spec.timeouts is not None
    assert job.spec.timeouts.execution_seconds == 7
    assert [(v.name, v.value) for v in job.spec.env] == [
        ("MODE", "x"),
        ("FUNCTION_INPUT", "/dev/stdin"),
    ]
    assert body["metadata"]["labels"][names.LABEL_FUNCTION] == "f-1"


@pytest.mark.parametrize("request_id", ["a", "A.b_C-9", "x" * 63, "2025-10-06-06-30-14", "1._.1"])
def test_a_jobs_name_is_fixed_valid_and_short(request_id: str) -> None:
    name = jobs.job_name(request_id)

    assert name == jobs.job_name(request_id)
    assert len(name) <= 52
    assert name.strip("-") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_request_ids_that_look_alike_have_jobs_of_their_own() -> None:
    alike = ["a.b", "a-b", "a_b", "A-b", "x" * 62, "x" * 63]

    assert len({jobs.job_name(request_id) for request_id in alike}) == len(alike)


@pytest.mark.parametrize("value", [None, [], "텍스트", "\ud800", {"a": [1.5, True]}, '"' * 10_000])
def test_input_data_arrives_as_it_was(value: object) -> None:
    text = jobs.input_text(value)

    text.encode()
    assert json.loads(text) == value
    assert jobs.fits_stdin(text)


def test_quotes_count_as_the_pods_environment_holds_them() -> None:
    assert not jobs.fits_stdin(jobs.input_text('"' * 30_000))
    assert jobs.fits_stdin(jobs.input_text("x" * 30_000))


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"1e999", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        json_body(data)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ['a"b.csv', "보고서.pdf", "a\r\nX-Evil: 1", "d/x.txt", "%41"])
def test_a_file_name_cannot_break_out_of_its_header(name: str) -> None:
    header = disposition(name)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in header
