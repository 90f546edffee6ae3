"""The web page over all namespaces: each caller sees those in which they may list runs."""

import re
from collections.abc import Sequence
from typing import Any, cast

import pytest
from aiohttp import web

from nanogrid_gateway.api.reviews import Permission
from nanogrid_gateway.api.routing import Handler, Routes
from nanogrid_gateway.api.runs.jobs import job_name
from nanogrid_gateway.web import paths
from nanogrid_gateway.web.lists import Lists
from nanogrid_gateway.web.namespaces import Namespaces
from nanogrid_gateway.web.pages import Pages
from support.gateway_fixtures import MARKS
from support.gateway_world import Answer, Gateway, World, wait_for
from support.web_teams import ALPHA, BETA, CALLERS, OWN, text_of, visit
from support.web_visitor import JOBS, Tags, shown_runs, signed_in

pytestmark = [*MARKS, pytest.mark.security]

MISSING = "team-x"  # no such namespace
# Words of team-beta that only its callers and administrators may see.
HIDDEN = re.compile(r"team-beta|beta-\w+")
ONE = [
    ("GET", "/"),
    ("GET", "/queue"),
    ("GET", "/functions"),
    ("GET", "/functions/{team}-function"),
    ("GET", "/functions/nothing"),
    ("GET", "/runs/{team}-done"),
    ("GET", "/runs/{team}-live"),
    ("GET", "/runs/nothing"),
    ("GET", "/runs/{team}-live/logs"),
    ("GET", "/runs/{team}-done/files/chart.png"),
    ("GET", "/runs/{team}-done/files/nothing"),
]
ALL = ["/web/all/", "/web/all/queue", "/web/all/functions"]
FILTERS = ["q=beta", "q=beta-done", "function=beta-function", "phase=Running", "page=2"]


def choices(answer: Answer) -> list[str]:
    """The namespaces of the page's selection, without the one for all."""
    found = re.findall(r'<li><a href="/web/[^>]+>([^<]+)</a></li>', answer.body.decode())
    assert found[:1] in ([], ["All namespaces"])
    return found[1:]


# --- lists of all namespaces -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "teams_seen"),
    [("admin", ["own", "alpha", "beta"]), ("alpha", ["alpha"]), ("own", ["own"]), ("guest", [])],
)
def test_lists_have_exactly_the_namespaces_of_the_caller(
    everywhere: Gateway, caller: str, teams_seen: list[str]
) -> None:
    visitor = visit(everywhere, caller)
    runs, queue, functions = (visitor.get(path) for path in ALL)

    expected = {f"{team}-{kind}" for team in teams_seen for kind in ("done", "live", "waits")}
    assert set(shown_runs(runs)) == expected
    if expected:
        assert f"{len(expected)} runs" in text_of(runs)
    else:
        assert "No runs in the namespaces in which you may list runs" in text_of(runs)
    waiting = re.findall(r"Unschedulable ?(\d+)", text_of(queue))
    assert waiting == [str(len(teams_seen))] * bool(teams_seen)
    for team in ("own", "alpha", "beta"):
        seen = team in teams_seen
        assert (f"{team}-message" in text_of(queue)) is seen
        assert (f"{team}-function" in text_of(functions)) is seen
        # Also the filter's list of functions, links and attributes.
        assert (f"{team}-" in runs.body.decode()) is seen
    assert ("Namespace" in Tags(runs).text.split("Reason")[0]) is (len(teams_seen) > 1)


@pytest.mark.parametrize("query", FILTERS)
@pytest.mark.parametrize("caller", ["alpha", "own", "guest"])
def test_no_filter_shows_or_counts_runs_of_other_namespaces(
    everywhere: Gateway, caller: str, query: str
) -> None:
    typed = query.partition("=")[2]
    for path in ALL:
        body = visit(everywhere, caller).get(f"{path}?{query}").body.decode()
        for shown in set(HIDDEN.findall(body)):
            assert shown == typed, (path, shown)  # what the caller typed
    if query != "page=2":
        assert "beta-live" in text_of(visit(everywhere, "admin").get("/web/all/?q=beta-live"))


def test_the_selection_has_the_namespaces_of_the_caller(everywhere: Gateway) -> None:
    for path in (*ALL, f"/web/ns/{ALPHA}/", f"/web/ns/{ALPHA}/runs/alpha-done"):
        assert choices(visit(everywhere, "admin").get(path)) == [OWN, ALPHA, BETA]
        assert choices(visit(everywhere, "alpha").get(path)) == []
        assert ALPHA in text_of(visit(everywhere, "alpha").get(path))


