"""The page's first sections: the headline of every head with its interval, and every metric of every class."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from foundationx.core.types import MetricRow, TaskKey
from foundationx.evaluation.bootstrap import LEVEL
from foundationx.evaluation.measure import lower_is_better, meanings, units
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.html import (
    Html,
    anchor,
    between,
    details,
    framed,
    head_of,
    quiet,
    rounded,
    section,
    table_of,
)  # fmt: skip
from foundationx.evaluation.report.measured import DRAWS
from foundationx.evaluation.report.plot import COLOURS
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.trivial import EMPTY, TRIVIAL, is_low

MOST_ROWS = 1500
"""Rows of the table of every class; a longer one holds means alone, and each head's part its classes."""


def swatch(facts: Facts, key: TaskKey) -> str:
    """The head's colour, which charts draw it in."""
    return f"<i class='swatch c{facts.colour(key) % COLOURS}'></i>"


def link(facts: Facts, key: TaskKey) -> Html:
    """The head's colour and name, which leads to its part of the page."""
    return Html(f"{swatch(facts, key)}<a href='#{head_anchor(key)}'>{head_of(key)}</a>")


def head_anchor(key: TaskKey) -> str:
    """The name of the head's part of the page."""
    return f"head-{anchor(str(key))}"


def headline(facts: Facts) -> str:
    """Untrained, student and teacher, one line per head, with bars; then every class."""
    if not facts.metrics:
        return section("What was learned", "<p class='quiet'>No evaluation yet.</p>")
    split = facts.split
    scored = [key for key in facts.heads if facts.rows(key, key.task.facts.headline, split=split)]
    models = ("untrained", *facts.models)
    columns = ("head", "metric", "images", "trivial", *models)
    head = "".join(
        f"<th scope='col'{' class=number' if index > 1 else ''}>{escape(column)}</th>"
        for index, column in enumerate(columns)
    )
    keys = "".join(f"<span class='key {kind}'></span> {kind} " for kind in map(escape, models))
    lines = "".join(_headline_row(facts, key, split, columns) for key in scored)
    table = framed(
        f"<table class='sort headline'><thead><tr>{head}<th class='keys'>{keys}</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>",
        "headline of every head",
    )
    note = (
        f"<p class='quiet'>Mean over classes on the <b>{escape(split)}</b> split, after the last evaluation. "
        f"{escape(_on_how_many(facts))}"
        f"In brackets: {LEVEL:.0%} interval of {DRAWS:,} bootstrap draws by patient. "
        "Trivial (the dark mark): what the training annotations say of an image that nobody looks at: the prior of "
        "every class, the mean box, the mean place of a point, the mean mask or the empty mask, whichever is better; "
        "for margin, no difference between images. <span class='low'>Red</span>: no better than that.</p>"
    )
    everything = details("Every class and metric", _all_metrics(facts, split))
    return section("What was learned", note + table + glossary(_shown_metrics(facts, scored)) + everything)


def _on_how_many(facts: Facts) -> str:
    """A sentence on the images that the untrained model saw, if those were not all; else ""."""
    evaluate = facts.config.get("evaluate")
    first = evaluate.get("first") if isinstance(evaluate, dict) else None
    if not isinstance(first, int):
        return ""
    seen = f"on at most {first:,} images of a head" if first else "not at all"
    return f"The untrained model was evaluated {seen} (evaluate.first). "


def _shown_metrics(facts: Facts, keys: list[TaskKey]) -> list[str]:
    return list(dict.fromkeys(key.task.facts.headline for key in keys))


def glossary(metrics: list[str]) -> str:
    """What metrics are, in a few words, with their unit; "" if nothing is known of them."""
    known, downwards = meanings(), lower_is_better()
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(known[name])} ({escape(unit_of(name))}"
        f"{', lower is better' if name in downwards else ''})</dd>"
        for name in metrics
        if name in known
    )
    return f"<dl class='glossary'>{items}</dl>" if items else ""


def unit_of(metric: str) -> str:
    """Unit of a metric, or its range."""
    return units().get(metric, "0 to 1")


def _longest(metric: str, values: Sequence[float | None]) -> float:
    """The value of a full bar: 1, or the largest of a metric that has a unit."""
    known = [value for value in values if value is not None]
    return max([*known, 1e-9]) if metric in units() else 1.0


def _share(value: float, top: float) -> float:
    """Length of a bar in per cent."""
    return 100 * min(max(value / top, 0.0), 1.0)


