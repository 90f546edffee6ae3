"""The web page in a headless Chromium: live, by keyboard, on narrow screens, without JavaScript."""

import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from integration.browser import PATIENCE, a_browser, needs_browser
from integration.gateway_cluster import finish, result_of
from integration.gateway_world import Gateway, World, a_world, wait_for
from integration.support import S3Server
from integration.web_world import (
    FUNCTIONS,
    a_function,
    a_hostile_run,
    a_job,
    a_success,
    add,
    an_oom,
    fill,
)
from nanogrid import names
from nanogrid_gateway.api.jobs import job_name
from unit.builders import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server on PATH"),
    needs_browser,
]
RUNS = 5000
TOKEN = "a-token-of-somebody"
USER = "reader"
SCREENS = ROOT / "build/web"
PAGES = {
    "runs": "/web/",
    "run": f"/web/runs/{job_name('sales')}",
    "oom": f"/web/runs/{job_name('oom')}",
    "hostile": f"/web/runs/{job_name('hostile')}",
    "functions": "/web/functions",
    "function": f"/web/functions/{FUNCTIONS[0]}",
    "queue": "/web/queue",
}
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def world(s3_server: S3Server) -> Iterator[World]:
    with a_world(s3_server) as world:
        fill(world.cluster, RUNS)
        a_success(world.cluster, s3_server, "sales")
        an_oom(world.cluster, "oom")
        a_hostile_run(world.cluster, "hostile")
        a_function(world.cluster)
        world.cluster.tokens[TOKEN] = USER
        for resource in (names.PLURAL, names.FUNCTION_PLURAL):
            world.cluster.rights |= {(USER, verb, resource) for verb in ("list", "get", "patch")}
        yield world


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway(auth_mode="kubernetes", web_key="k" * 32) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Browser, gateway: Gateway) -> Any:
    """A browser's cookies after signing in."""
    context = new_context(browser, gateway)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Bearer token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("row")).to_have_count(51)
    state = context.storage_state()
    context.close()
    return state


