"""The web page on the cluster, in a browser: sign in, watch a run, see its file, cancel a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from examples.gateway_client import Gateway
from support.browser import TIMEOUT_MILLIS, a_browser, needs_browser
from support.gateways import send, uploaded
from support.png import png

pytestmark = needs_browser
SCREENS = Path("build/web")
PAINTER = f"""\
import json, os, time
data = json.load(open(os.environ["FUNCTION_INPUT"]))
print("painting", flush=True)
time.sleep(data["sleep"])
os.makedirs("output", exist_ok=True)
open("output/dot.png", "wb").write(bytes.fromhex("{png(48, 32).hex()}"))
print("done <b>합계</b>")
"""


@pytest.fixture(scope="module")
def painter(gateway_url: str, gateway_token: str) -> Iterator[str]:
    """A function whose output is an image."""
    with uploaded(Gateway(gateway_url, gateway_token), PAINTER.encode()) as function_id:
        yield function_id


@pytest.fixture(scope="module")
def page(gateway_url: str, gateway_token: str) -> Iterator[Page]:
    """A signed-in page."""
    with a_browser() as browser:
        context = browser.new_context(base_url=gateway_url)
        context.set_default_timeout(TIMEOUT_MILLIS)
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Bearer token").fill(gateway_token)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        yield page


def begin(url: str, token: str, function: str, request_id: str, sleep: float) -> None:
    """Start a run without waiting for it."""
    body = {"functionId": function, "requestId": request_id, "inputData": {"sleep": sleep}}
    assert send(url, token, "POST", "/run", body | {"wait": 0}).status == 202


def test_a_page_shows_a_run_from_its_start_to_its_file(
    gateway_url: str, gateway_token: str, painter: str, page: Page
) -> None:
    request_id = f"web-{painter}"
    page.goto(f"/web/?function={painter}")
    begin(gateway_url, gateway_token, painter, request_id, sleep=4)

    expect(page.get_by_role("link", name=request_id)).to_be_visible()  # without a reload
    page.get_by_role("link", name=request_id).click()
    expect(page.get_by_text("painting").first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("done <b>합계</b>").first).to_be_visible()
    image = page.locator("img[src*='dot.png']")
    expect(image).to_be_visible()
    expect(image).to_have_js_property("naturalWidth", 48)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / "e2e-run.png", full_page=True)

    page.goto(f"/web/functions/{painter}")
    expect(page.locator("svg title").filter(has_text=request_id).first).to_be_attached()
    page.screenshot(path=SCREENS / "e2e-function.png", full_page=True)
    page.goto("/web/queue")
    expect(page.get_by_text("Succeeded").first).to_be_visible()


def test_a_run_runs_again_from_its_page(
    gateway_url: str, gateway_token: str, painter: str, page: Page
) -> None:
    request_id = f"again-{painter}"
    begin(gateway_url, gateway_token, painter, request_id, sleep=0)
    page.goto(f"/web/runs/{request_id}")
    expect(page.get_by_text("Completed").first).to_be_visible()
    page.get_by_text("Code and input").click()
    expect(page.get_by_text(f"functions/{painter}/v1.zip")).to_be_visible()

    page.get_by_role("button", name="Run again").click()

    expect(page.get_by_role("heading", name=request_id)).to_have_count(0)
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("done <b>합계</b>").first).to_be_visible()


def test_a_run_is_cancelled_from_its_page(
    gateway_url: str, gateway_token: str, painter: str, page: Page
) -> None:
    request_id = f"stop-{painter}"
    begin(gateway_url, gateway_token, painter, request_id, sleep=600)
    page.goto(f"/web/runs/{request_id}")
    expect(page.get_by_text("painting").first).to_be_visible()

    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Stop run").click()

    expect(page.get_by_text("Cancelled").first).to_be_visible()
