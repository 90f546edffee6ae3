"""The gateway's web page over HTTP: who is let in, what is shown, and what it costs."""

import contextlib
import json
import re
import shutil
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client

from integration.gateway_cluster import Cluster, finish, result_of, serving
from integration.gateway_world import Answer, Gateway, World, a_world, wait_for
from integration.support import S3Server
from integration.web_world import (
    a_function,
    a_hostile_run,
    a_job,
    a_success,
    add,
    an_oom,
    fill,
    png,
)
from nanogrid import names
from nanogrid_gateway.api.jobs import job_name
from nanogrid_gateway.api.loop import Loop
from nanogrid_gateway.router.cluster import ClusterApi
from nanogrid_gateway.web.board import Board
from nanogrid_gateway.web.watch import Watcher

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server on PATH"),
]
RUNS = 5000
TOKEN = "a-token-of-somebody"
USER = "민지"
FUNCTION = "resize-images"
JOBS = names.PLURAL
FUNCTIONS = names.FUNCTION_PLURAL
# What each page needs: the same as the API asks for the same thing.
PAGES = (
    ("GET", "/web/", ("list", JOBS)),
    ("GET", "/web/queue", ("list", JOBS)),
    ("GET", "/web/runs/sales", ("get", JOBS)),
    ("GET", "/web/runs/sales/logs", ("get", JOBS)),
    ("GET", "/web/runs/sales/files/chart.png", ("get", JOBS)),
    ("POST", "/web/runs/sales/cancel", ("patch", JOBS)),
    ("GET", "/web/functions", ("list", FUNCTIONS)),
    ("GET", f"/web/functions/{FUNCTION}", ("get", FUNCTIONS)),
)
RIGHTS = {right for _, _, right in PAGES}


@dataclass
class Visitor:
    """A browser as far as cookies and headers go."""

    gateway: Gateway
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self._keep(self.gateway.call("GET", path, None, self._headers(headers)))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        given = {"Content-Type": "application/x-www-form-urlencoded"}
        given |= {"Sec-Fetch-Site": "same-origin"} | headers
        body = urllib.parse.urlencode(fields).encode()
        return self._keep(self.gateway.call("POST", path, body, self._headers(given)))

    def sign_in(self, token: str = TOKEN, **more: str) -> Answer:
        return self.post("/web/sign-in", {"token": token} | more)

    def word(self) -> str:
        """The hidden word of the forms that this visitor is shown."""
        return attribute(self.get("/web/queue"), "input", "name", "form_word")["value"]

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        more = {name.replace("_", "-"): value for name, value in more.items() if value}
        return ({"Cookie": self.cookie} if self.cookie else {}) | self.headers | more

    def _keep(self, answer: Answer) -> Answer:
        if given := answer.headers.get("Set-Cookie"):
            self.cookie = given.partition(";")[0]
        return answer


