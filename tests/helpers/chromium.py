"""Debian's Chromium, for tests, benchmarks and pictures of the portal."""

import os
import shutil
from contextlib import contextmanager

CHROMIUM = os.environ.get("FOUNDATIONX_CHROMIUM") or shutil.which("chromium")
"""The browser; None: there is none."""

ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@contextmanager
def chromium():
    """A running browser without a profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
