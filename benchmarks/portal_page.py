"""How fast the portal's page is with 10,000 datasets: the first view, and a keystroke in the search, in Chromium.

The datasets are copies of the registry's cards with other names, words, counts and years, so that searches, facets and
orders have as much to do as with as many real ones. Two times: that of the clock, from the start of navigation until
the list is there and from a key until the list that follows from it is laid out; and that of the processor in the
page's main thread, which does not depend on what else the machine does, and which the limits are held to.

    python benchmarks/portal_page.py [--datasets 10000] [--page portal.html]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from foundationx.apps.portal.facts import portal_facts
from foundationx.apps.portal.page import page_of
from foundationx.datasets.cards.catalog import Catalog, default_folders
from tests.helpers.chromium import CHROMIUM, chromium

TYPED = ("pneumothorax", "lung nodule", "kaggle cc by", "pnuemonia")
"""What is typed, letter by letter; the last has no hit, so near words are sought."""

FIRST = """(function look() {
  const note = () => { document.documentElement.dataset.first = performance.now(); };
  if (document.querySelector(".sets tbody tr")) setTimeout(note, 0); else requestAnimationFrame(look);
})();"""
KEY = """(text) => new Promise((done) => {
  const input = document.querySelector("#search"), before = performance.now();
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.getBoundingClientRect();
  const laid = performance.now() - before;
  requestAnimationFrame(() => setTimeout(() => done(laid), 0));
})"""


def many(facts: dict[str, Any], number: int) -> dict[str, Any]:
    """The facts with copies of their datasets, ``number`` in all."""
    dice = random.Random(0)
    words = [
        f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("ben", "dal", "gor", "sim") for c in "aeiou"
    ]
    datasets = []
    for index in range(number):
        source = facts["datasets"][index % len(facts["datasets"])]
        copy = dict(source, name=f"{source['name']}_{index}", card=f"{source['name']}_{index}", shares=[], parent=None)
        copy["title"] = f"{source['title']} {dice.choice(words)} {index}"
        copy["organisations"] = [f"{dice.choice(words)} hospital {index % 400}"]
        copy["images"] = dice.choice([None, dice.randrange(50, 400_000)])
        copy["year"] = dice.choice([None, dice.randrange(2000, 2026)])
        if index % 10:
            near = (index // 10) * 10
            copy["shares"] = [
                {"name": f"{facts['datasets'][near % len(facts['datasets'])]['name']}_{near}", "what": "films"}
            ]
        datasets.append(copy)
    return facts | {"datasets": datasets}


class Clock:
    """Milliseconds of the clock and of the processor that a page takes."""

    def __init__(self, page: Any):
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.wall: list[float] = []
        self.processor: list[float] = []

    def used(self) -> float:
        """Milliseconds of the processor until now."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return next(1000 * each["value"] for each in metrics if each["name"] == "TaskDuration")

    def note(self, wall: float, before: float) -> None:
        """Notes a time of the clock, and the processor's since ``before``."""
        self.wall.append(wall)
        self.processor.append(self.used() - before)

    def line(self, what: str) -> str:
        """Median and worst of both."""
        wall, processor = ((statistics.median(times), max(times)) for times in (self.wall, self.processor))
        return (
            f"{what}: {processor[0]:,.0f} ms of the processor (worst {processor[1]:,.0f}), "
            f"{wall[0]:,.0f} ms by the clock (worst {wall[1]:,.0f}); {len(self.wall)} times"
        )


def measure(address: str) -> tuple[Clock, Clock]:
    """The times of three first views, and of every key."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(FIRST)
        first = Clock(page)
        for _ in range(3):
            page.goto("about:blank")
            before = first.used()
            page.goto(address, wait_until="commit")
            page.wait_for_selector("html[data-first]")
            first.note(float(page.evaluate("document.documentElement.dataset.first")), before)
        page.wait_for_load_state("load")
        page.wait_for_timeout(4000)  # a person looks at the page before typing
        keys = Clock(page)
        for text in TYPED:
            for length in range(1, len(text) + 1):
                before = keys.used()
                keys.note(page.evaluate(KEY, text[:length]), before)
        return first, keys


def main() -> int:
    """Prints the times; 1 if a median is over a second or 50 ms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=10_000)
    parser.add_argument("--page", type=Path, help="where to keep the page")
    options = parser.parse_args()
    if not CHROMIUM:
        print("needs chromium (apt-get install chromium)")
        return 2
    page = page_of(many(portal_facts(Catalog(default_folders()[:1])), options.datasets))
    with tempfile.TemporaryDirectory() as folder:
        path = (options.page or Path(folder) / "portal.html").absolute()
        path.write_text(page, encoding="utf-8")
        first, keys = measure(path.as_uri())
    load = os.getloadavg()[0]
    print(f"{options.datasets:,} datasets, {len(page) / 1e6:.1f} MB; {os.cpu_count()} cores, load {load:.1f}")
    print(first.line("first view"))
    print(keys.line("a keystroke"))
    return int(statistics.median(first.processor) > 1000 or statistics.median(keys.processor) > 50)


if __name__ == "__main__":
    raise SystemExit(main())
