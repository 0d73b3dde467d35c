"""The page: sections of HTML around charts and pictures. Everything that comes from outside is escaped."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from datetime import datetime
from html import escape
from pathlib import Path

from foundationx.evaluate.judges import SHOWN_SCORE
from foundationx.evaluate.score import HEADLINE
from foundationx.types import Example, Split, Task, TaskKey
from foundationx.watch.report import charts
from foundationx.watch.report.facts import Facts
from foundationx.watch.report.pictures import Finding, findings, picture

STYLE = Path(__file__).with_name("style.css")

DIGITS = 3
"""Decimals of a metric; values that look equal count as equal."""

MOST_SKIPPED = 200
"""Skipped samples listed on the page; the rest is counted."""


def render(facts: Facts, more: str = "") -> str:
    """The whole page; ``more`` are sections that are not about the training."""
    name = escape(str(facts.run.get("name", "run")))
    sections = "".join(section(facts) for section in SECTIONS)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{name} - foundationx</title>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>{_header(facts, name)}{sections}{more}"
        "</main></body></html>\n"
    )


def _header(facts: Facts, name: str) -> str:
    parameters = sum(facts.run.get("parameters", {}).values())
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
    strip = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for label, value in cards)
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


def _headline(facts: Facts) -> str:
    """Untrained, student and teacher, a line a head, with bars; then every class."""
    if not facts.metrics:
        return _section("What was learned", "<p class='quiet'>No evaluation yet.</p>")
    split = facts.split
    scored = [key for key in facts.heads if facts.rows(key, HEADLINE[key.task], split=split)]
    lines = "".join(_headline_row(facts, key, split) for key in scored)
    columns = ("head", "metric", "images", "trivial", "untrained", "student", "teacher")
    head = "".join(f"<th>{column}</th>" for column in columns)
    keys = "".join(f"<span class='key {kind}'></span> {kind} " for kind in ("untrained", "student", "teacher"))
    note = (
        f"Mean over classes on the <b>{escape(split)}</b> side, after the last visit evaluated. "
        "Trivial (the dark mark): guessing for AUROC, no box for AP, empty masks for Dice, "
        "no difference between images for margin. "
        "<span class='low'>Red</span>: no better than that."
    )
    table = (
        f"<p class='quiet'>{note}</p><table class='headline'><tr>{head}<th class='keys'>{keys}</th></tr>{lines}</table>"
    )
    return _section("What was learned", table + _details("Every class and metric", _all_metrics(facts, split)))


def _headline_row(facts: Facts, key: TaskKey, split: str) -> str:
    metric = HEADLINE[key.task]
    trivial = facts.trivial(key, split)
    before = facts.value(key, metric, "mean", "student", split, last=False)
    student, teacher = (facts.value(key, metric, "mean", model, split, last=True) for model in ("student", "teacher"))
    bars = "".join(
        f"<i class='{kind}' style='width:{100 * value:.1f}%'></i>"
        for kind, value in (("untrained", before), ("student", student), ("teacher", teacher))
        if value is not None
    )
    mark = f"<u style='left:{100 * trivial:.1f}%'></u>" if trivial is not None else ""
    images = facts.images_of(key, split)
    numbers = _cell("-" if images is None else f"{images:,}") + _cell(_number(trivial)) + _cell(_number(before))
    for value in (student, teacher):
        low = None not in (value, trivial) and round(value, DIGITS) <= round(trivial, DIGITS)
        numbers += _cell(f"<span class='low'>{_number(value)}</span>" if low else _number(value))
    return (
        f"<tr><td>{_head(key)}</td><td>{escape(metric)}</td>{numbers}<td class='bars'><div>{bars}{mark}</div></td></tr>"
    )


def _cell(content: str) -> str:
    return f"<td class='number'>{content}</td>"


def _all_metrics(facts: Facts, split: str) -> str:
    """Every metric of every class: before training and after the last visit that was evaluated."""
    rows = [row for row in facts.metrics if row.split == split]
    last = max((row.visit for row in rows), default=0)
    values: dict[tuple, dict[str, float | None]] = {}
    counts: dict[tuple, int] = {}
    for row in rows:
        if row.visit in (0, last):
            place = (row.dataset, row.task, row.metric, row.class_name)
            values.setdefault(place, {})["untrained" if row.visit == 0 else row.model] = row.value
            counts[place] = row.n
    models = ("untrained", "student", "teacher")
    table = (
        [f"{dataset} {task}", metric, name, f"{counts[dataset, task, metric, name]:,}"]
        + [_number(found.get(model)) for model in models]
        for (dataset, task, metric, name), found in values.items()
    )
    return _table(["head", "metric", "class", "n", *models], table, numbers=4)


def _losses(facts: Facts) -> str:
    if not facts.log:
        return ""
    keys = (
        "<span class='key lock'></span> lock: the head alone is trained. "
        "<span class='key release'></span> release: the backbone too."
    )
    note = f"<p class='quiet'>Task loss over the steps that trained the head itself. {keys}</p>"
    consistency = charts.losses(facts, "consistency")
    more = _details("Consistency with the teacher", f"<figure>{consistency}</figure>") if consistency else ""
    return _section("Training", f"{note}<figure>{charts.losses(facts)}</figure>{more}")


def _curves(facts: Facts) -> str:
    if len({row.visit for row in facts.metrics}) < 2:
        return ""
    note = (
        "Grey bars mark the visits that train the head itself; between them others are trained. "
        "Dotted: the trivial value, as above."
    )
    return _section("By visit", f"<p class='quiet'>{note}</p><figure>{charts.metric_curves(facts)}</figure>")


def _roc(facts: Facts) -> str:
    if not any(curve["classes"] for curve in facts.curves.values()):
        return ""
    return _section("ROC", f"<figure>{charts.roc(facts)}</figure>")


def _pictures(facts: Facts) -> str:
    if not facts.examples:
        return ""
    blocks = []
    for key in (key for key in facts.heads if key in facts.examples):
        classes, model, examples = facts.examples[key]
        items = "".join(_picture(example, classes) for example in examples)
        note = _PICTURE_NOTES[key.task]
        blocks.append(
            f"<h3>{_head(key)} <small>{escape(model)}. {note}</small></h3><div class='pictures'>{items}</div>"
        )
    return _section("Pictures", "".join(blocks))


_PICTURE_NOTES = {
    Task.CLASSIFICATION: "Filled dot: present, ring: absent, no dot: unknown; bar: probability.",
    Task.DETECTION: "Solid box: true, dashed box: predicted, with its score. "
    f"Drawn from a score of {SHOWN_SCORE:g} on; AP counts the lower ones too.",
    Task.SEGMENTATION: "Tinted with a solid edge: true, dashed edge: predicted, striped: unknown.",
}


def _picture(example: Example, classes: tuple[str, ...]) -> str:
    name = escape(example.name)
    lines = (
        "".join(_finding(finding) for finding in findings(example, classes)) or "<li>nothing true, nothing found</li>"
    )
    image = f"<img alt='{name}' src='{picture(example)}'>"
    return f"<figure>{image}<figcaption><ul>{lines}</ul><span>{name}</span></figcaption></figure>"


def _finding(finding: Finding) -> str:
    kind = {True: "present", False: "absent", None: "unknown"}[finding.true]
    swatch = f"<i class='swatch' style='background:{finding.colour}'></i>" if finding.colour else "<i class='dot'></i>"
    bar = f"<u style='width:{100 * finding.share:.0f}%'></u>" if finding.share is not None else ""
    return f"<li class='{kind}'>{swatch}<span>{escape(finding.name)}</span><b>{escape(finding.words)}</b>{bar}</li>"


def _datasets(facts: Facts) -> str:
    """Images and patients of each head by split, then the positives of each class."""
    if not facts.datasets:
        return ""
    by_head: dict[tuple[str, str], dict[str, dict]] = {}
    for row in facts.datasets:
        by_head.setdefault((row["dataset"], row["task"]), {})[row["split"]] = row
    sizes, positives = [], []
    for (dataset, task), rows in by_head.items():
        cells = [f"{rows[s]['images']:,} ({rows[s]['patients']:,})" if s in rows else "-" for s in Split]
        sizes.append([f"{dataset} {task}", *cells])
        names = dict.fromkeys(c["name"] for row in rows.values() for c in row["classes"])
        positives += [[f"{dataset} {task}", name, *(_positives(rows.get(s), name) for s in Split)] for name in names]
    splits = [split.value for split in Split]
    table = "<p class='quiet'>Images, and patients in brackets.</p>" + _table(["head", *splits], sizes, numbers=3)
    classes = "<p class='quiet'>Positive of known labels; unknown labels are left out.</p>" + _table(
        ["head", "class", *splits], positives, numbers=3
    )
    return _section("Data", table + _details("Positives of each class", classes))


def _positives(row: dict | None, name: str) -> str:
    counts = [c for c in row["classes"] if c["name"] == name] if row else []
    return "".join(f"{c['positive']:,} of {c['positive'] + c['negative']:,}" for c in counts) or "-"


def _bad(facts: Facts) -> str:
    if not facts.bad:
        return _section("Skipped samples", "<p class='quiet'>None.</p>")
    rows = [[f"{b['dataset']} {b['task']}", b["file"], b["row"], b["reason"]] for b in facts.bad[:MOST_SKIPPED]]
    more = len(facts.bad) - len(rows)
    note = f"<p class='quiet'>and {more:,} more in bad_samples.json</p>" if more else ""
    table = _table(["head", "file", "row", "reason"], rows, numbers=0)
    return _section(f"Skipped samples: {len(facts.bad):,}", table + note)


def _incidents(facts: Facts) -> str:
    """The newest incidents; nothing where all went well."""
    shown = facts.incidents[-MOST_SKIPPED:]
    rows = [[f"{i['step']:,}", f"{i['dataset']} {i['task']}", i["message"], ", ".join(i["images"])] for i in shown]
    table = _table(["step", "head", "what", "images"], rows, numbers=0)
    return _section(f"Incidents: {len(facts.incidents):,}", table) if rows else ""


def _config(facts: Facts) -> str:
    if not facts.config:
        return ""
    text = escape(json.dumps(facts.config, indent=2))
    return _section("Configuration", _details("as resolved", f"<pre>{text}</pre>"))


SECTIONS: tuple[Callable[[Facts], str], ...] = (
    _headline,
    _losses,
    _curves,
    _roc,
    _pictures,
    _datasets,
    _bad,
    _incidents,
    _config,
)


def _head(key: TaskKey) -> str:
    return f"{escape(key.dataset)} <em>{escape(key.task.value)}</em>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: int) -> str:
    """A table of texts; the last ``numbers`` columns are aligned right."""
    columns = list(columns)
    kinds = [" class='number'" if place >= len(columns) - numbers else "" for place in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    lines = [
        "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{DIGITS}f}"
