"""A headless Chromium, where one is installed (`make setup` does on Debian)."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
TIMEOUT_MILLIS = 60_000.0  # long, because the machine may be under load
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"needs a browser on PATH: {', '.join(BROWSERS)}"
)


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Chromium, with a long timeout for expectations."""
    # Chromium's own sandbox refuses root, which runs tests in containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=TIMEOUT_MILLIS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=arguments, timeout=TIMEOUT_MILLIS
        )
        yield browser
        browser.close()
