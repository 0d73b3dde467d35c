"""The report's charts, as SVG that stands in the page itself."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from foundationx.core.types import TaskKey
from foundationx.evaluation.measure import details
from foundationx.evaluation.report.facts import Facts, own_step
from foundationx.evaluation.statistic import MEAN

INK, QUIET, GRID = "#1f2a37", "#6b7787", "#e4e8ee"
STUDENT, TEACHER, OTHER = "#8fa6bf", "#0b6e99", "#c9a24b"
PHASES = {"lock": "#f2e3c6", "release": "#eaf3f7"}
PALETTE = ("#0b6e99", "#c65d21", "#3f8f5f", "#8a5aa8", "#b8860b", "#b5485d", "#4b6cb7", "#5f6b2d", "#2f8f8f", "#7a5c3e")
COLUMNS = 3
MOST_VISITS = 50
"""Visits of a head that are marked; more would fill the chart."""

MOST_LETTERS = 38
"""Of a chart's title, so that it ends before the next chart begins."""

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "foundationx",
}


def losses(facts: Facts, part: str = "task") -> str:
    """A part of the training loss of every head over the head's own steps, lock and release shaded.

    Heads without that part, such as a consistency loss that was never switched on, are left out; "" if all are.
    """
    keys = [key for key in facts.heads if any(_is(row, key) and part in row["losses"] for row in facts.log)]
    if not keys:
        return ""
    with plt.rc_context(STYLE):
        figure, axes = _grid(len(keys))
        for axis, key in zip(axes, keys, strict=False):
            _loss(axis, facts, key, part)
        return _svg(figure, f"{part} loss of every head by step")


def _loss(axis: Axes, facts: Facts, key: TaskKey, part: str) -> None:
    phases = facts.phases(key)
    rows = [row for row in facts.log if _is(row, key) and part in row["losses"]]
    cycles = {visit["index"]: visit["cycle"] for visit in facts.plan.get("visits", [])}
    points = [(own_step(phases, row["step"]), row["losses"][part], cycles.get(row["visit"], 0)) for row in rows]
    last = max(step for step, _, _ in points)
    for name, together in itertools.groupby(phases, key=lambda phase: phase.name):
        joined = list(together)
        start, end = joined[0].own_first, min(joined[-1].own_first + joined[-1].steps, last)
        if start < end and name in PHASES:
            axis.axvspan(start, end, color=PHASES[name], lw=0, zorder=0)
    axis.plot([p[0] for p in points], [p[1] for p in points], ".", ms=4.5, color=STUDENT)
    for cycle in sorted({cycle for _, _, cycle in points}):
        own = [p for p in points if p[2] == cycle]
        axis.plot([p[0] for p in own], _running_mean([p[1] for p in own]), lw=1.6, color=TEACHER)
    _title(axis, key, "")
    axis.grid(axis="x", visible=False)
    axis.set_xlabel("step of this head")
    axis.set_xlim(0, last)
    axis.set_ylim(bottom=0)


def metric_curves(facts: Facts) -> str:
    """Headline metric of every head by visit, a line per model; the head's own visits are marked."""
    curves = [(key, key.task.facts.headline) for key in facts.heads if facts.rows(key, key.task.facts.headline)]
    return _metric_figure(facts, curves, "headline metric of every head by visit")


def other_curves(facts: Facts) -> str:
    """Every other metric by visit, head by head; "" if there is none. Details are left out."""
    hidden = details()
    curves = []
    for key in facts.heads:
        rows = [row for row in facts.metrics if (row.dataset, row.task) == (key.dataset, key.task.value)]
        names = dict.fromkeys(row.metric for row in rows if row.class_name == MEAN and row.value is not None)
        shown = [name for name in names if name not in hidden and name != key.task.facts.headline]
        curves += [(key, name) for name in shown if len({row.visit for row in facts.curve(key, name)}) > 1]
    return _metric_figure(facts, curves, "other metrics of every head by visit") if curves else ""


