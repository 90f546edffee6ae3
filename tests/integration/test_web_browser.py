"""The web page in headless Chromium: live, by keyboard, on narrow screens, without JavaScript."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from nanogrid_gateway.api.runs.jobs import job_name
from support.browser import TIMEOUT_MILLIS, a_browser, needs_browser
from support.builders import ROOT
from support.gateway_world import Gateway, World, wait_for
from support.web_fixtures import MARKS, RUNS
from support.web_visitor import FUNCTION, READER_TOKEN
from support.web_world import finish_run, stop_run

pytestmark = [*MARKS, needs_browser]
SCREENS = ROOT / "build/web"
PAGES = {
    "runs": "/web/",
    "run": f"/web/runs/{job_name('sales')}",
    "oom": f"/web/runs/{job_name('oom')}",
    "hostile": f"/web/runs/{job_name('hostile')}",
    "functions": "/web/functions",
    "function": f"/web/functions/{FUNCTION}",
    "queue": "/web/queue",
}
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Browser, web_gateway: Gateway) -> Any:
    """A browser's cookies after signing in."""
    context = new_context(browser, web_gateway)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Bearer token").fill(READER_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("row")).to_have_count(51)
    state = context.storage_state()
    context.close()
    return state


def new_context(browser: Browser, web_gateway: Gateway, **options: Any) -> BrowserContext:
    context = browser.new_context(base_url=f"http://127.0.0.1:{web_gateway.port}", **options)
    context.set_default_timeout(TIMEOUT_MILLIS)
    return context


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, web_gateway: Gateway, signed_in: Any) -> Iterator[Open]:
    """Opens signed-in pages; their errors and requests to other hosts fail the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_(
        path: str, *, expect_errors: bool = False, fake_clock: bool = False, **options: Any
    ) -> Page:
        context = new_context(browser, web_gateway, storage_state=signed_in, **options)
        contexts.append(context)
        page = context.new_page()
        home = f"http://127.0.0.1:{web_gateway.port}/"

        def check_host(url: str) -> None:
            if not url.startswith(home):
                problems.append(f"request to {url}")

        page.on("request", lambda request: check_host(request.url))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: problems.append(f"error {error}"))
        if not expect_errors:
            page.on(
                "console",
                lambda m: problems.append(f"{m.type} {m.text}") if m.type == "error" else None,
            )
        if fake_clock:
            page.clock.install()
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


class Chunks:
    """A log that continues until ``end`` is set."""

    def __init__(self, *first: bytes) -> None:
        self._first = first
        self.end = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        self.end.wait(120)


def test_sign_in_and_sign_out_work_by_keyboard(browser: Browser, web_gateway: Gateway) -> None:
    context = new_context(browser, web_gateway)
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_label("Bearer token")).to_be_focused()

    page.keyboard.type("a-wrong-token")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not know the token")
    page.keyboard.type(READER_TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_attached()
    assert page.evaluate("document.cookie") == ""

    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_label("Bearer token")).to_be_visible()
    page.goto("/web/queue")
    expect(page).to_have_url(re.compile(r"/web/sign-in\?next=/web/queue$"))
    context.close()


def test_thousands_of_runs_load_at_once_and_can_be_searched(open_page: Open) -> None:
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


def test_an_open_list_shows_changes_and_keeps_the_focus(
    web_world: World, open_page: Open, running: str
) -> None:
    page = open_page(f"/web/?q={running}")
    row = page.get_by_role("row").filter(has_text=running)
    expect(row.get_by_text("Running")).to_be_visible()
    page.evaluate("window.sameDocument = true")
    row.get_by_role("link", name=running).focus()

    finish_run(web_world.cluster, running)

    expect(row.get_by_text("Succeeded")).to_be_visible()
    expect(row.get_by_text("312 ms")).to_be_visible()
    assert page.evaluate("window.sameDocument")
    expect(row.get_by_role("link", name=running)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=running)).to_be_visible()


def test_a_hidden_page_sends_no_request(open_page: Open) -> None:
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


def test_a_page_of_a_run_shows_its_log_and_then_its_result(
    web_world: World, open_page: Open, running: str
) -> None:
    chunks = Chunks("안녕 <b>bold</b>\n".encode(), b"second line\n")
    web_world.cluster.logs[f"p-{running}"] = chunks  # type: ignore[assignment]
    page = open_page(f"/web/runs/{running}")
    log = page.get_by_label("Live output of the code")

    expect(log).to_have_text("안녕 <b>bold</b>\nsecond line\n")
    expect(page.get_by_text("Running", exact=True)).to_be_visible()

    finish_run(web_world.cluster, running, stdout="안녕 <b>bold</b>\nsecond line\ndone\n")
    chunks.end.set()

    expect(page.get_by_text("Succeeded", exact=True)).to_be_visible()
    expect(page.locator("section", has=page.get_by_role("heading", name="stdout"))).to_contain_text(
        "done"
    )
    expect(page.get_by_text("Cancel…")).to_have_count(0)


def test_a_run_is_cancelled_by_clicks(web_world: World, open_page: Open, running: str) -> None:
    page = open_page(f"/web/runs/{running}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Stop run").click()

    expect(page.get_by_text("stopping", exact=True)).to_be_visible()
    expect(page.get_by_text("Cancel…")).to_be_hidden()
    assert web_world.cluster.job(running)["spec"]["cancel"] is True


def test_images_are_visible_and_hostile_output_does_nothing(open_page: Open) -> None:
    page = open_page(PAGES["run"])
    image = page.get_by_role("img", name="chart.png")
    expect(image).to_be_visible()
    wait_for(lambda: image.evaluate("image => image.naturalWidth") == 480, "the image", 60)
    with page.expect_download() as download:
        page.get_by_role("link", name="report.html").click()
    assert download.value.suggested_filename == "report.html"

    page = open_page(PAGES["hostile"], expect_errors=True)  # its image does not exist
    expect(page).to_have_title("hostile · NanoGrid")
    expect(page.locator("#stderr-title + pre")).to_contain_text("<script>")


def test_a_banner_shows_while_the_gateway_is_unreachable(open_page: Open) -> None:
    page = open_page("/web/queue", expect_errors=True)
    banner = page.get_by_text("The page cannot load updates now")
    expect(banner).to_be_hidden()

    page.route("**/web/queue?*", lambda route: route.abort())
    expect(banner).to_be_visible()
    page.unroute("**/web/queue?*")
    expect(banner).to_be_hidden()


def test_without_javascript_the_page_can_be_read_and_filtered(open_page: Open) -> None:
    page = open_page("/web/", java_script_enabled=False)
    expect(page.locator("tbody tr")).to_have_count(50)
    page.locator("#q").fill("oom")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="oom").click()
    expect(page.get_by_text("The kernel killed the code")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text("epoch 2/20")
    expect(page.locator("time").first).to_contain_text("UTC")


@pytest.mark.parametrize("name", PAGES)
def test_the_first_tab_skips_to_the_content_and_all_elements_have_names(
    open_page: Open, name: str
) -> None:
    page = open_page(PAGES[name], expect_errors=name == "hostile")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()

    nameless = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, img, svg")]
          .filter(e => e.type !== "hidden")
          .filter(e => !e.closest("[aria-hidden]") && !e.closest("noscript"))
          .filter(e => !(e.textContent.trim() || e.alt || e.ariaLabel || e.labels?.length ||
                         e.querySelector("img[alt]")))
          .map(e => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [1280, 375, 320])
def test_labels_of_plots_are_not_cut(open_page: Open, width: int) -> None:
    page = open_page(PAGES["function"], viewport={"width": width, "height": 850})
    found = page.evaluate(
        """() => [...document.querySelectorAll(".plot-box")].map((box) => {
          const card = box.closest(".card").getBoundingClientRect();
          const lines = [...box.querySelectorAll("line.axis")].map(
            (line) => line.getBoundingClientRect().y);
          return [...box.querySelectorAll("span")].map((label, n) => {
            const place = label.getBoundingClientRect();
            return {
              text: label.textContent,
              inside: place.left >= card.left && place.right <= card.right,
              whole: label.scrollWidth <= Math.ceil(place.width),
              off: Math.abs(place.y + place.height / 2 - lines[n]),
            };
          });
        })"""
    )
    assert [len(labels) for labels in found] == [3, 3]
    for label in (label for labels in found for label in labels):
        assert label["inside"], label
        assert label["whole"], label
        assert label["off"] <= 1, label


def test_a_stop_by_others_hides_the_button(web_world: World, open_page: Open, running: str) -> None:
    page = open_page(f"/web/runs/{running}")
    expect(page.get_by_text("Cancel…")).to_be_visible()

    stop_run(web_world.cluster, running)

    expect(page.get_by_text("stopping", exact=True)).to_be_visible()
    expect(page.get_by_text("Cancel…")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_every_page_fits_its_screen(open_page: Open, scheme: Any, width: int) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    screen = {"width": width, "height": 850}
    # The hostile run's image does not exist, which the console reports.
    page = open_page("/web/", expect_errors=True, viewport=screen, color_scheme=scheme)
    for name, path in PAGES.items():
        page.goto(path)
        expect(page.locator("#live")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png")