class Tags(HTMLParser):
    """A page's tags with their attributes, and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(answer.body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


def attribute(answer: Answer, tag: str, name: str, value: str) -> dict[str, str]:
    """The attributes of the one tag whose attribute has this value."""
    found = [a for t, a in Tags(answer).found if t == tag and a.get(name) == value]
    assert len(found) == 1, (tag, name, value, answer.status, answer.body[-2000:])
    return found[0]


def poll(visitor: Visitor, path: str, seen: str = "") -> Answer:
    """What htmx asks for; without ``seen`` the page as it is comes back."""
    glue = "&" if "?" in path else "?"
    return visitor.get(f"{path}{glue}seen={seen}", HX_Request="true")


def seen_of(answer: Answer) -> str:
    """What a page that is shown says that it has seen."""
    found: str = json.loads(attribute(answer, "div", "id", "live")["hx-vals"])["seen"]
    return found


def shown(answer: Answer) -> list[str]:
    """The requestIds of a list, from the top."""
    assert answer.status == 200, answer.body[-2000:]
    return re.findall(r'<a id="r-[^"]+" href="[^"]+">([^<]+)</a>', answer.body.decode())


@pytest.fixture(scope="module")
def world(s3_server: S3Server) -> Iterator[World]:
    with a_world(s3_server) as world:
        fill(world.cluster, RUNS)
        a_success(world.cluster, s3_server, "sales")
        an_oom(world.cluster, "oom")
        a_hostile_run(world.cluster, "hostile")
        a_function(world.cluster, FUNCTION)
        world.cluster.tokens[TOKEN] = USER
        world.cluster.rights |= {(USER, *right) for right in RIGHTS}
        yield world


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(
        auth_mode="kubernetes", auth_cache_seconds=0, web_key="k" * 32, max_streams=3
    ) as gateway:
        wait_for(lambda: shown_or_empty(signed_in(gateway)), "the first listing")
        yield gateway


def signed_in(gateway: Gateway) -> Visitor:
    visitor = Visitor(gateway)
    answer = visitor.sign_in()
    assert (answer.status, answer.headers["Location"]) == (303, "/web/")
    return visitor


def shown_or_empty(visitor: Visitor) -> list[str]:
    return shown(visitor.get("/web/"))


@pytest.fixture
def visitor(gateway: Gateway) -> Visitor:
    return signed_in(gateway)


@contextlib.contextmanager
def without(world: World, right: tuple[str, str]) -> Iterator[None]:
    world.cluster.rights.remove((USER, *right))
    try:
        yield
    finally:
        world.cluster.rights.add((USER, *right))


# --- who is let in ---------------------------------------------------------------------------


def test_the_root_leads_to_the_page_and_strangers_to_the_sign_in(gateway: Gateway) -> None:
    stranger = Visitor(gateway)

    assert stranger.get("/").headers["Location"] == "/web/"
    for method, path, _ in PAGES:
        answer = gateway.call(method, path)
        assert answer.status == 303, path
        assert answer.headers["Location"].startswith("/web/sign-in?next=/web/"), path
    form = stranger.get("/web/sign-in?next=/web/queue")
    assert form.status == 200
    assert "kubectl -n functions create token" in form.body.decode()


def test_after_signing_in_the_page_that_was_asked_for_is_shown(gateway: Gateway) -> None:
    visitor = Visitor(gateway)
    to = visitor.get("/web/?phase=Failed&q=run").headers["Location"]
    target = attribute(visitor.get(to), "input", "name", "next")["value"]

    answer = visitor.sign_in(next=target)

    assert (answer.status, answer.headers["Location"]) == (303, "/web/?phase=Failed&q=run")
    assert shown(visitor.get(answer.headers["Location"]))
    elsewhere = Visitor(gateway).sign_in(next="https://evil.example/web/")
    assert elsewhere.headers["Location"] == "/web/"


@pytest.mark.parametrize("token", ["wrong-token-of-nobody", "", "é" * 20, "a b\x00c"])
def test_a_wrong_token_is_told_so_and_gets_no_cookie(gateway: Gateway, token: str) -> None:
    visitor = Visitor(gateway)

    answer = visitor.sign_in(token)

    assert answer.status == 401
    assert 'role="alert"' in answer.body.decode()
    assert not visitor.cookie
    assert signed_in(gateway).cookie


def test_the_cookie_is_sealed_and_closed_to_scripts_other_sites_and_the_api(
    gateway: Gateway,
) -> None:
    visitor = Visitor(gateway)
    answer = visitor.sign_in(f"Bearer {TOKEN} ")
    attributes = {a.strip() for a in answer.headers["Set-Cookie"].split(";")[1:]}

    assert {"HttpOnly", "SameSite=Strict", "Path=/web", "Max-Age=28800"} <= attributes
    assert "Secure" not in attributes
    assert TOKEN not in answer.headers["Set-Cookie"]
    by_tls = Visitor(gateway).post("/web/sign-in", {"token": TOKEN}, X_Forwarded_Proto="https")
    assert "Secure" in by_tls.headers["Set-Cookie"]
    assert visitor.get("/web/").status == 200
    assert visitor.get("/runs").status == 401  # the API knows no cookies
    assert gateway.call("GET", "/runs", None, {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_cookie_opens_every_replica_of_the_same_key_and_no_other(
    world: World, visitor: Visitor
) -> None:
    with (
        world.gateway(auth_mode="kubernetes", web_key="k" * 32) as twin,
        world.gateway(auth_mode="kubernetes") as other,
    ):
        assert Visitor(twin, visitor.cookie).get("/web/functions").status == 200
        assert Visitor(other, visitor.cookie).get("/web/functions").status == 303
        changed = visitor.cookie[:-4] + ("AAAA" if visitor.cookie[-4:] != "AAAA" else "BBBB")
        assert Visitor(twin, changed).get("/web/functions").status == 303


@pytest.mark.parametrize(("method", "path", "right"), PAGES)
def test_each_page_needs_the_right_that_the_api_asks_for(
    world: World, visitor: Visitor, method: str, path: str, right: tuple[str, str]
) -> None:
    fields = {"form_word": visitor.word()}

    def ask() -> Answer:
        return visitor.get(path) if method == "GET" else visitor.post(path, fields)

    with without(world, right):
        refused = ask()
    allowed = ask()

    assert refused.status == 403
    assert f"may not {right[0]} {right[1]}" in refused.body.decode()
    assert allowed.status in (200, 409), allowed.body[-500:]  # the run to cancel has ended


def test_someone_who_may_not_list_runs_can_sign_in_and_see_functions(
    world: World, gateway: Gateway
) -> None:
    with without(world, ("list", JOBS)):
        visitor = signed_in(gateway)

        assert visitor.get("/web/").status == 403
        assert FUNCTION in visitor.get("/web/functions").body.decode()


def test_a_token_that_the_cluster_forgets_leads_to_the_sign_in(
    world: World, gateway: Gateway
) -> None:
    world.cluster.tokens["a-short-lived-token"] = USER
    visitor = Visitor(gateway)
    visitor.sign_in("a-short-lived-token")
    assert visitor.get("/web/functions").status == 200

    del world.cluster.tokens["a-short-lived-token"]

    answer = visitor.get("/web/functions")
    assert (answer.status, answer.headers["Location"]) == (303, "/web/sign-in?next=/web/functions")
    form = visitor.get("/web/sign-in")
    assert "not accepted any more" in form.body.decode()
    fragment = visitor.get(
        "/web/?seen=x",
        HX_Request="true",
        HX_Current_URL=f"http://127.0.0.1:{gateway.port}/web/?q=a",
    )
    assert fragment.status == 401
    assert fragment.headers["HX-Redirect"] == "/web/sign-in?next=/web/%3Fq%3Da"


def test_a_sign_in_expires(world: World) -> None:
    with world.gateway(auth_mode="kubernetes", web_sign_in_hours=1 / 1200) as gateway:
        visitor = signed_in(gateway)
        wait_for(lambda: visitor.get("/web/functions").status == 303, "the sign-in's end", 60)


def test_signing_out_forgets_the_cookie(visitor: Visitor) -> None:
    answer = visitor.post("/web/sign-out", {"form_word": visitor.word()})

    assert (answer.status, answer.headers["Location"]) == (303, "/web/sign-in")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert visitor.get("/web/").status == 303


def test_callers_are_limited_as_those_of_the_api(world: World) -> None:
    with world.gateway(
        auth_mode="kubernetes", rate_per_second=0.01, rate_burst=2, web_key="k" * 32
    ) as gateway:
        visitor = signed_in(gateway)
        answers = [visitor.get("/web/functions").status for _ in range(3)]

        assert answers == [200, 200, 429]
        assert int(visitor.get("/web/functions").headers["Retry-After"]) >= 1


# --- changes ---------------------------------------------------------------------------------


@pytest.fixture
def running(world: World) -> Iterator[str]:
    """The requestId of a run that has not ended."""
    request_id = f"going-{uuid.uuid4().hex[:8]}"
    add(world.cluster, a_job(request_id, phase="Running", reason="Executing"))
    yield request_id
    world.cluster.remove(JOBS, job_name(request_id))


def test_a_run_is_cancelled_by_the_pages_own_form(
    world: World, visitor: Visitor, running: str
) -> None:
    page = visitor.get(f"/web/runs/{running}")
    form = attribute(page, "form", "action", f"/web/runs/{job_name(running)}/cancel")
    words = [a["value"] for t, a in Tags(page).found if a.get("name") == "form_word"]

    answer = visitor.post(form["action"], {"form_word": words[0]})

    assert answer.status == 303
    assert world.cluster.job(running)["spec"]["cancel"] is True
    assert "being stopped" in visitor.get(answer.headers["Location"]).body.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": ""},
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    world: World, gateway: Gateway, visitor: Visitor, running: str, headers: dict[str, str]
) -> None:
    path, fields = f"/web/runs/{running}/cancel", {"form_word": visitor.word()}

    assert visitor.post(path, fields, **headers).status == 403
    assert Visitor(gateway).post("/web/sign-in", {"token": TOKEN}, **headers).status == 403
    assert "cancel" not in world.cluster.job(running)["spec"]
    own = {"Sec-Fetch-Site": "", "Origin": f"http://127.0.0.1:{gateway.port}"}
    assert visitor.post(path, fields, **own).status == 303


def test_a_form_without_its_word_changes_nothing(
    world: World, gateway: Gateway, visitor: Visitor, running: str
) -> None:
    world.cluster.tokens["the-token-of-another"] = USER
    another = Visitor(gateway)
    another.sign_in("the-token-of-another")
    path = f"/web/runs/{running}/cancel"

    for fields in ({}, {"form_word": ""}, {"form_word": "0" * 64}, {"form_word": another.word()}):
        assert visitor.post(path, fields).status == 403
    assert visitor.get(path).status == 405
    assert visitor.post("/web/sign-out", {}).status == 403
    assert "cancel" not in world.cluster.job(running)["spec"]
    assert visitor.post(path, {"form_word": visitor.word()}).status == 303


# --- what is shown ---------------------------------------------------------------------------


def test_every_page_has_a_policy_that_forbids_foreign_and_inline_code(visitor: Visitor) -> None:
    for _, path, _ in PAGES[:3] + PAGES[6:]:
        answer = visitor.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        for tag, attributes in Tags(answer).found:
            assert tag != "style", path
            assert "style" not in attributes, (path, tag)
            assert not [a for a in attributes if a.startswith("on")], (path, tag)


@pytest.mark.parametrize("path", ["/web/?q=hostile", "/web/runs/hostile"])
def test_whatever_a_run_says_stays_text(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)

    tags = Tags(answer)
    scripts = [a["src"] for t, a in tags.found if t == "script"]
    assert len(scripts) == 2
    assert all(source.startswith("/web/static/") for source in scripts)
    images = [a["src"] for t, a in tags.found if t == "img"]
    assert all(source.startswith("/web/runs/") for source in images)
    assert "<script>document.title='owned'</script>" in tags.text


def test_a_filter_of_any_text_is_shown_as_text(visitor: Visitor) -> None:
    text = """"><script>x</script>'{{7*7}}"""
    answer = visitor.get(f"/web/?q={urllib.parse.quote(text)}&function={urllib.parse.quote(text)}")

    assert attribute(answer, "input", "name", "q")["value"] == text
    assert "No run is like this" in answer.body.decode()
    assert sum(tag == "script" for tag, _ in Tags(answer).found) == 2


