"""A comparison as markdown, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import Any

from foundationx.core.atomic_write import csv_text
from foundationx.core.errors import ConfigError, nearest
from foundationx.evaluation.bootstrap import LEVEL
from foundationx.evaluation.compare.compare import Cell, Comparison, Row
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.trivial import mark

SIGNIFICANT = 0.05
"""p values below this are marked."""

DIGITS = 3
"""Decimals in tables for people; CSV has all of them."""


def chosen(comparison: Comparison, metrics: Collection[str] | None, everything: bool) -> Comparison:
    """The rows to show: means over classes of all metrics but details, unless ``everything``.

    Args:
        comparison: Comparison with all rows.
        metrics: Metrics to show, details included; None for all.
        everything: Whether every class and detail is shown.

    Raises:
        ConfigError: No run has such a metric.
    """
    known = {row.metric for row in comparison.rows}
    for name in metrics or ():
        if name not in known:
            raise ConfigError("--metric", f"found {name!r}", nearest(name, known), "name a metric that the runs have")
    rows = [row for row in comparison.rows if everything or row.class_name == MEAN]
    if metrics is not None:
        rows = [row for row in rows if row.metric in metrics]
    elif not everything:
        rows = [row for row in rows if not row.is_detail]
    return replace(comparison, rows=rows)


def markdown(comparison: Comparison) -> str:
    """A markdown table: values with intervals, and for later runs the difference from the first and p."""
    first, *others = comparison.runs
    columns = ["head", "metric", "class", "n", "trivial", first]
    for name in others:
        columns += [name, f"{name} - {first}", "p"]
    lines = [_line(columns), _line(["---"] * len(columns))]
    for row in comparison.rows:
        cells = [str(row.head), metric_name(row), row.class_name, count(row), trivial(row), marked(row, row.cells[0])]
        for cell in row.cells[1:]:
            cells += [marked(row, cell), difference(cell), p_value(cell)]
        lines.append(_line([text.replace("|", "\\|") for text in cells]))
    return "\n".join([*lines, "", note(comparison), ""])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def note(comparison: Comparison) -> str:
    """What the numbers are, in one paragraph."""
    text = f"Values on the {comparison.split} split"
    if comparison.repeats:
        text += f" with {LEVEL:.0%} percentile intervals of {comparison.repeats:,} bootstrap draws by patient"
    if max(comparison.seeds, default=1) > 1:
        text += ", which cover runs of other seeds by Student's t"
    if len(comparison.runs) > 1:
        text += (
            f". Differences from {comparison.runs[0]}; p is DeLong's (by patient) for the AUROC of a class, else that "
            f"of the paired bootstrap; * marks p < {SIGNIFICANT}. No correction for the number of tests"
        )
    text += ". Trivial: what the training annotations say without an image"
    return text + ". Higher is better unless the metric is marked (lower)."


def as_csv(comparison: Comparison) -> str:
    """One line per head, metric, class and run, with all decimals; empty if not defined."""
    names = [item.name for item in fields(Cell)]
    rows: list[list[Any]] = []
    for row in comparison.rows:
        for run, cell in zip(comparison.runs, row.cells, strict=True):
            if cell is not None:
                values = [getattr(cell, name) for name in names]
                name = [row.head.dataset, row.head.task.value, row.metric, row.class_name, run]
                rows.append([*name, *values, row.trivial])
    return csv_text(["dataset", "task", "metric", "class", "run", *names, "trivial"], rows)


def latex(comparison: Comparison) -> str:
    """A ``tabular`` for booktabs and xcolor: a line per metric, a column per run, the trivial value before them.

    A star marks p below 0.05, red a value that is no better than the trivial one.
    """
    lines = [
        rf"\begin{{tabular}}{{lllc{'c' * len(comparison.runs)}}}",
        r"\toprule",
        " & ".join(["head", "metric", "class", "trivial", *(escape(name) for name in comparison.runs)]) + r" \\",
    ]
    head = None
    for row in comparison.rows:
        if row.head != head:
            lines.append(r"\midrule")
        title = "" if row.head == head else escape(str(row.head))
        head = row.head
        metric = escape(row.metric) + (r" $\downarrow$" if row.lower_is_better else "")
        cells = [_latex_cell(row, cell) for cell in row.cells]
        lines.append(" & ".join([title, metric, escape(row.class_name), trivial(row), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {note(comparison)}", ""])


def _latex_cell(row: Row, cell: Cell | None) -> str:
    star = "$^{*}$" if cell is not None and is_significant(cell) else ""
    text = rf"\textcolor{{red}}{{{value(cell)}}}" if row.is_low(cell) else value(cell)
    return text + star


def escape(text: str) -> str:
    """Text with LaTeX's special characters made plain."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def metric_name(row: Row) -> str:
    """The metric, marked if lower is better."""
    return f"{row.metric} (lower)" if row.lower_is_better else row.metric


def count(row: Row) -> str:
    """What the values rest on; several numbers if they differ between runs."""
    return "/".join(dict.fromkeys(f"{cell.n:,}" for cell in row.cells if cell is not None))


def value(cell: Cell | None) -> str:
    """Value and interval."""
    if cell is None or cell.value is None:
        return "-"
    text = f"{cell.value:.{DIGITS}f}"
    return text if cell.low is None else f"{text} [{cell.low:.{DIGITS}f}, {cell.high:.{DIGITS}f}]"


def trivial(row: Row) -> str:
    """The value without looking at the images."""
    return "-" if row.trivial is None else f"{row.trivial:.{DIGITS}f}"


def marked(row: Row, cell: Cell | None) -> str:
    """Value and interval; with words if it is no better than the trivial value."""
    return mark(value(cell), row.metric) if row.is_low(cell) else value(cell)


def difference(cell: Cell | None) -> str:
    """Difference from the first run with its interval."""
    if cell is None or cell.difference is None:
        return "-"
    text = f"{cell.difference:+.{DIGITS}f}"
    if cell.difference_low is None:
        return text
    return f"{text} [{cell.difference_low:+.{DIGITS}f}, {cell.difference_high:+.{DIGITS}f}]"


def is_significant(cell: Cell) -> bool:
    """Whether p is below 0.05."""
    return cell.p is not None and cell.p < SIGNIFICANT


def p_value(cell: Cell | None) -> str:
    """p, marked if it is below 0.05."""
    if cell is None or cell.p is None:
        return "-"
    text = "< 0.001" if cell.p < 0.001 else f"{cell.p:.3f}"
    return text + (" *" if is_significant(cell) else "")


FORMATS: dict[str, Callable[[Comparison], str]] = {".md": markdown, ".csv": as_csv, ".tex": latex}
"""Writers by the ending of the file's name."""
