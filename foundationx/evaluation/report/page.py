"""The page as a whole: one HTML file that asks no host for anything."""

from __future__ import annotations

import base64
import hashlib
import re
import statistics
from collections.abc import Callable
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path

from foundationx.core.types import Split
from foundationx.evaluation.report import charts, data
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.heads import heads
from foundationx.evaluation.report.html import details, section
from foundationx.evaluation.report.made import made
from foundationx.evaluation.report.results import headline, link

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("script.js")

MOST_LINKS = 12
"""Heads up to which the contents name each."""


def render(facts: Facts, more: str = "") -> str:
    """The report; ``more`` are sections that are not about the training."""
    name = str(facts.run.get("name", "run"))
    sections = "".join(part(facts) for part in SECTIONS)
    end = "".join(part(facts) for part in LAST)
    return document(name, _header(facts, escape(name)), f"{sections}{more}{end}", _head_links(facts))


def document(title: str, header: str, sections: str, links: str = "") -> str:
    """A page of the report's kind with its contents list.

    Nothing but the page's own script runs, whatever names it shows, and nothing is fetched: the policy in its head says
    so to the browser.

    Args:
        title: Title of the window, as plain text.
        header: HTML above the contents.
        sections: HTML of the sections.
        links: HTML that stands below the entry ``Heads`` of the contents.
    """
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - foundationx</title>'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{STYLE.read_text(encoding="utf-8")}</style></head>\n'
        f"<body><a class='skip' href='#main'>to the results</a>{header}{_contents(sections, links)}"
        f"<main id='main'>{sections}</main>\n<script>{script}</script></body></html>\n"
    )


@cache
def _script() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def _contents(sections: str, links: str) -> str:
    """Links to all sections, by their titles."""
    titles = re.findall(r"<section id='([^']+)'><h2>(.*?)</h2>", sections)
    items = "".join(
        f"<li><a href='#{name}'>{title}</a>{links if name == 'heads' else ''}</li>" for name, title in titles
    )
    return f"<nav aria-label='Contents'><h2>Contents</h2><ul>{items}</ul></nav>"


def _head_links(facts: Facts) -> str:
    shown = [key for key in facts.heads if key in facts.examples or facts.metric_names(key)]
    items = "".join(f"<li>{link(facts, key)}</li>" for key in shown)
    if not items:
        return ""
    listed = f"<ul>{items}</ul>"
    return listed if len(shown) <= MOST_LINKS else details(f"all {len(shown)}", listed)


def _header(facts: Facts, name: str) -> str:
    parameters = min(sum(facts.run.get("parameters", {}).values()), 10**15)  # a damaged file may hold any number
    done = facts.log[-1] if facts.log else {"visit": 0, "step": 0}
    images = {split: facts.images(split) for split in Split}
    patients = {split: list(facts.patients.values()).count(split) for split in Split}
    cards = [
        ("heads", f"{len(facts.heads)}"),
        ("datasets", f"{len({key.dataset for key in facts.heads})}"),
        (f"images ({_by_split(images)})", f"{sum(images.values()):,}"),
        (f"patients ({_by_split(patients)})", f"{sum(patients.values()):,}"),
        ("visits", f"{done['visit']} of {len(facts.plan.get('visits', []))}"),
        ("steps", f"{done['step']:,} of {facts.plan.get('total_steps', 0):,}"),
        ("parameters", f"{parameters / 1e6:.1f} M"),
    ]
    strip = "".join(f"<div><b>{escape(value)}</b> <span>{escape(label)}</span></div>" for label, value in cards)
    return (
        f"<header><p class='brand'>foundationx {escape(str(facts.run.get('version', '')))}</p><h1>{name}</h1>"
        f"<p class='quiet'>{escape(_times(facts))}</p><div class='strip'>{strip}</div></header>\n"
    )


def _by_split(counts: dict[Split, int]) -> str:
    return ", ".join(f"{split.value} {count:,}" for split, count in counts.items())


def _times(facts: Facts) -> str:
    started, finished = facts.run.get("started"), facts.run.get("finished")
    if not started:
        return "not started yet"
    speeds = [row["images_per_second"] for row in facts.log if "images_per_second" in row]
    speed = f", {statistics.median(speeds):.0f} images a second" if speeds else ""
    if not finished:
        return f"{started.replace('T', ' ')}, not finished yet{speed}"
    took = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    device = facts.run.get("device", "-")
    return f"{started.replace('T', ' ')} to {finished.replace('T', ' ')} ({took}, {device}{speed})"


def _losses(facts: Facts) -> str:
    drawn = charts.losses(facts)
    if not drawn:
        return ""
    keys = (
        "<span class='key lock'></span> lock: the head alone is trained. "
        "<span class='key release'></span> release: the backbone too."
    )
    note = f"<p class='quiet'>Task loss over the steps that trained the head itself. {keys}</p>"
    consistency = charts.losses(facts, "consistency")
    more = details("Consistency with the teacher", consistency) if consistency else ""
    return section("Training", f"{note}{drawn}{more}")


def _curves(facts: Facts) -> str:
    if len({row.visit for row in facts.metrics}) < 2:
        return ""
    note = (
        "Bars mark the visits that train the head itself; between them others are trained. "
        "Dotted: the trivial value, as above."
    )
    others = charts.other_curves(facts)
    more = details(f"Other metrics of the {facts.model} by visit", others) if others else ""
    return section("By visit", f"<p class='quiet'>{note}</p>{charts.metric_curves(facts)}{more}")


SECTIONS: tuple[Callable[[Facts], str], ...] = (headline, heads, _losses, _curves)
LAST: tuple[Callable[[Facts], str], ...] = (data.datasets, data.bad, data.incidents, made)
