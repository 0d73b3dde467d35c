"""A comparison of runs as a page of the report's kind: values with intervals, differences, every class and metric."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from foundationx.evaluation.compare.compare import Cell, Comparison, Row
from foundationx.evaluation.compare.table import (
    count,
    difference,
    is_significant,
    metric_name,
    note,
    p_value,
    trivial,
    value,
)  # fmt: skip
from foundationx.evaluation.report.html import Html, details, head_of, quiet, section, table_of
from foundationx.evaluation.report.page import document
from foundationx.evaluation.report.plot import COLOURS
from foundationx.evaluation.report.results import glossary, unit_of
from foundationx.evaluation.statistic import MEAN


def render(comparison: Comparison) -> str:
    """The page.

    Args:
        comparison: All rows that the page may show; means of headline metrics come first, with pictures of intervals.
    """
    first, *others = comparison.runs
    title = f"{first} and {', '.join(others)}" if others else first
    header = (
        f"<header><p class='brand'>foundationx compare</p><h1>{escape(title)}</h1>"
        f"<p class='quiet'>{escape(note(comparison))}</p>{_legend(comparison.runs)}</header>\n"
    )
    headlines = [
        row for row in comparison.rows if row.class_name == MEAN and row.metric == row.head.task.facts.headline
    ]
    sections = _values(comparison.runs, headlines)
    if others:
        sections += _differences(comparison.runs, headlines)
    return document(title, header, sections + _everything(comparison))


def _legend(runs: Iterable[str]) -> str:
    items = "".join(f"<li>{_swatch(number)}{escape(name)}</li>" for number, name in enumerate(runs))
    return f"<ul class='legend'>{items}</ul>"


def _swatch(run: int) -> str:
    return f"<i class='swatch c{run % COLOURS}'></i>"


def _values(runs: tuple[str, ...], rows: list[Row]) -> str:
    """The headline of every head: a bar with its interval for each run."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        bars = "".join(_bar(number, cell) for number, cell in enumerate(row.cells))
        mark = f"<u style='left:{_percent(row.trivial):.1f}%'></u>" if row.trivial is not None else ""
        picture = Html(f"<div class='bars'><div>{bars}{mark}</div></div>")
        lines.append([*_names(row), count(row), trivial(row), *(_cell(row, cell) for cell in row.cells), picture])
    columns = ["head", "metric", "n", "trivial", *runs, "0 to 1"]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    table = table_of(columns, lines, 0, "headline of every head")
    text = "Mean over classes. The dark mark is the trivial value; red is no better than that."
    return section("Headline of every head", quiet(text) + table + glossary(metrics))


def _bar(run: int, cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return ""
    bar = f"<i class='c{run % COLOURS}' style='width:{_percent(cell.value):.1f}%'></i>"
    if cell.low is None or cell.high is None:
        return f"<div>{bar}</div>"
    low, high = _percent(cell.low), _percent(cell.high)
    return f"<div>{bar}<s style='left:{low:.1f}%;width:{high - low:.1f}%'></s></div>"


def _percent(share: float) -> float:
    return 100 * min(max(share, 0.0), 1.0)


def _differences(runs: tuple[str, ...], rows: list[Row]) -> str:
    """How far each later run is from the first: a point and its interval on one scale with zero in the middle."""
    found = [
        (row, number, cell)
        for row in rows
        for number, cell in enumerate(row.cells)
        if number and cell is not None and cell.difference is not None
    ]
    if not found:
        return ""
    ends = [(cell.difference, cell.difference_low, cell.difference_high) for *_, cell in found]
    widest = max((abs(end) for of_cell in ends for end in of_cell if end), default=1.0)
    lines = []
    for row, number, cell in found:
        name, picture = Html(f"{_swatch(number)}{escape(runs[number])}"), Html(_point(number, cell, widest))
        values = [_unbroken(difference(cell)), _unbroken(p_value(cell))]
        lines.append([*_names(row), name, *values, cell.test or "-", picture])
    text = (
        f"Later runs minus {runs[0]}. The picture reaches from {-widest:.3f} to {widest:.3f}; its line is no "
        "difference, and a ring marks p < 0.05."
    )
    columns = ["head", "metric", "run", "difference", "p", "test", "picture"]
    return section(f"Differences from {runs[0]}", quiet(text) + table_of(columns, lines, 0, "differences"))


def _point(run: int, cell: Cell, widest: float) -> str:
    def place(end: float) -> float:
        return 50 + 50 * end / widest

    assert cell.difference is not None
    interval = ""
    if cell.difference_low is not None and cell.difference_high is not None:
        low, high = place(cell.difference_low), place(cell.difference_high)
        interval = f"<s class='c{run % COLOURS}' style='left:{low:.1f}%;width:{high - low:.1f}%'></s>"
    clear = " clear" if is_significant(cell) else ""
    point = f"<b class='c{run % COLOURS}{clear}' style='left:{place(cell.difference):.1f}%'></b>"
    return f"<div class='track'><u></u>{interval}{point}</div>"


def _everything(comparison: Comparison) -> str:
    """Every metric and class that the comparison holds."""
    first, *others = comparison.runs
    columns = ["head", "metric", "unit", "class", "n", "trivial", first]
    columns += [column for name in others for column in (name, f"{name} - {first}", "p")]
    lines = []
    for row in comparison.rows:
        later = [text for cell in row.cells[1:] for text in (_cell(row, cell), difference(cell), p_value(cell))]
        values = [trivial(row), _cell(row, row.cells[0]), *later]
        lines.append([*_names(row), unit_of(row.metric), row.class_name, count(row), *values])
    table = table_of(columns, lines, len(columns) - 4, "every class and metric")
    metrics = sorted({row.metric for row in comparison.rows})
    return section("Every class and metric", details("Table", table + glossary(metrics), opened=True))


def _names(row: Row) -> list[str]:
    return [Html(head_of(row.head)), metric_name(row)]


def _cell(row: Row, cell: Cell | None) -> str:
    """Value and interval; red if it is no better than the trivial value."""
    text = _unbroken(value(cell))
    return Html(f"<span class='low'>{text}</span>") if row.is_low(cell) else text


def _unbroken(text: str) -> Html:
    """Text that stays on one line."""
    return Html(f"<span class='unbroken'>{escape(text)}</span>")