def test_pictures_are_shown_and_everything_else_is_a_download(visitor: Visitor) -> None:
    page = visitor.get("/web/runs/sales")
    sources = [a["src"] for t, a in Tags(page).found if t == "img"]
    folder = f"/web/runs/{job_name('sales')}/files"
    assert sources == [f"{folder}/chart.png?inline"]

    picture = visitor.get(sources[0])
    assert (picture.status, picture.body) == (200, png())
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["Content-Disposition"] == "inline"
    for name, kind in (
        ("evil.svg", "application/octet-stream"),
        ("report.html", "application/octet-stream"),
        ("totals.csv", "text/csv; charset=utf-8"),
    ):
        answer = visitor.get(f"{folder}/{name}?inline")
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert visitor.get(f"{folder}/other.png").status == 404


def test_a_run_shows_its_reason_with_the_cure_its_memory_and_its_attempts(
    visitor: Visitor,
) -> None:
    text = Tags(visitor.get("/web/runs/oom")).text

    assert "The kernel killed the code because it reached its memory limit." in text
    assert "Raise spec.resources.limits.memory" in text
    assert "256 MiB / 256 MiB" in text
    assert "exit 137, SIGKILL" in text
    assert "earlier attempts" in text
    assert "epoch 2/20" in text


def test_a_run_is_found_by_its_jobs_name_and_by_its_request_id(visitor: Visitor) -> None:
    for name in ("sales", job_name("sales")):
        assert "24 regions" in Tags(visitor.get(f"/web/runs/{name}")).text
    assert visitor.get("/web/runs/nothing").status == 404
    assert visitor.get("/web/runs/..%2f..").status == 404