def test_runs_of_all_namespaces_link_to_their_pages(everywhere: Gateway) -> None:
    visitor = visit(everywhere, "admin")
    links = {a.get("href") for t, a in Tags(visitor.get("/web/all/")).found if t == "a"}

    for prefix, team in (
        ("/web", "own"),
        (f"/web/ns/{ALPHA}", "alpha"),
        (f"/web/ns/{BETA}", "beta"),
    ):
        run = f"{prefix}/runs/{job_name(f'{team}-done')}"
        assert {run, f"{prefix}/functions/{team}-function", f"{prefix}/"} <= links
        assert f"{team}-output" in text_of(visitor.get(run))
        assert visitor.get(f"{prefix}/functions/{team}-function").status == 200


def test_an_administrator_costs_one_review_and_others_one_per_namespace(teams: World) -> None:
    with teams.gateway(
        auth_mode="kubernetes", auth_cache_seconds=30, web_key="k" * 32, web_all_namespaces="true"
    ) as gateway:
        admin, alpha = visit(gateway, "admin"), visit(gateway, "alpha")
        wait_for(lambda: shown_runs(admin.get("/web/all/")), "the first listing")
        teams.cluster.reviewed.clear()
        for _ in range(5):
            assert len(shown_runs(admin.get("/web/all/"))) == 9
            assert len(shown_runs(alpha.get("/web/all/"))) == 3

    asked = teams.cluster.reviewed
    assert [one for one in asked if one[0] == "admin"] == []  # known since the first request
    assert sorted(one[1] for one in asked if one[0] == "alpha") == ["", OWN, ALPHA, BETA]


# --- pages of one namespace ------------------------------------------------------------------


