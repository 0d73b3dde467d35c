"""The report's charts, as SVG that stands in the page itself."""

from __future__ import annotations

import io
import itertools
import re

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundationx.evaluate.score import HEADLINE
from foundationx.types import TaskKey
from foundationx.watch.report.facts import Facts

INK, QUIET, GRID = "#1f2a37", "#6b7787", "#e4e8ee"
STUDENT, TEACHER, LOCK = "#8fa6bf", "#0b6e99", "#f2e3c6"
PALETTE = ("#0b6e99", "#c65d21", "#3f8f5f", "#8a5aa8", "#b8860b", "#b5485d", "#4b6cb7", "#5f6b2d", "#2f8f8f", "#7a5c3e")
COLUMNS = 3
MOST_LETTERS = 38
"""Of a chart's title, so that it ends before the next chart begins."""

_STYLE = {
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


def losses(facts: Facts) -> str:
    """Training loss of every head over steps; lock phases are shaded."""
    keys = [key for key in facts.heads if any(_is(row, key) for row in facts.log)]
    with plt.rc_context(_STYLE):
        figure, axes = _grid(len(keys))
        for axis, key in zip(axes, keys, strict=False):
            rows = [row for row in facts.log if _is(row, key)]
            _shade_locks(axis, facts, key)
            axis.plot([row["step"] for row in rows], [row["losses"]["task"] for row in rows], ".", ms=3, color=TEACHER)
            _smooth(axis, rows)
            _title(axis, key, "")
            axis.set_xlabel("step")
            axis.set_ylim(bottom=0)
        return _svg(figure, "task loss of every head by step")


def metric_curves(facts: Facts) -> str:
    """Headline metric of every head by visit: student and teacher; the head's own visits are marked."""
    keys = [key for key in facts.heads if facts.rows(key, HEADLINE[key.task])]
    with plt.rc_context(_STYLE):
        figure, axes = _grid(len(keys))
        for axis, key in zip(axes, keys, strict=False):
            _metric_curve(axis, facts, key)
        return _svg(figure, "headline metric of every head by visit")


def _metric_curve(axis: Axes, facts: Facts, key: TaskKey) -> None:
    metric = HEADLINE[key.task]
    split = "val" if facts.rows(key, metric, split="val") else facts.split
    rows = [row for row in facts.rows(key, metric, split=split) if row.class_name == "mean" and row.value is not None]
    for visit in facts.plan.get("visits", []):
        if _is(visit, key):
            axis.axvline(visit["index"], color=GRID, lw=3, zorder=0)
    for model, colour in (("student", STUDENT), ("teacher", TEACHER)):
        own = [row for row in rows if row.model == model or row.visit == 0]
        axis.plot([r.visit for r in own], [r.value for r in own], "o-", ms=3.5, lw=1.6, color=colour, label=model)
    _title(axis, key, f"{metric}, {split}")
    axis.set_xlabel("visit")
    axis.set_ylim(-0.02, 1.02)
    axis.legend(loc="best")


def roc(facts: Facts) -> str:
    """ROC curves of every classification head, a line a class, best first."""
    keys = [name for name, curve in facts.curves.items() if curve["classes"]]
    with plt.rc_context(_STYLE):
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
            axis.set_aspect("equal")
            axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        return _svg(figure, "ROC curves of every classification head")


def _is(row: dict, key: TaskKey) -> bool:
    return row["dataset"] == key.dataset and row["task"] == key.task.value


def _shade_locks(axis: Axes, facts: Facts, key: TaskKey) -> None:
    for visit in facts.plan.get("visits", []):
        for phase in visit["phases"]:
            if _is(visit, key) and phase["name"] == "lock":
                axis.axvspan(phase["first_step"], phase["first_step"] + phase["steps"], color=LOCK, lw=0)


def _smooth(axis: Axes, rows: list[dict]) -> None:
    """A running mean over five records, drawn visit by visit: between a head's visits there is no loss."""
    for visit in sorted({row["visit"] for row in rows}):
        own = [row for row in rows if row["visit"] == visit]
        values = [row["losses"]["task"] for row in own]
        mean = [sum(values[max(0, n - 4) : n + 1]) / len(values[max(0, n - 4) : n + 1]) for n in range(len(values))]
        axis.plot([row["step"] for row in own], mean, lw=1.6, color=TEACHER)


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