def test_a_job_that_the_gateway_did_not_make_has_a_page_too(world: World, visitor: Visitor) -> None:
    body = {
        "metadata": {"name": "by-kubectl"},
        "spec": {"code": {"inline": "print(1)"}},
        "status": {"phase": "Pending", "reason": "Unschedulable", "message": "no room"},
    }
    world.cluster.write(JOBS, body, create=True)
    try:
        wait_for(lambda: shown(visitor.get("/web/?q=by-kubectl")), "the job")
        assert "No node has room" in Tags(
            visitor.get("/web/runs/by-kubectl")
        ).text or "no room" in (Tags(visitor.get("/web/runs/by-kubectl")).text)
    finally:
        world.cluster.remove(JOBS, "by-kubectl")


def test_a_function_shows_versions_recommendation_and_plots(visitor: Visitor) -> None:
    listing = Tags(visitor.get("/web/functions"))
    page = visitor.get(f"/web/functions/{FUNCTION}")
    tags = Tags(page)

    assert "1,284" in listing.text
    assert "160Mi" in listing.text
    plots = [a["aria-label"] for t, a in tags.found if t == "svg" and a.get("class") == "plot"]
    assert plots == [
        "Durations of the last runs",
        "Peak memory of the last runs, with the limit",
    ]
    assert sum(tag == "circle" for tag, _ in tags.found) == 100
    assert "functions/resize-images/v3.zip" in tags.text
    assert visitor.get("/web/functions/nothing").status == 404


