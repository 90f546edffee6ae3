"""Gateway and router of one of two installations: they show and use its own jobs only."""

from typing import Any

import pytest

from nanogrid import controller_class, names
from nanogrid.settings import SettingsError
from nanogrid.types import Json
from nanogrid_gateway.api.requests import RunRequest
from nanogrid_gateway.api.runs import jobs
from nanogrid_gateway.api.runs.runs import Runs
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.router.__main__ import reflectors
from nanogrid_gateway.router.sessions import Address
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.table import SessionTable
from nanogrid_gateway.web.rows import compact
from nanogrid_gateway.web.run_index import RunIndex
from nanogrid_gateway.web.watch import RunWatcher
from support.operator_fakes import FakeKube
from support.selectors import selected

pytestmark = pytest.mark.security

BETA = "beta"
BOTH = pytest.mark.parametrize(("own", "other"), [("", BETA), (BETA, "")])
REQUIRED = {
    "NANOGRID_NAMESPACE": "team-a",
    "NANOGRID_S3_BUCKET": "jobs",
    "NANOGRID_REDIS_URL": "redis://redis",
}


def a_run(own: str, request_id: str = "r-1", **metadata: Any) -> Json:
    request = RunRequest.model_validate({"functionId": "f-1", "inputData": 1})
    body = jobs.job_body(request, 1, request_id, jobs.run_input(request), 60, "", own)
    body["metadata"] |= {"namespace": "team-a", "uid": f"uid-{own}", "resourceVersion": "1"}
    body["metadata"] |= metadata
    return body


class TwoClasses:
    """A client with the same requestId's run of each class, and a session of each class."""

    jobs = "/jobs"

    def __init__(self) -> None:
        self.found = {job["metadata"]["name"]: job for job in (a_run(""), a_run(BETA))}

    async def get(self, path: str, name: str) -> Json | None:
        return self.found.get(name)

    async def list(self, path: str, query: dict[str, str]) -> Json:
        return {"items": list(self.found.values()), "metadata": {}}


def runs_of(own: str) -> Runs:
    """The runs of a gateway that asks only the API server."""
    made = Runs.__new__(Runs)
    made.kube = TwoClasses()  # type: ignore[assignment]
    made._settings = settings_of(own)
    return made


def settings_of(own: str, **env: str) -> Settings:
    return Settings.from_env(REQUIRED | {controller_class.ENV: own} | env)


@BOTH
def test_a_run_has_the_class_of_its_gateway(own: str, other: str) -> None:
    body, theirs = a_run(own), a_run(other)

    assert controller_class.class_of(body) == own
    assert body["metadata"]["name"] != theirs["metadata"]["name"]
    assert len(body["metadata"]["name"]) <= names.JOB_NAME_MAX
    again = jobs.again(body, "r-2")
    assert controller_class.class_of(again) == own
    assert again["metadata"]["name"] == jobs.job_name("r-2", own)


@BOTH
async def test_a_gateway_finds_and_lists_its_own_runs(own: str, other: str) -> None:
    runs = runs_of(own)
    theirs = a_run(other)["metadata"]["name"]

    assert (await runs.job("r-1"))["metadata"]["uid"] == f"uid-{own}"
    assert await runs._named(a_run(own)["metadata"]["name"]) is not None
    assert await runs._named(theirs) is None
    query: Any = type(
        "Query", (), {"function_id": None, "limit": 9, "phase": None, "continue_": ""}
    )
    assert len((await runs.page(query))["runs"]) == 1


@BOTH
def test_the_page_shows_the_runs_of_its_installation(own: str, other: str) -> None:
    """Also where the API server cannot select, and sends all."""
    rows = RunIndex()
    watcher = RunWatcher(FakeKube(), "/jobs", rows, lambda: False, controller_class=own)
    mine, theirs = compact(a_run(own)), compact(a_run(other))

    watcher._replace([mine, theirs])
    listed = [row.uid for row in rows.runs().rows]
    watcher._put(compact(a_run(other, uid="uid-new")))
    watcher._put(compact(a_run(own, uid="uid-mine")))

    assert listed == [f"uid-{own}"]
    assert {row.uid for row in rows.runs().rows} == {f"uid-{own}", "uid-mine"}


def a_session(own: str, name: str) -> Json:
    named = {"controllerClass": own} if own else {}
    return {
        "metadata": {"namespace": "team-a", "name": name, "uid": f"uid-{name}", "labels": {}},
        "spec": {"mode": "Session", **named},
    }


@BOTH
def test_the_router_knows_the_sessions_of_its_installation(own: str, other: str) -> None:
    table = SessionTable(lambda _: None, own)
    table.replace_jobs("", [a_session(own, "mine"), a_session(other, "theirs")])
    table.put_job(a_session(other, "later"))

    assert table.job(Address("team-a", "mine")) is not None
    assert table.job(Address("team-a", "theirs")) is None
    assert table.counts() == (1, 0)


@BOTH
def test_the_router_asks_for_its_own_sessions_and_pods(own: str, other: str) -> None:
    settings = RouterSettings(session_key="k" * 16, controller_class=own)
    of_jobs, of_pods = reflectors(FakeKube(), SessionTable(lambda _: None, own), settings)

    def pod(its_class: str) -> Json:
        labels = {names.LABEL_MODE: "Session", **controller_class.labels(its_class)}
        return {"metadata": {"labels": labels}}

    assert selected(a_session(own, "a"), "", of_jobs.fields)
    assert not selected(a_session(other, "a"), "", of_jobs.fields)
    assert selected(pod(own), of_pods.labels, "")
    assert not selected(pod(other), of_pods.labels, "")


def test_names_in_redis_have_the_prefix() -> None:
    area = settings_of("", NANOGRID_REDIS_PREFIX="prod:").area

    assert area.result_key("r-1") == "prod:result:team-a:r-1"
    assert settings_of("").area.result_key("r-1") == "result:team-a:r-1"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("NANOGRID_CONTROLLER_CLASS", "Beta"), ("NANOGRID_REDIS_PREFIX", "a b")],
)
def test_wrong_settings_are_refused_at_the_start(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.from_env(REQUIRED | {variable: value})


def test_the_router_refuses_a_wrong_class() -> None:
    env = {"NANOGRID_SESSION_KEY": "k" * 16}
    assert RouterSettings.from_env(env | {controller_class.ENV: BETA}).controller_class == BETA
    with pytest.raises(SettingsError, match=controller_class.ENV):
        RouterSettings.from_env(env | {controller_class.ENV: "no class"})