def _metric_figure(facts: Facts, curves: list[tuple[TaskKey, str]], description: str) -> str:
    with plt.rc_context(STYLE):
        figure, axes = _grid(len(curves))
        for axis, (key, metric) in zip(axes, curves, strict=False):
            _metric_curve(axis, facts, key, metric)
        return _svg(figure, description)


def _metric_curve(axis: Axes, facts: Facts, key: TaskKey, metric: str) -> None:
    rows = facts.curve(key, metric)
    split = rows[0].split if rows else facts.split
    own = [visit["index"] for visit in facts.plan.get("visits", []) if _is(visit, key)]
    for index in own if len(own) <= MOST_VISITS else ():
        axis.axvline(index, color=GRID, lw=3, zorder=0)
    trivial = facts.trivial(key, split) if metric == key.task.facts.headline else None
    if trivial is not None:
        axis.axhline(trivial, color=QUIET, lw=1, ls=":", zorder=1)
    for model, colour in zip(facts.models, (STUDENT, TEACHER, OTHER), strict=False):
        points = [(row.visit, row.value) for row in rows if row.model == model or row.visit == 0]
        values = [value for _, value in points if value is not None]
        axis.plot([visit for visit, _ in points], values, "o-", ms=3.5, lw=1.6, color=colour, label=model)
    _title(axis, key, f"{metric}, {split}")
    axis.set_xlabel("visit")
    if all(row.value is not None and 0 <= row.value <= 1 for row in rows):
        axis.set_ylim(-0.02, 1.02)
    axis.grid(axis="x", visible=False)
    axis.legend(loc="best")


def roc(facts: Facts) -> str:
    """ROC curves of every classification head, one line per class, best first."""
    keys = [name for name, curve in facts.curves.items() if curve["classes"]]
    with plt.rc_context(STYLE):
        figure, axes = _grid(len(keys), height=3.4, columns=2)
        for axis, name in zip(axes, keys, strict=False):
            curve = facts.curves[name]
            axis.plot([0, 1], [0, 1], "--", color=GRID)
            ordered = sorted(curve["classes"].items(), key=lambda item: -item[1]["auroc"])
            styles = itertools.cycle(itertools.product(("-", "--", ":"), PALETTE))
            for (dash, colour), (label, line) in zip(styles, ordered, strict=False):
                text = f"{_plain(label)} {line['auroc']:.2f}"
                axis.plot(line["fpr"], line["tpr"], dash, lw=1.4, color=colour, label=text)
            _title(axis, TaskKey.parse(name), f"{curve['model']}, {curve['split']}")
            axis.set_xlabel("false positive rate")
            axis.set_ylabel("true positive rate")
            axis.set_aspect("equal", anchor="W")
            axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        return _svg(figure, "ROC curves of every classification head")


def _is(row: dict, key: TaskKey) -> bool:
    return row["dataset"] == key.dataset and row["task"] == key.task.value


def _running_mean(values: list[float]) -> list[float]:
    """The mean over the last fifth of a visit; few values stay as they are, so that the line meets the dots."""
    width = max(1, len(values) // 5)
    windows = [values[max(0, end - width) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def _grid(count: int, height: float = 2.5, columns: int = COLUMNS) -> tuple[Figure, list[Axes]]:
    rows = max(1, -(-count // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(11, height * rows), squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat


def _title(axis: Axes, key: TaskKey, note: str) -> None:
    """Dataset above, then task and note."""
    name = key.dataset if len(key.dataset) <= MOST_LETTERS else key.dataset[: MOST_LETTERS - 1] + "\u2026"
    axis.set_title(f"{_plain(name)}\n{key.task.value}  {_plain(note)}")


def _plain(text: str) -> str:
    """For matplotlib, dollar signs begin formulas and a leading underscore hides a label; names are neither."""
    return "\u200b" + text.replace("$", r"\$") if text.startswith("_") else text.replace("$", r"\$")


def _svg(figure: Figure, description: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = stream.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    size = f'width="100%" role="img" aria-label="{description}"'
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', size, svg, count=1)