def test_the_queue_counts_all_and_names_who_waits_longest(visitor: Visitor) -> None:
    text = " ".join(Tags(visitor.get("/web/queue")).text.split())

    assert "Queue of namespace functions" in text
    assert "sees no other" in text
    assert re.search(r"Unschedulable \d+", text)
    assert "0/3 nodes are available: 3 Insufficient memory." in text


def test_the_log_of_a_running_run_is_streamed_to_the_page(
    world: World, visitor: Visitor, running: str
) -> None:
    pod = f"pod-{running}"
    world.cluster.logs[pod] = [b"<b>one</b>\n", b"two\n"]
    job = world.cluster.job(running)
    job["status"]["podName"] = pod
    world.cluster.write(JOBS, job)
    ending = threading.Thread(target=_end_after_a_look, args=(world, running))
    ending.start()

    events = visitor.get(f"/web/runs/{running}/logs").body.decode()
    ending.join()

    assert "<b>one</b>\\n" in events
    assert "event: end" in events
    assert visitor.get("/web/runs/nothing/logs").status == 404


def _end_after_a_look(world: World, request_id: str) -> None:
    path = f"/pods/pod-{request_id}/log"
    wait_for(lambda: any(path in asked for asked in list(world.cluster.requests)), "the log")
    job = world.cluster.job(request_id)
    finish(world.cluster, job, result_of(job))


# --- five thousand runs ----------------------------------------------------------------------


def test_the_newest_of_thousands_come_first_and_all_can_be_reached(visitor: Visitor) -> None:
    first = visitor.get("/web/?q=run-0")
    last = visitor.get("/web/?q=run-0&page=100")

    assert shown(first) == [f"run-{n:05}" for n in range(50)]
    assert shown(last) == [f"run-{n:05}" for n in range(RUNS - 50, RUNS)]
    assert f"{RUNS:,} runs" in Tags(first).text
    failed = visitor.get("/web/?phase=Failed&function=train-model")
    assert "Succeeded</span>" not in failed.body.decode()
    assert len(shown(failed)) == 50


def test_an_open_page_costs_no_request_to_the_api_server_and_few_bytes(
    world: World, visitor: Visitor
) -> None:
    page = visitor.get("/web/?q=run-0")
    seen = seen_of(page)
    before = [r for r in world.cluster.requests if "executionjobs" in r]

    answers = [poll(visitor, "/web/?q=run-0", seen) for _ in range(20)]

    assert {(a.status, len(a.body)) for a in answers} == {(204, 0)}
    assert [r for r in world.cluster.requests if "executionjobs" in r] == before
    whole = sorted(visitor.get("/web/?q=run-0").seconds for _ in range(20))[10]
    quiet = sorted(a.seconds for a in answers)[10]
    print(
        f"{RUNS} runs: a page in {whole * 1000:.0f} ms (median), {len(page.body)} bytes; "
        f"a poll without news in {quiet * 1000:.0f} ms"
    )


