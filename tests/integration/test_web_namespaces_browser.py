"""The web page over all namespaces in headless Chromium: the selection, and narrow screens."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from nanogrid_gateway.api.runs.jobs import job_name
from support.browser import TIMEOUT_MILLIS, a_browser, needs_browser
from support.builders import ROOT
from support.gateway_fixtures import MARKS
from support.gateway_world import Gateway
from support.web_teams import ALPHA, BETA, CALLERS

pytestmark = [*MARKS, needs_browser]
SCREENS = ROOT / "build/web"
PAGES = {
    "all": "/web/all/",
    "all-queue": "/web/all/queue",
    "all-functions": "/web/all/functions",
    "team": f"/web/ns/{ALPHA}/",
    "team-run": f"/web/ns/{ALPHA}/runs/{job_name('alpha-done')}",
    "team-live": f"/web/ns/{ALPHA}/runs/{job_name('alpha-live')}",
    "team-functions": f"/web/ns/{ALPHA}/functions",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


def a_page(browser: Browser, gateway: Gateway, caller: str, **options: Any) -> Page:
    """A page after the sign-in."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{gateway.port}", **options)
    context.set_default_timeout(TIMEOUT_MILLIS)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Bearer token").fill(CALLERS[caller])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("table")).to_be_visible()
    return page


@pytest.mark.parametrize("javascript", [True, False])
def test_a_namespace_is_chosen_on_every_list(
    browser: Browser, everywhere: Gateway, javascript: bool
) -> None:
    page = a_page(browser, everywhere, "admin", java_script_enabled=javascript)
    expect(page.get_by_role("columnheader", name="Namespace")).to_be_visible()
    expect(page.get_by_role("link", name="beta-done")).to_be_visible()

    page.locator(".namespaces summary").click()
    page.locator(".namespaces").get_by_role("link", name=ALPHA).click()

    expect(page).to_have_url(f"http://127.0.0.1:{everywhere.port}/web/ns/{ALPHA}/")
    expect(page.get_by_role("link", name="alpha-done")).to_be_visible()
    expect(page.get_by_role("link", name="beta-done")).to_have_count(0)
    expect(page.get_by_role("columnheader", name="Namespace")).to_have_count(0)
    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_text("alpha-message")).to_be_visible()
    page.locator(".namespaces summary").click()
    page.locator(".namespaces").get_by_role("link", name=BETA).click()
    expect(page.get_by_text("beta-message")).to_be_visible()  # still the queue
    page.context.close()


def test_a_filter_keeps_the_namespace(browser: Browser, everywhere: Gateway) -> None:
    page = a_page(browser, everywhere, "admin")
    page.goto(f"/web/ns/{ALPHA}/")

    page.get_by_label("Text in requestId or name").fill("done")

    expect(page.get_by_role("link", name="alpha-live")).to_have_count(0)
    expect(page.get_by_role("link", name="alpha-done")).to_be_visible()
    expect(page.get_by_role("link", name="beta-done")).to_have_count(0)
    page.context.close()


@pytest.mark.parametrize("width", [1280, 375, 320])
def test_every_page_fits_its_screen(browser: Browser, everywhere: Gateway, width: int) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    page = a_page(browser, everywhere, "admin", viewport={"width": width, "height": 850})
    for name, path in PAGES.items():
        page.goto(path)
        expect(page.locator("#live")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=SCREENS / f"namespaces-{name}-{width}.png")
        page.locator(".namespaces summary").click()
        box = page.locator(".namespaces ul").bounding_box()
        assert box is not None
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
        page.screenshot(path=SCREENS / f"namespaces-{name}-{width}-open.png")
    page.context.close()