class Recorder(Routes):
    """Records what is registered."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        super().__init__(web.Application(), cast(Any, None), cast(Any, None))
        object.__setattr__(self, "found", set())

    def _register(
        self, method: str, path: str, handler: Handler, permissions: Sequence[Permission]
    ) -> None:
        self.found.add((method, path.replace(":(?s:.+)", ""), not permissions))


def test_the_tables_of_this_module_have_all_routes() -> None:
    recorder, part = Recorder(), cast(Any, None)
    scopes = paths.Scopes(OWN, everywhere=True)
    namespaces = Namespaces(scopes, part, part)
    gateway: Any = type(
        "Parts", (), {k: part for k in ("objects", "feed", "functions", "metrics")}
    )()
    gateway.kube = type("Kube", (), {"namespace": OWN})()
    gateway.settings = type("Settings", (), {"max_waiting": 1, "controller_class": ""})()
    Pages(gateway, part, part, namespaces).add_to(recorder)
    Lists(part, part, namespaces).add_to(recorder)
    shapes = {
        (method, path.replace("{team}-function", "{function_id}").replace("{team}-done", "{run_id}")
         .replace("chart.png", "{name}"))
        for method, path in ONE if "nothing" not in path and "{team}-live" not in path
    } | {("GET", "/runs/{run_id}/logs")}  # fmt: skip
    changes = {("POST", "/web/runs/{run_id}/cancel"), ("POST", "/web/runs/{run_id}/again")}
    expected = {(method, f"{prefix}{path}") for prefix in ("/web", paths.ONE)
                for method, path in shapes}  # fmt: skip
    expected |= changes | {("GET", path) for path in ALL}

    assert {(method, path) for method, path, is_open in recorder.found if not is_open} == expected
    assert {path for _, path, is_open in recorder.found if is_open} == {
        "/", "/web/sign-in", "/web/sign-out",
    }  # fmt: skip


@pytest.mark.parametrize("caller", ["alpha", "own", "guest"])
@pytest.mark.parametrize(("method", "path"), ONE)
def test_a_page_without_its_permission_does_not_say_what_exists(
    everywhere: Gateway, caller: str, method: str, path: str
) -> None:
    visitor = visit(everywhere, caller)
    there = visitor.get(f"/web/ns/{BETA}{path.format(team='beta')}")
    nowhere = visitor.get(f"/web/ns/{MISSING}{path.format(team='beta')}")

    assert there.status == nowhere.status == 403
    assert f"{caller} may not" in Tags(there).text
    assert there.body.replace(BETA.encode(), b"NS") == nowhere.body.replace(MISSING.encode(), b"NS")
    assert dict(there.headers) | {"Date": ""} == dict(nowhere.headers) | {
        "Date": "", "Content-Length": there.headers["Content-Length"],
    }  # fmt: skip
    assert not re.search(r"beta-|own-|alpha-", there.body.decode().replace(CALLERS[caller], ""))


@pytest.mark.parametrize(("method", "path"), ONE)
def test_the_same_page_is_there_with_its_permission(
    teams: World, everywhere: Gateway, method: str, path: str
) -> None:
    if path.endswith("/logs"):
        teams.cluster.logs[f"{ALPHA}/p-alpha"] = [b"alpha-log\n"]
        return  # the stream has its own test
    expected = 404 if "nothing" in path else 200
    for caller in ("alpha", "admin"):
        answer = visit(everywhere, caller).get(f"/web/ns/{ALPHA}{path.format(team='alpha')}")
        assert answer.status == expected, (caller, answer.body[-2000:])


def test_the_old_paths_are_of_the_own_namespace(everywhere: Gateway) -> None:
    own, alpha = visit(everywhere, "own"), visit(everywhere, "alpha")

    assert set(shown_runs(own.get("/web/"))) == {"own-done", "own-live", "own-waits"}
    assert "own-output" in text_of(own.get("/web/runs/own-done"))
    assert set(shown_runs(own.get(f"/web/ns/{OWN}/"))) == {"own-done", "own-live", "own-waits"}
    for _, path in ONE:
        refused = alpha.get(f"/web{path.format(team='own')}")
        assert refused.status == 403
        assert not re.search(r"own-", refused.body.decode())


def test_the_right_to_list_does_not_open_a_run(teams: World, everywhere: Gateway) -> None:
    teams.cluster.rights_in.remove((ALPHA, "alpha", "get", JOBS))
    try:
        visitor = visit(everywhere, "alpha")
        assert len(shown_runs(visitor.get(f"/web/ns/{ALPHA}/"))) == 3
        assert visitor.get(f"/web/ns/{ALPHA}/runs/alpha-done").status == 403
    finally:
        teams.cluster.rights_in.add((ALPHA, "alpha", "get", JOBS))
    assert visitor.get(f"/web/ns/{ALPHA}/runs/alpha-done").status == 200


@pytest.mark.parametrize("namespace", ["Team_A", "a..b", "%2e%2e", "-a", "a" * 64])
def test_a_name_that_no_namespace_has_is_not_found(everywhere: Gateway, namespace: str) -> None:
    assert visit(everywhere, "admin").get(f"/web/ns/{namespace}/").status == 404


# --- before the authorization, and off -------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/web/sign-in", "/web/nosuch", "/web/ns/", "/web/all/nosuch", "/web/static/nosuch"]
)
@pytest.mark.parametrize("header", [None, "Bearer nothing-that-is-valid", "Basic eDp5"])
def test_a_stranger_sees_no_namespace(everywhere: Gateway, path: str, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    body = everywhere.call("GET", path, None, headers).body.decode()

    assert not re.search(r"team-|>functions<|namespace functions|-n functions", body)
    assert "NanoGrid" in body


@pytest.mark.parametrize("path", [f"/web/ns/{ALPHA}/", "/web/all/", "/web/all/queue"])
def test_strangers_are_sent_to_the_sign_in(everywhere: Gateway, path: str) -> None:
    answer = everywhere.call("GET", path)
    assert (answer.status, answer.headers["Location"]) == (303, f"/web/sign-in?next={path}")


def test_without_the_setting_there_are_no_other_namespaces(teams: World) -> None:
    with teams.gateway(auth_mode="kubernetes", web_key="k" * 32) as gateway:
        visitor = signed_in(gateway, CALLERS["admin"])
        wait_for(lambda: shown_runs(visitor.get("/web/")), "the first listing")
        teams.cluster.requests.clear()

        assert set(shown_runs(visitor.get("/web/"))) == {"own-done", "own-live", "own-waits"}
        for path in (*ALL, f"/web/ns/{ALPHA}/", f"/web/ns/{ALPHA}/runs/alpha-done"):
            assert visitor.get(path).status == 404
    assert not [r for r in teams.cluster.requests if "/subjectaccessreviews" in r or ALPHA in r]
