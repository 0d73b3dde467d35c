"""The page: sections of HTML around charts and pictures. Everything that comes from outside is escaped."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import datetime
from html import escape
from pathlib import Path

from foundationx.core.strict_json import to_json
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.report import charts, data
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.html import details, head_of, rounded, section, table_of
from foundationx.evaluation.report.pictures import figure
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, is_low
from foundationx.tasks.definition import task_of

STYLE = Path(__file__).with_name("style.css")


def render(facts: Facts, more: str = "") -> str:
    """The page; ``more`` are sections that are not about the training."""
    name = escape(str(facts.run.get("name", "run")))
    sections = "".join(part(facts) for part in SECTIONS)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{name} - foundationx</title>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>{_header(facts, name)}{sections}{more}"
        "</main></body></html>\n"
    )


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
    """Untrained, student and teacher, one line per head, with bars; then every class."""
    if not facts.metrics:
        return section("What was learned", "<p class='quiet'>No evaluation yet.</p>")
    split = facts.split
    scored = [key for key in facts.heads if facts.rows(key, key.task.facts.headline, split=split)]
    lines = "".join(_headline_row(facts, key, split) for key in scored)
    models = ("untrained", *facts.models)
    columns = ("head", "metric", "images", "trivial", *models)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    keys = "".join(f"<span class='key {kind}'></span> {kind} " for kind in map(escape, models))
    note = (
        f"Mean over classes on the <b>{escape(split)}</b> split, after the last evaluation. "
        "Trivial (the dark mark): what the training annotations say of an image that nobody looks at: the prior of "
        "every class, the mean box, the mean mask or the empty mask, whichever is better; for margin, no difference "
        "between images. <span class='low'>Red</span>: no better than that."
    )
    table = (
        f"<p class='quiet'>{note}</p><table class='headline'><tr>{head}<th class='keys'>{keys}</th></tr>{lines}</table>"
    )
    return section("What was learned", table + details("Every class and metric", _all_metrics(facts, split)))


def _headline_row(facts: Facts, key: TaskKey, split: str) -> str:
    metric = key.task.facts.headline
    trivial = facts.trivial(key, split)
    before = facts.value(key, metric, "mean", "student", split, last=False)
    trained = {model: facts.value(key, metric, "mean", model, split, last=True) for model in facts.models}
    bars = "".join(
        f"<i class='{escape(kind)}' style='width:{100 * min(value, 1.0):.1f}%'></i>"
        for kind, value in (("untrained", before), *trained.items())
        if value is not None
    )
    mark = f"<u style='left:{100 * trivial:.1f}%'></u>" if trivial is not None else ""
    images = facts.images_of(key, split)
    numbers = _cell("-" if images is None else f"{images:,}") + _cell(rounded(trivial)) + _cell(rounded(before))
    for value in trained.values():
        low = value is not None and is_low(value, [trivial])
        numbers += _cell(f"<span class='low'>{rounded(value)}</span>" if low else rounded(value))
    name = f"<td>{head_of(key)}</td><td>{escape(metric)}</td>"
    return f"<tr>{name}{numbers}<td class='bars'><div>{bars}{mark}</div></td></tr>"


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
            group = (row.dataset, row.task, row.metric, row.class_name)
            values.setdefault(group, {})["untrained" if row.visit == 0 else row.model] = row.value
            counts[group] = row.n
    for row in facts.trivial_rows:
        group = (row.dataset, row.task, row.metric, row.class_name)
        if row.split == split and row.visit == last and group in values:
            values[group][row.model] = row.value
    models = ("untrained", *facts.models, TRIVIAL, EMPTY)
    table = (
        [f"{dataset} {task}", metric, name, f"{counts[dataset, task, metric, name]:,}"]
        + [rounded(by_model.get(model)) for model in models]
        for (dataset, task, metric, name), by_model in values.items()
    )
    return table_of(["head", "metric", "class", "n", *models], table, numbers=len(models) + 1)


def _losses(facts: Facts) -> str:
    if not facts.log:
        return ""
    keys = (
        "<span class='key lock'></span> lock: the head alone is trained. "
        "<span class='key release'></span> release: the backbone too."
    )
    note = f"<p class='quiet'>Task loss over the steps that trained the head itself. {keys}</p>"
    consistency = charts.losses(facts, "consistency")
    more = details("Consistency with the teacher", f"<figure>{consistency}</figure>") if consistency else ""
    return section("Training", f"{note}<figure>{charts.losses(facts)}</figure>{more}")


def _curves(facts: Facts) -> str:
    if len({row.visit for row in facts.metrics}) < 2:
        return ""
    note = (
        "Grey bars mark the visits that train the head itself; between them others are trained. "
        "Dotted: the trivial value, as above."
    )
    others = charts.other_curves(facts)
    more = details("Other metrics by visit", f"<figure>{others}</figure>") if others else ""
    return section("By visit", f"<p class='quiet'>{note}</p><figure>{charts.metric_curves(facts)}</figure>{more}")


def _roc(facts: Facts) -> str:
    if not any(curve["classes"] for curve in facts.curves.values()):
        return ""
    return section("ROC", f"<figure>{charts.roc(facts)}</figure>")


def _pictures(facts: Facts) -> str:
    if not facts.examples:
        return ""
    blocks = []
    for key in (key for key in facts.heads if key in facts.examples):
        classes, model, examples = facts.examples[key]
        items = "".join(figure(key, example, classes) for example in examples)
        note = task_of(key.task).legend
        blocks.append(
            f"<h3>{head_of(key)} <small>{escape(model)}. {note}</small></h3><div class='pictures'>{items}</div>"
        )
    return section("Pictures", "".join(blocks))


def _config(facts: Facts) -> str:
    if not facts.config:
        return ""
    text = escape(to_json(facts.config, indent=2))
    return section("Configuration", details("as resolved", f"<pre>{text}</pre>"))


SECTIONS: tuple[Callable[[Facts], str], ...] = (
    _headline,
    _losses,
    _curves,
    _roc,
    _pictures,
    data.datasets,
    data.bad,
    data.incidents,
    _config,
)