def new_context(browser: Browser, gateway: Gateway, **options: Any) -> BrowserContext:
    context = browser.new_context(base_url=f"http://127.0.0.1:{gateway.port}", **options)
    context.set_default_timeout(PATIENCE)
    return context


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, gateway: Gateway, signed_in: Any) -> Iterator[Open]:
    """Opens signed-in pages; what they complain of, or ask elsewhere for, fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_(
        path: str, *, complaining: bool = False, fake_clock: bool = False, **options: Any
    ) -> Page:
        context = new_context(browser, gateway, storage_state=signed_in, **options)
        contexts.append(context)
        page = context.new_page()
        home = f"http://127.0.0.1:{gateway.port}/"

        def asked(url: str) -> None:
            if not url.startswith(home):
                complaints.append(f"asked {url}")

        page.on("request", lambda request: asked(request.url))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: complaints.append(f"error {error}"))
        if not complaining:
            page.on(
                "console",
                lambda m: complaints.append(f"{m.type} {m.text}") if m.type == "error" else None,
            )
        if fake_clock:
            page.clock.install()
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def running(world: World) -> Iterator[str]:
    """The requestId of a run that has not ended, the newest of all."""
    request_id = f"live-{uuid.uuid4().hex[:8]}"
    job = a_job(request_id, ago=0, phase="Running", reason="Executing", podName=f"p-{request_id}")
    add(world.cluster, job)
    yield request_id
    world.cluster.remove(names.PLURAL, job_name(request_id))


def end(world: World, request_id: str, **changes: Any) -> None:
    job = world.cluster.job(request_id)
    finish(world.cluster, job, result_of(job, **changes))


class Chunks:
    """A log that goes on until it is told to end."""

    def __init__(self, *first: bytes) -> None:
        self._first = first
        self.end = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        self.end.wait(120)


def test_one_signs_in_and_out_by_keyboard(browser: Browser, gateway: Gateway) -> None:
    context = new_context(browser, gateway)
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_label("Bearer token")).to_be_focused()

    page.keyboard.type("wrong-token-of-nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not know the token")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_attached()
    assert page.evaluate("document.cookie") == ""

    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_label("Bearer token")).to_be_visible()
    page.goto("/web/queue")
    expect(page).to_have_url(re.compile(r"/web/sign-in\?next=/web/queue$"))
    context.close()


def test_thousands_of_runs_are_there_at_once_and_one_types_to_find_one(open_page: Open) -> None:
    page = open_page("/web/")
    expect(page.get_by_role("row")).to_have_count(51)
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    print(
        f"{RUNS} runs: first byte after {timing['responseStart']:.0f} ms, complete after "
        f"{timing['loadEventEnd']:.0f} ms, {timing['transferSize']} bytes"
    )
    page.evaluate("window.sameDocument = true")

    page.get_by_role("searchbox").fill("run-04321")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("link", name="run-04321")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/web/\?q=run-04321$"))
    page.get_by_role("searchbox").fill("")
    page.get_by_label("State").select_option("Failed")
    expect(page).to_have_url(re.compile(r"/web/\?phase=Failed$"))
    expect(page.locator(".state.succeeded")).to_have_count(0)

    assert page.evaluate("window.sameDocument")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_text("Page 2 of")).to_be_visible()
    expect(page.get_by_label("State")).to_have_value("Failed")


def test_an_open_list_follows_the_runs_and_keeps_the_focus(
    world: World, open_page: Open, running: str
) -> None:
    page = open_page(f"/web/?q={running}")
    row = page.get_by_role("row").filter(has_text=running)
    expect(row.get_by_text("Running")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    row.get_by_role("link", name=running).focus()

    end(world, running)

    expect(row.get_by_text("Succeeded")).to_be_visible()
    expect(row.get_by_text("312 ms")).to_be_visible()
    assert page.evaluate("window.sameDocument")
    expect(row.get_by_role("link", name=running)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=running)).to_be_visible()


def test_nothing_is_asked_for_while_nobody_sees_the_page(open_page: Open) -> None:
    page = open_page("/web/queue", fake_clock=True)
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))

    with page.expect_response(re.compile("seen=")):
        page.clock.run_for(3_000)
    page.evaluate(HIDE, True)
    polls.clear()
    page.clock.run_for(60_000)
    assert polls == []

    with page.expect_request(re.compile("seen=")):
        page.evaluate(HIDE, False)
    with page.expect_request(re.compile("seen=")):
        page.clock.run_for(3_000)


def test_a_run_is_followed_from_its_log_to_its_result(
    world: World, open_page: Open, running: str
) -> None:
    chunks = Chunks("안녕 <b>bold</b>\n".encode(), b"second line\n")
    world.cluster.logs[f"p-{running}"] = chunks  # type: ignore[assignment]
    page = open_page(f"/web/runs/{running}")
    log = page.get_by_label("What the code prints, live")

    expect(log).to_have_text("안녕 <b>bold</b>\nsecond line\n")
    expect(page.get_by_text("Running", exact=True)).to_be_visible()

    end(world, running, stdout="안녕 <b>bold</b>\nsecond line\ndone\n")
    chunks.end.set()

    expect(page.get_by_text("Succeeded", exact=True)).to_be_visible()
    expect(page.locator("section", has=page.get_by_role("heading", name="stdout"))).to_contain_text(
        "done"
    )
    expect(page.get_by_text("Cancel…")).to_have_count(0)


def test_a_run_is_cancelled_by_hand(world: World, open_page: Open, running: str) -> None:
    page = open_page(f"/web/runs/{running}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Stop it").click()

    expect(page.get_by_text("being stopped")).to_be_visible()
    assert world.cluster.job(running)["spec"]["cancel"] is True


def test_a_runs_pictures_are_seen_and_hostile_output_does_nothing(open_page: Open) -> None:
    page = open_page(PAGES["run"])
    picture = page.get_by_role("img", name="chart.png")
    expect(picture).to_be_visible()
    wait_for(lambda: picture.evaluate("image => image.naturalWidth") == 480, "the picture", 60)
    with page.expect_download() as download:
        page.get_by_role("link", name="report.html").click()
    assert download.value.suggested_filename == "report.html"

    page = open_page(PAGES["hostile"], complaining=True)  # its picture does not exist
    expect(page).to_have_title("hostile · NanoGrid")
    expect(page.locator("#stderr-title + pre")).to_contain_text("<script>")


def test_a_gateway_that_is_away_is_told_and_comes_back(open_page: Open) -> None:
    page = open_page("/web/queue", complaining=True)
    banner = page.get_by_text("What has changed cannot be fetched now")
    expect(banner).to_be_hidden()

    page.route("**/web/queue?*", lambda route: route.abort())
    expect(banner).to_be_visible()
    page.unroute("**/web/queue?*")
    expect(banner).to_be_hidden()


def test_without_javascript_everything_can_be_read_and_filtered(open_page: Open) -> None:
    page = open_page("/web/", java_script_enabled=False)
    expect(page.locator("tbody tr")).to_have_count(50)
    page.locator("#q").fill("oom")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="oom").click()
    expect(page.get_by_text("The kernel killed the code")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text("epoch 2/20")
    expect(page.locator("time").first).to_contain_text("UTC")


@pytest.mark.parametrize("name", PAGES)
def test_the_first_tab_skips_to_the_content_and_all_has_names(open_page: Open, name: str) -> None:
    page = open_page(PAGES[name], complaining=name == "hostile")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()

    nameless = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, img, svg")]
          .filter(e => e.type !== "hidden")
          .filter(e => !e.closest("[aria-hidden]") && !e.closest("noscript"))
          .filter(e => !(e.textContent.trim() || e.alt || e.ariaLabel || e.labels?.length ||
                         e.querySelector("img[alt]")))
          .map(e => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_fits_its_screen(open_page: Open, scheme: Any, width: int) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    screen = {"width": width, "height": 850}
    # The hostile run's picture does not exist, which the console says.
    page = open_page("/web/", complaining=True, viewport=screen, color_scheme=scheme)
    for name, path in PAGES.items():
        page.goto(path)
        expect(page.locator("#live")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png")
