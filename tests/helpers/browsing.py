"""Fixtures of tests that drive a real Chromium; skipped, saying so, where there is none."""

from pathlib import Path

import pytest

from tests.helpers.chromium import CHROMIUM, chromium


@pytest.fixture(scope="module")
def browser():
    """A browser without a profile; a module's own, since playwright's event loop forbids others to have theirs."""
    if not CHROMIUM or not Path(CHROMIUM).is_file():
        pytest.skip("needs Debian's chromium (apt-get install chromium), which is not on this machine")
    pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra `test`)")
    with chromium() as running:
        yield running


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