def _headline_row(facts: Facts, key: TaskKey, split: str, columns: tuple[str, ...]) -> str:
    metric = key.task.facts.headline
    trivial = facts.trivial(key, split)
    before = facts.value(key, metric, MEAN, "student", split, last=False)
    trained = {model: facts.value(key, metric, MEAN, model, split, last=True) for model in facts.models}
    top = _longest(metric, [trivial, before, *trained.values()])
    bars = "".join(
        f"<i class='{escape(kind)}' style='width:{_share(value, top):.1f}%'></i>"
        for kind, value in (("untrained", before), *trained.items())
        if value is not None
    )
    mark = f"<u style='left:{_share(trivial, top):.1f}%'></u>" if trivial is not None else ""
    images = facts.images_of(key, split)
    cells = ["-" if images is None else f"{images:,}", rounded(trivial), rounded(before)]
    ends = facts.measured[key].intervals.get(MEAN) if key in facts.measured else None
    for model, value in trained.items():
        low = value is not None and is_low(value, [trivial], metric)
        text = f"<span class='low'>{rounded(value)}</span>" if low else rounded(value)
        if ends is not None and model == facts.model:
            text += f" <span class='ends'>{between(*ends)}</span>"
            left, right = (_share(end, top) for end in ends)
            bars += f"<s style='left:{left:.1f}%;width:{right - left:.1f}%'></s>"
        cells.append(text)
    numbers = "".join(
        f"<td class='number' data-name='{escape(name, quote=True)}'><span>{cell}</span></td>"
        for name, cell in zip(columns[2:], cells, strict=True)
    )
    name = f"<td>{link(facts, key)}</td><td data-name='metric'>{escape(metric)}</td>"
    return f"<tr>{name}{numbers}<td class='bars'><div>{bars}{mark}</div></td></tr>"


def _all_metrics(facts: Facts, split: str) -> str:
    """Every metric of every class: before training and after the last visit that was evaluated."""
    groups = newest(facts, split)
    models = ("untrained", *facts.models, TRIVIAL, EMPTY)
    means = len(groups) > MOST_ROWS
    rows = (
        [_name_of(facts, group), group[2], unit_of(group[2]), group[3], _n(facts, group, split, n)]
        + [rounded(values.get(model)) for model in models]
        for group, (n, values) in groups.items()
        if not means or group[3] == MEAN
    )
    note = (
        f"{len(groups):,} rows are too many for one table: here are means over classes; each head's part has its "
        "classes, metrics.json all. "
        if means
        else ""
    )
    note += "n: images or boxes that a value rests on; of a mean, the head's images."
    columns = ["head", "metric", "unit", "class", "n", *models]
    table = table_of(columns, rows, len(models) + 1, "every class and metric")
    return quiet(note) + table + glossary(sorted({group[2] for group in groups}))


Group = tuple[str, str, str, str]
"""Dataset, task, metric and class."""


def newest(facts: Facts, split: str) -> dict[Group, tuple[int, dict[str, float | None]]]:
    """What each value rests on, and the values by model, of the untrained model and of the newest evaluation."""
    last = max((row.visit for row in facts.metrics if row.split == split), default=0)
    found: dict[Group, tuple[int, dict[str, float | None]]] = {}
    for row in sorted((row for row in facts.metrics if row.split == split), key=_head_first(facts)):
        if row.visit in (0, last):
            group = (row.dataset, row.task, row.metric, row.class_name)
            _, values = found.get(group, (0, {}))
            values["untrained" if row.visit == 0 else row.model] = row.value
            found[group] = (row.n, values)
    for row in facts.trivial_rows:
        group = (row.dataset, row.task, row.metric, row.class_name)
        if row.split == split and row.visit == last and group in found:
            found[group][1][row.model] = row.value
    return found


def _head_first(facts: Facts):  # type: ignore[no-untyped-def]
    """A key for sorting that keeps all rows of a head together, in the order of the heads."""
    order = {(key.dataset, key.task.value): number for number, key in enumerate(facts.heads)}

    def key(row: MetricRow) -> int:
        return order[row.dataset, row.task]

    return key


def _name_of(facts: Facts, group: Group) -> str:
    return f"{group[0]} {group[1]}"


def _n(facts: Facts, group: Group, split: str, n: int) -> str:
    """What a value rests on; of a mean over classes the head's images, not the sum."""
    if group[3] == MEAN:
        images = facts.images_of(TaskKey.parse(f"{group[0]}/{group[1]}"), split)
        return "-" if images is None else f"{images:,}"
    return f"{n:,}"
