"""The page: sections of HTML around charts and pictures. Everything that comes from outside is escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from foundationx.types import Example, TaskKey
from foundationx.watch.report import charts
from foundationx.watch.report.facts import HEADLINE, Facts
from foundationx.watch.report.pictures import caption, picture

STYLE = Path(__file__).with_name("style.css")


def render(facts: Facts) -> str:
    """The whole page."""
    name = escape(str(facts.run.get("name", "run")))
    sections = "".join(section(facts) for section in SECTIONS)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{name} - foundationx</title>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>{_header(facts, name)}{sections}"
        "</main></body></html>\n"
    )


def _header(facts: Facts, name: str) -> str:
    parameters = sum(facts.run.get("parameters", {}).values())
    visits = facts.plan.get("visits", [])
    done = facts.log[-1]["step"] if facts.log else 0
    total = facts.plan.get("total_steps", 0)
    cards = [
        ("heads", f"{len(facts.heads)}"),
        ("datasets", f"{len({key.dataset for key in facts.heads})}"),
        ("images", f"{_images(facts):,}"),
        ("visits", f"{facts.log[-1]['visit'] if facts.log else 0} of {len(visits)}"),
        ("steps", f"{done:,} of {total:,}"),
        ("parameters", f"{parameters / 1e6:.1f} M"),
        ("device", str(facts.run.get("device", "-"))),
    ]
    strip = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for label, value in cards)
    started, finished = facts.run.get("started") or "-", facts.run.get("finished") or "not finished yet"
    times = f"{str(started).replace('T', ' ')} to {str(finished).replace('T', ' ')}"
    return (
        f"<header><p class='brand'>foundationx {escape(str(facts.run.get('version', '')))}</p><h1>{name}</h1>"
        f"<p class='quiet'>{escape(times)}</p><div class='strip'>{strip}</div></header>"
    )


def _images(facts: Facts) -> int:
    """Images of all datasets; the tasks of one dataset are annotated on the same images."""
    by_task: dict[tuple[str, str], int] = {}
    for row in facts.datasets:
        place = (row["dataset"], row["task"])
        by_task[place] = by_task.get(place, 0) + row["images"]
    datasets = {dataset for dataset, _ in by_task}
    return sum(max(count for (name, _), count in by_task.items() if name == dataset) for dataset in datasets)


def _headline(facts: Facts) -> str:
    """Untrained, student and teacher, a line a head, with bars; then every class."""
    if not facts.metrics:
        return _section("What was learned", "<p class='quiet'>No evaluation yet.</p>")
    split = facts.split
    lines = "".join(_headline_row(facts, key, split) for key in facts.heads)
    head = "<tr><th>head</th><th>metric</th><th>untrained</th><th>student</th><th>teacher</th><th></th></tr>"
    note = f"Mean over classes on the <b>{escape(split)}</b> side, after the last visit evaluated."
    table = f"<p class='quiet'>{note}</p><table class='headline'>{head}{lines}</table>"
    return _section("What was learned", table + _details("Every class and metric", _all_metrics(facts, split)))


def _headline_row(facts: Facts, key: TaskKey, split: str) -> str:
    metric = HEADLINE[key.task.value]
    before = facts.value(key, metric, "mean", "student", split, last=False)
    student, teacher = (facts.value(key, metric, "mean", model, split, last=True) for model in ("student", "teacher"))
    bars = "".join(
        f"<i class='{kind}' style='width:{100 * (value or 0):.1f}%'></i>"
        for kind, value in (("before", before), ("student", student), ("teacher", teacher))
    )
    numbers = "".join(f"<td class='number'>{_number(value)}</td>" for value in (before, student, teacher))
    return (
        f"<tr><td>{escape(key.dataset)} <em>{escape(key.task.value)}</em></td><td>{escape(metric)}</td>"
        f"{numbers}<td class='bars'>{bars}</td></tr>"
    )


def _all_metrics(facts: Facts, split: str) -> str:
    last = max((row.visit for row in facts.metrics if row.split == split), default=0)
    values: dict[tuple, dict[str, float | None]] = {}
    for row in facts.metrics:
        if row.split == split and row.visit == last:
            place = (row.dataset, row.task, row.metric, row.class_name, row.n)
            values.setdefault(place, {})[row.model] = row.value
    rows = (
        [f"{dataset} {task}", metric, name, f"{n:,}", _number(models.get("student")), _number(models.get("teacher"))]
        for (dataset, task, metric, name, n), models in values.items()
    )
    return _table(["head", "metric", "class", "n", "student", "teacher"], rows, numbers=3)


def _losses(facts: Facts) -> str:
    if not facts.log:
        return ""
    note = "<p class='quiet'>Task loss by step. <span class='key lock'></span> lock: only the head is trained.</p>"
    return _section("Training", note + f"<figure>{charts.losses(facts)}</figure>")


def _curves(facts: Facts) -> str:
    if len({row.visit for row in facts.metrics}) < 2:
        return ""
    note = (
        "<p class='quiet'>Grey lines mark the visits that train the head itself; between them others are trained.</p>"
    )
    return _section("By visit", note + f"<figure>{charts.metric_curves(facts)}</figure>")


def _roc(facts: Facts) -> str:
    if not any(curve["classes"] for curve in facts.curves.values()):
        return ""
    return _section("ROC", f"<figure>{charts.roc(facts)}</figure>")


def _pictures(facts: Facts) -> str:
    if not facts.examples:
        return ""
    blocks = []
    for key, (classes, model, examples) in facts.examples.items():
        items = "".join(_picture(example, classes) for example in examples)
        title = f"{escape(key.dataset)} <em>{escape(key.task.value)}</em> <small>{escape(model)}</small>"
        blocks.append(f"<h3>{title}</h3><div class='pictures'>{items}</div>")
    note = "<p class='quiet'>Truth: solid line, tinted. Prediction: dashed line.</p>"
    return _section("Pictures", note + "".join(blocks))


def _picture(example: Example, classes: tuple[str, ...]) -> str:
    words = f"{escape(caption(example, classes))}<br><span>{escape(example.name)}</span>"
    image = f"<img alt='{escape(example.name)}' src='{picture(example, classes)}'>"
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _datasets(facts: Facts) -> str:
    if not facts.datasets:
        return ""
    rows = []
    for row in facts.datasets:
        counts = ", ".join(f"{c['name']} {c['positive']:,}" for c in row["classes"])
        unknown = sum(c["unknown"] for c in row["classes"])
        head = f"{row['dataset']} {row['task']}"
        rows.append([head, row["split"], f"{row['images']:,}", f"{row['patients']:,}", counts, f"{unknown:,}"])
    columns = ["head", "split", "images", "patients", "positives", "unknown labels"]
    return _section("Data", _table(columns, rows, numbers=0))


def _bad(facts: Facts) -> str:
    if not facts.bad:
        return _section("Skipped samples", "<p class='quiet'>None.</p>")
    rows = [[f"{b['dataset']} {b['task']}", b["file"], b["row"], b["reason"]] for b in facts.bad]
    return _section(f"Skipped samples: {len(rows):,}", _table(["head", "file", "row", "reason"], rows, numbers=0))


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
    _config,
)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: int) -> str:
    """A table of texts; the last ``numbers`` columns are aligned right."""
    columns = list(columns)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for row in rows:
        cells = [
            f"<td{' class=number' if place >= len(columns) - numbers else ''}>{escape(str(cell))}</td>"
            for place, cell in enumerate(row)
        ]
        body += f"<tr>{''.join(cells)}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
