"""The gateway's page on the cluster, in a browser: sign in, watch a run, see its file, stop it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.gateways import DEPLOYMENT, IN_RELEASE, a_token, ask, forwarded
from e2e.support import kubectl
from examples.gateway_client import Gateway
from integration.browser import PATIENCE, a_browser, needs_browser
from integration.web_world import png
from nanogrid import names
from scripts.devaccess import RELEASE
from unit.hostile import make

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
def token(cluster: None) -> Iterator[str]:
    with a_token() as token:
        yield token


@pytest.fixture(scope="module")
def url(cluster: None) -> Iterator[str]:
    """The gateway on this machine."""
    kubectl(*IN_RELEASE, "rollout", "status", DEPLOYMENT, "--timeout=60s")
    with forwarded(f"svc/{RELEASE}-gateway") as url:
        yield url


@pytest.fixture(scope="module")
def painter(url: str, token: str) -> Iterator[str]:
    """A function that leaves a picture."""
    archive = make(("main.py", PAINTER.encode()))
    known = Gateway(url, token).upload(archive, runtime="python", memory="64Mi")["functionId"]
    yield known
    kubectl(*IN_RELEASE, "delete", "ej", "-l", f"{names.LABEL_FUNCTION}={known}", "--wait=false")
    kubectl(*IN_RELEASE, "delete", "fn", known, "--ignore-not-found")


@pytest.fixture(scope="module")
def page(url: str, token: str) -> Iterator[Page]:
    """A page that is signed in."""
    with a_browser() as browser:
        context = browser.new_context(base_url=url)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Bearer token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        yield page


def begin(url: str, token: str, function: str, request_id: str, sleep: float) -> None:
    """Ask for a run, and do not wait for it."""
    asked = {"functionId": function, "requestId": request_id, "inputData": {"sleep": sleep}}
    assert ask(url, token, "POST", "/run", asked | {"wait": 0}).status == 202


def test_a_run_is_followed_from_its_start_to_its_file(
    url: str, token: str, painter: str, page: Page
) -> None:
    request_id = f"web-{painter}"
    page.goto(f"/web/?function={painter}")
    begin(url, token, painter, request_id, sleep=4)

    expect(page.get_by_role("link", name=request_id)).to_be_visible()  # by itself: nobody reloads
    page.get_by_role("link", name=request_id).click()
    expect(page.get_by_text("painting").first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("done <b>합계</b>").first).to_be_visible()
    picture = page.locator("img[src*='dot.png']")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("naturalWidth", 48)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / "e2e-run.png", full_page=True)

    page.goto(f"/web/functions/{painter}")
    expect(page.locator("svg title").filter(has_text=request_id).first).to_be_attached()
    page.screenshot(path=SCREENS / "e2e-function.png", full_page=True)
    page.goto("/web/queue")
    expect(page.get_by_text("Succeeded").first).to_be_visible()


def test_a_run_is_cancelled_from_its_page(url: str, token: str, painter: str, page: Page) -> None:
    request_id = f"stop-{painter}"
    begin(url, token, painter, request_id, sleep=600)
    page.goto(f"/web/runs/{request_id}")
    expect(page.get_by_text("painting").first).to_be_visible()

    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Stop it").click()

    expect(page.get_by_text("Cancelled").first).to_be_visible()
