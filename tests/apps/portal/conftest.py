"""A real Chromium for the portal's tests; skipped, saying so, where there is none."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("FOUNDATIONX_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser():
    """A browser without a cache or profile; a module's own, since playwright's loop would forbid others theirs."""
    if not CHROMIUM or not Path(CHROMIUM).is_file():
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra `test`)")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Visit:
    """Pages of one browser window, and what they did that they should not: ``faults`` and requests to ``elsewhere``."""

    def __init__(self, browser, home, **options):
        self.home = home
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
        )
        self.context.set_default_timeout(10_000)
        self.faults, self.elsewhere = [], []
        self.context.on("request", self._note)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def _note(self, request):
        origin = "file://" if self.home.startswith("file:") else "/".join(self.home.split("/")[:3])
        if not request.url.startswith((origin, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, query=""):
        """The page at an address's query, once it shows a view."""
        self.page.goto(f"{self.home}?{query}")
        self.page.wait_for_selector("main h1")
        return self.page


@pytest.fixture
def visit(browser):
    """Opens windows: ``visit(home, **options of the context)``. At the end, no page has erred or asked another host."""
    visits = []

    def opened(home, **options):
        visits.append(Visit(browser, home, **options))
        return visits[-1]

    yield opened
    for each in visits:
        each.context.close()
        assert each.faults == [] and each.elsewhere == []