def test_a_change_reaches_an_open_page(world: World, visitor: Visitor, running: str) -> None:
    path = f"/web/?q={running}"
    wait_for(lambda: shown(visitor.get(path)) == [running], "the run")
    seen = seen_of(visitor.get(path))
    assert poll(visitor, path, seen).status == 204

    job = world.cluster.job(running)
    finish(world.cluster, job, result_of(job))

    wait_for(lambda: poll(visitor, path, seen).status == 200, "the change")
    fragment = poll(visitor, path, seen)
    assert "Succeeded" in fragment.body.decode()
    assert "<html" not in fragment.body.decode()
    assert poll(visitor, path, seen_of(fragment)).status == 204


def test_a_page_of_a_run_polls_until_it_has_ended(
    world: World, visitor: Visitor, running: str
) -> None:
    path = f"/web/runs/{running}"
    open_page = visitor.get(path)
    assert attribute(open_page, "div", "id", "live")["data-seconds"] == "2"

    job = world.cluster.job(running)
    finish(world.cluster, job, result_of(job))

    ended = poll(visitor, path, seen_of(open_page))
    live = attribute(ended, "div", "id", "live")
    assert live["data-seconds"] == "0"
    assert "hx-get" not in live


# --- the watch -------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@contextlib.contextmanager
def a_watcher(loop: Loop, kubeconfig: Path, idle: float = 60) -> Iterator[Watcher]:
    host = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    api = loop.call(_connect(host), 5)
    stopping = threading.Event()
    try:
        path = f"/apis/{names.GROUP}/{names.VERSION}/namespaces/functions/{JOBS}"
        watcher = Watcher(loop, ClusterApi(api, 5), path, Board(), stopping.is_set, idle)
        yield watcher
    finally:
        stopping.set()
        wait_for(lambda: watcher._running is None, "the watch's end")
        loop.call(api.close(), 5)


async def _connect(host: str) -> client.ApiClient:
    settings = client.Configuration(host=host)
    settings.retries = None
    return client.ApiClient(settings)


def rows(watcher: Watcher) -> int:
    board = watcher.look()
    return len(board.rows()) if board else -1


def test_nobody_looking_ends_the_watch_and_a_look_starts_it_anew(
    loop: Loop, tmp_path: Path
) -> None:
    cluster = Cluster()
    fill(cluster, 450)  # more than two pages
    with (
        serving(cluster, tmp_path) as kubeconfig,
        a_watcher(loop, kubeconfig, idle=0.5) as watcher,
    ):
        assert cluster.requests == []
        wait_for(lambda: rows(watcher) == 450, "the rows")
        wait_for(lambda: watcher._board.rows() == [], "the watch's end")
        listings = len(cluster.requests)

        wait_for(lambda: rows(watcher) == 450, "the rows again")
        assert len(cluster.requests) > listings


def test_without_the_api_server_the_rows_stay_and_the_trouble_is_named(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogrid_gateway.web.watch.WATCH_SECONDS", 1.0)
    cluster = Cluster()
    fill(cluster, 10)
    with (
        serving(cluster, tmp_path) as kubeconfig,
        a_watcher(loop, kubeconfig) as watcher,
    ):
        wait_for(lambda: rows(watcher) == 10, "the rows")
        assert watcher.trouble == ""
        with monkeypatch.context() as patched:
            patched.setattr("integration.gateway_cluster._Handler._watch", _refuse)
            wait_for(lambda: "being restarted" in watcher.trouble, "the trouble")
            assert rows(watcher) == 10
        wait_for(lambda: watcher.trouble == "", "the API server")


def _refuse(handler: Any, plural: str, query: Any) -> None:
    handler._answer(503, {"kind": "Status", "code": 503, "message": "being restarted"})


def test_a_large_job_costs_the_board_no_more_than_a_small_one(loop: Loop, tmp_path: Path) -> None:
    cluster = Cluster()
    large = a_job("large", phase="Failed", reason="NonZeroExit")
    large["spec"]["stdin"] = "x" * 60_000
    large["status"]["result"] = {"stdout": "y" * 12_000, "durationMillis": 5}
    add(cluster, large)
    with serving(cluster, tmp_path) as kubeconfig, a_watcher(loop, kubeconfig) as watcher:
        wait_for(lambda: rows(watcher) == 1, "the row")
        (row,) = watcher._board.rows()

    assert (row.request_id, row.duration) == ("large", 5)
    assert len(str(row)) < 600
