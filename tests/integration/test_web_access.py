"""The web page over HTTP: sign-in, permissions and forms."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import yaml

from nanogrid.api.job import Spec
from nanogrid_gateway.api.runs.jobs import job_name
from support.gateway_world import Answer, Gateway, World, a_world, wait_for
from support.s3_server import S3Server
from support.web_fixtures import MARKS
from support.web_visitor import (
    FUNCTION,
    JOBS,
    PAGES,
    PERMISSIONS,
    TOKEN,
    USER,
    Tags,
    Visitor,
    attributes_of,
    shown_runs,
    signed_in,
)

pytestmark = [*MARKS, pytest.mark.security]


@contextlib.contextmanager
def without(world: World, permission: tuple[str, str]) -> Iterator[None]:
    world.cluster.rights.remove((USER, *permission))
    try:
        yield
    finally:
        world.cluster.rights.add((USER, *permission))


# --- sign-in and permissions -----------------------------------------------------------------


def test_the_root_redirects_to_the_page_and_pages_to_the_sign_in(
    web_gateway: Gateway,
) -> None:
    stranger = Visitor(web_gateway)

    assert stranger.get("/").headers["Location"] == "/web/"
    for method, path, _ in PAGES:
        answer = web_gateway.call(method, path)
        assert answer.status == 303, path
        assert answer.headers["Location"].startswith("/web/sign-in?next=/web/"), path
    form = stranger.get("/web/sign-in?next=/web/queue")
    assert form.status == 200
    assert "kubectl -n NAMESPACE create token" in form.body.decode()


def test_a_sign_in_returns_to_the_requested_page(web_gateway: Gateway) -> None:
    visitor = Visitor(web_gateway)
    form = visitor.get("/web/?phase=Failed&q=run").headers["Location"]
    target = attributes_of(visitor.get(form), "input", "name", "next")["value"]

    answer = visitor.sign_in(next=target)

    assert (answer.status, answer.headers["Location"]) == (303, "/web/?phase=Failed&q=run")
    assert shown_runs(visitor.get(answer.headers["Location"]))
    elsewhere = Visitor(web_gateway).sign_in(next="https://evil.example/web/")
    assert elsewhere.headers["Location"] == "/web/"


@pytest.mark.parametrize("token", ["a-wrong-token", "", "é" * 20, "a b\x00c"])
def test_a_wrong_token_is_an_error_without_a_cookie(web_gateway: Gateway, token: str) -> None:
    visitor = Visitor(web_gateway)

    answer = visitor.sign_in(token)

    assert answer.status == 401
    assert 'role="alert"' in answer.body.decode()
    assert not visitor.cookie
    assert signed_in(web_gateway).cookie


def test_the_cookie_is_encrypted_and_only_for_the_page(
    web_gateway: Gateway,
) -> None:
    visitor = Visitor(web_gateway)
    answer = visitor.sign_in(f"Bearer {TOKEN} ")
    flags = {a.strip() for a in answer.headers["Set-Cookie"].split(";")[1:]}

    assert {"HttpOnly", "SameSite=Strict", "Path=/web", "Max-Age=28800"} <= flags
    assert "Secure" not in flags
    assert TOKEN not in answer.headers["Set-Cookie"]
    by_tls = Visitor(web_gateway).post("/web/sign-in", {"token": TOKEN}, X_Forwarded_Proto="https")
    assert "Secure" in by_tls.headers["Set-Cookie"]
    assert visitor.get("/web/").status == 200
    assert visitor.get("/runs").status == 401  # the API accepts no cookie
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert web_gateway.call("GET", "/runs", None, bearer).status == 200


def test_a_cookie_works_on_all_replicas_with_its_key_only(
    web_world: World, visitor: Visitor
) -> None:
    with (
        web_world.gateway(auth_mode="kubernetes", web_key="k" * 32) as twin,
        web_world.gateway(auth_mode="kubernetes") as other,
    ):
        assert Visitor(twin, visitor.cookie).get("/web/functions").status == 200
        assert Visitor(other, visitor.cookie).get("/web/functions").status == 303
        changed = visitor.cookie[:-4] + ("AAAA" if visitor.cookie[-4:] != "AAAA" else "BBBB")
        assert Visitor(twin, changed).get("/web/functions").status == 303


@pytest.mark.parametrize(("method", "path", "permission"), PAGES)
def test_each_page_needs_the_permission_of_the_api(
    web_world: World, visitor: Visitor, method: str, path: str, permission: tuple[str, str]
) -> None:
    fields = {"csrf_token": visitor.csrf_token()}

    def request() -> Answer:
        return visitor.get(path) if method == "GET" else visitor.post(path, fields)

    with without(web_world, permission):
        refused = request()
    allowed = request()

    assert refused.status == 403
    assert f"may not {permission[0]} {permission[1]}" in refused.body.decode()
    # The run to cancel has ended; one that runs again has another page.
    assert allowed.status in (200, 303, 409), allowed.body[-500:]


def test_a_user_without_permission_for_runs_can_see_functions(
    web_world: World, web_gateway: Gateway
) -> None:
    with without(web_world, ("list", JOBS)):
        visitor = signed_in(web_gateway)

        assert visitor.get("/web/").status == 403
        assert FUNCTION in visitor.get("/web/functions").body.decode()


NO_RIGHTS = "the-token-without-rights"
API_WORDS = re.compile(r"GET /|POST /|DELETE /|Authorization|Retry-After|openapi")


def test_a_token_without_rights_can_sign_out(web_world: World, web_gateway: Gateway) -> None:
    web_world.cluster.tokens[NO_RIGHTS] = "newcomer"
    visitor = Visitor(web_gateway)
    refused = visitor.get(visitor.sign_in(NO_RIGHTS).headers["Location"])

    assert refused.status == 403
    tags = Tags(refused)
    assert "newcomer may not list executionjobs" in tags.text
    assert "for a role with this permission" in tags.text
    links = {a.get("href") for t, a in tags.found if t == "a"}
    assert {"/web/", "/web/functions", "/web/queue", "/web/sign-in"} <= links
    csrf_token = attributes_of(refused, "input", "name", "csrf_token")["value"]
    assert visitor.post("/web/sign-out", {"csrf_token": csrf_token}).status == 303
    assert visitor.get("/web/").headers["Location"].startswith("/web/sign-in")


def test_a_token_without_rights_can_be_replaced(web_world: World, web_gateway: Gateway) -> None:
    web_world.cluster.tokens[NO_RIGHTS] = "newcomer"
    visitor = Visitor(web_gateway)
    visitor.sign_in(NO_RIGHTS)

    form = visitor.get("/web/sign-in")
    assert "Sign out" not in form.body.decode()
    assert visitor.sign_in(TOKEN).status == 303
    assert visitor.get("/web/").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/web/nosuch", 404, "There is no path '/web/nosuch'."),
        ("GET", "/web/runs", 404, "There is no path '/web/runs'."),
        ("GET", "/web/<b>/x", 404, "There is no path '/web/<b>/x'."),
        ("GET", "/web/static/nosuch.js", 404, "There is no file 'nosuch.js'."),
        ("PUT", "/web/queue", 405, "does not support PUT"),
        ("GET", "/web/runs/nosuch", 404, "The page Runs lists all runs."),
        ("GET", "/web/functions/nosuch", 404, "The page Functions lists all functions."),
        ("GET", "/web/runs/sales/files/nosuch", 404, "no output file"),
        ("POST", "/web/runs/sales/cancel", 409, "The page of the run shows its result."),
    ],
)
def test_errors_are_pages_in_the_words_of_a_reader(
    visitor: Visitor, method: str, path: str, status: int, text: str
) -> None:
    if method == "POST":
        answer = visitor.post(path, {"csrf_token": visitor.csrf_token()})
    else:
        answer = visitor.gateway.call(method, quote(path), None, {"Cookie": visitor.cookie})

    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html")
    shown = Tags(answer).text
    assert text in shown
    assert not API_WORDS.search(shown), shown
    assert "Sign out" in shown
    assert answer.headers["Content-Security-Policy"]


def test_an_unknown_page_names_nothing_to_a_stranger(web_gateway: Gateway) -> None:
    answer = Visitor(web_gateway).get("/web/nosuch")
    assert answer.status == 404
    assert "Sign out" not in answer.body.decode()
    api = Visitor(web_gateway).get("/nosuch")
    assert api.headers["Content-Type"].startswith("application/json")
    assert "GET /openapi.json" in api.body.decode()


@pytest.mark.parametrize("path", ["/web/nosuch", "/web/sign-in", "/web/static/nosuch.js"])
@pytest.mark.parametrize("header", ["", "Bearer no-token-of-this-cluster", "Basic eDp5"])
def test_a_stranger_does_not_see_the_gateways_namespace(
    web_gateway: Gateway, visitor: Visitor, path: str, header: str
) -> None:
    stranger = Visitor(web_gateway).get(path, Authorization=header).body.decode()

    assert "functions</" not in stranger
    assert "-n functions" not in stranger
    assert "functions</span>" in visitor.get("/web/").body.decode()


def test_a_wrong_token_is_explained_to_a_reader(web_gateway: Gateway) -> None:
    shown = Tags(Visitor(web_gateway).sign_in("a-wrong-token")).text
    assert "The cluster does not know the token." in shown
    assert not API_WORDS.search(shown)


def test_a_revoked_token_redirects_to_the_sign_in(web_world: World, web_gateway: Gateway) -> None:
    web_world.cluster.tokens["a-short-lived-token"] = USER
    visitor = Visitor(web_gateway)
    visitor.sign_in("a-short-lived-token")
    assert visitor.get("/web/functions").status == 200

    del web_world.cluster.tokens["a-short-lived-token"]

    answer = visitor.get("/web/functions")
    assert (answer.status, answer.headers["Location"]) == (303, "/web/sign-in?next=/web/functions")
    form = visitor.get("/web/sign-in")
    assert "no longer valid" in form.body.decode()
    fragment = visitor.get(
        "/web/?seen=x",
        HX_Request="true",
        HX_Current_URL=f"http://127.0.0.1:{web_gateway.port}/web/?q=a",
    )
    assert fragment.status == 401
    assert fragment.headers["HX-Redirect"] == "/web/sign-in?next=/web/%3Fq%3Da"


def test_a_sign_in_expires(web_world: World) -> None:
    with web_world.gateway(auth_mode="kubernetes", web_sign_in_hours=1 / 1200) as gateway:
        visitor = signed_in(gateway)
        wait_for(lambda: visitor.get("/web/functions").status == 303, "the end of the sign-in", 60)


def test_a_sign_out_deletes_the_cookie(visitor: Visitor) -> None:
    answer = visitor.post("/web/sign-out", {"csrf_token": visitor.csrf_token()})

    assert (answer.status, answer.headers["Location"]) == (303, "/web/sign-in")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert visitor.get("/web/").status == 303


def test_the_api_limits_apply_to_the_page(web_world: World) -> None:
    with web_world.gateway(
        auth_mode="kubernetes", rate_per_second=0.01, rate_burst=2, web_key="k" * 32
    ) as gateway:
        visitor = signed_in(gateway)
        answers = [visitor.get("/web/functions").status for _ in range(3)]

        assert answers == [200, 200, 429]
        assert int(visitor.get("/web/functions").headers["Retry-After"]) >= 1


# --- a gateway without runs ------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty(s3_server: S3Server) -> Iterator[Gateway]:
    """A gateway whose namespace has no runs and no functions."""
    with a_world(s3_server) as world:
        world.cluster.tokens[TOKEN] = USER
        world.cluster.rights |= {(USER, *permission) for permission in PERMISSIONS}
        with world.gateway(auth_mode="kubernetes", web_key="k" * 32) as gateway:
            yield gateway


def test_pages_without_content_have_commands_to_paste(empty: Gateway) -> None:
    visitor = signed_in(empty)
    runs, functions = (Tags(visitor.get(path)).text for path in ("/web/", "/web/functions"))

    home = f"http://127.0.0.1:{empty.port}"
    assert "nanogrid run -c 'print(6 * 7)' -n functions" in runs
    manifest = runs.partition("<<'END'\n")[2].partition("\nEND")[0]
    Spec.model_validate(yaml.safe_load(manifest)["spec"])
    assert f"""-d '{{"functionId": "hello"}}' \\\n  {home}/run""" in runs
    assert '-H "Authorization: Bearer $GATEWAY_TOKEN" -F file=@hello.py' in functions
    assert f"-F name=hello \\\n  {home}/upload" in functions
    assert "No run matches" in Tags(visitor.get("/web/?q=x")).text
    assert "generateName" not in Tags(visitor.get("/web/?q=x")).text


def test_pasted_commands_cannot_be_changed_by_a_host_name(empty: Gateway) -> None:
    visitor = signed_in(empty)
    shown = Tags(visitor.get("/web/functions", Host="x';touch${IFS}y;'")).text
    assert "'http://x'\"'\"';touch" in shown
    by_tls = Tags(visitor.get("/web/functions", X_Forwarded_Proto="https", Host="a.example")).text
    assert "https://a.example/upload" in by_tls


# --- forms -----------------------------------------------------------------------------------


def test_the_form_of_a_run_cancels_it(web_world: World, visitor: Visitor, running: str) -> None:
    page = visitor.get(f"/web/runs/{running}")
    form = attributes_of(page, "form", "action", f"/web/runs/{job_name(running)}/cancel")
    tokens = [a["value"] for t, a in Tags(page).found if a.get("name") == "csrf_token"]

    answer = visitor.post(form["action"], {"csrf_token": tokens[0]})

    assert answer.status == 303
    assert web_world.cluster.job(running)["spec"]["cancel"] is True
    assert "stopping" in visitor.get(answer.headers["Location"]).body.decode()


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
def test_a_form_of_another_site_changes_nothing(
    web_world: World, web_gateway: Gateway, visitor: Visitor, running: str, headers: dict[str, str]
) -> None:
    path, fields = f"/web/runs/{running}/cancel", {"csrf_token": visitor.csrf_token()}

    assert visitor.post(path, fields, **headers).status == 403
    assert Visitor(web_gateway).post("/web/sign-in", {"token": TOKEN}, **headers).status == 403
    assert "cancel" not in web_world.cluster.job(running)["spec"]
    own = {"Sec-Fetch-Site": "", "Origin": f"http://127.0.0.1:{web_gateway.port}"}
    assert visitor.post(path, fields, **own).status == 303


def test_a_form_without_its_csrf_token_changes_nothing(
    web_world: World, web_gateway: Gateway, visitor: Visitor, running: str
) -> None:
    web_world.cluster.tokens["the-token-of-another-user"] = USER
    another = Visitor(web_gateway)
    another.sign_in("the-token-of-another-user")
    path = f"/web/runs/{running}/cancel"

    assert visitor.post(path, {}).status == 403
    for token in ("", "0" * 64, another.csrf_token()):
        assert visitor.post(path, {"csrf_token": token}).status == 403
    assert visitor.get(path).status == 405
    assert visitor.post("/web/sign-out", {}).status == 403
    assert "cancel" not in web_world.cluster.job(running)["spec"]
    assert visitor.post(path, {"csrf_token": visitor.csrf_token()}).status == 303
