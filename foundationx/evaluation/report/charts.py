"""The report's charts of training: losses by step, metrics by visit, one small chart per head."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from foundationx.core.types import MetricRow, TaskKey
from foundationx.evaluation.measure import details
from foundationx.evaluation.report.facts import Facts, own_step
from foundationx.evaluation.report.html import head_of
from foundationx.evaluation.report.plot import Axis, Line, chart, counting_axis, figure, unit_axis, value_axis

PHASES = ("lock", "release")
"""Phases that are shaded; classes of the style sheet."""

MOST_VISITS = 50
"""Visits of a head that are marked; more would fill the chart."""

BY_MODEL = {"teacher": 0, "student": 1}
"""Kind of line of each model; any other has the third."""


def losses(facts: Facts, part: str = "task") -> str:
    """A part of the training loss of every head over the head's own steps, lock and release shaded.

    Heads without that part, such as a consistency loss that was never switched on, are left out; "" if all are.
    """
    keys = [key for key in facts.heads if any(part in row["losses"] for row in facts.log_of(key))]
    drawn = "".join(_loss(facts, key, part) for key in keys)
    return f"<div class='charts'>{drawn}</div>" if drawn else ""


def _loss(facts: Facts, key: TaskKey, part: str) -> str:
    phases = facts.phases(key)
    rows = [row for row in facts.log_of(key) if part in row["losses"]]
    cycles = {visit["index"]: visit["cycle"] for visit in facts.plan.get("visits", [])}
    points = [(own_step(phases, row["step"]), row["losses"][part], cycles.get(row["visit"], 0)) for row in rows]
    last = max(step for step, _, _ in points)
    bands = []
    for name, together in itertools.groupby(phases, key=lambda phase: phase.name):
        joined = list(together)
        start, end = joined[0].own_first, min(joined[-1].own_first + joined[-1].steps, last)
        if start < end and name in PHASES:
            bands.append((start, end, name))
    colour = facts.colour(key)
    lines = [Line("", [(step, loss) for step, loss, _ in points], colour, bare=True)]
    for cycle in sorted({cycle for _, _, cycle in points}):
        own = [(step, loss) for step, loss, of_cycle in points if of_cycle == cycle]
        means = _running_mean([loss for _, loss in own])
        lines.append(Line("", list(zip([step for step, _ in own], means, strict=True)), colour, dash=0))
    up = value_axis("loss", [loss for _, loss, _ in points])
    description = f"{part} loss of {key} by step"
    return figure(head_of(key), chart(lines, counting_axis("step of this head", last), up, description, bands=bands))


def metric_curves(facts: Facts) -> str:
    """Headline metric of every head by visit, a line per model; the head's own visits are marked."""
    curves = [(key, key.task.facts.headline) for key in facts.heads if facts.rows(key, key.task.facts.headline)]
    return f"<div class='charts'>{''.join(_metric_curve(facts, key, metric) for key, metric in curves)}</div>"


def _metric_curve(facts: Facts, key: TaskKey, metric: str) -> str:
    rows = facts.curve(key, metric)
    split = rows[0].split if rows else facts.split
    lines = []
    for model in facts.models:
        points = _points(row for row in rows if row.model == model or row.visit == 0)
        if points:
            lines.append(Line(model, points, facts.colour(key), dots=True, dash=BY_MODEL.get(model, 2)))
    own = [visit["index"] for visit in facts.visits_of(key)]
    marks = own if len(own) <= MOST_VISITS else []
    across, up = _axes(facts, f"{metric}, {split}", rows)
    drawing = chart(lines, across, up, f"{metric} of {key} by visit", marks=marks, level=facts.trivial(key, split))
    return figure(head_of(key), drawing, lines)


def other_curves(facts: Facts) -> str:
    """Every other metric of the newest model by visit, one chart a head; "" if there is none. Details are left out."""
    hidden = details()
    charts = []
    for key in facts.heads:
        lines, shown = list[Line](), list[MetricRow]()
        for name in facts.metric_names(key):
            rows = [row for row in facts.curve(key, name) if row.model in (facts.model, "student")]
            rows = [row for row in rows if row.model == facts.model or row.visit == 0]
            is_bounded = all(row.value is not None and 0 <= row.value <= 1 for row in rows)
            if name in hidden or name == key.task.facts.headline or len({row.visit for row in rows}) < 2:
                continue
            if is_bounded:
                lines.append(Line(name, _points(rows), len(lines), dots=True))
                shown += rows
        if lines:
            across, up = _axes(facts, "metric", shown)
            charts.append(figure(head_of(key), chart(lines, across, up, f"other metrics of {key} by visit"), lines))
    return f"<div class='charts'>{''.join(charts)}</div>" if charts else ""


def _points(rows: Iterable[MetricRow]) -> list[tuple[float, float]]:
    return [(row.visit, row.value) for row in rows if row.value is not None]


def _axes(facts: Facts, name: str, rows: Sequence[MetricRow]) -> tuple[Axis, Axis]:
    """Visits, and a metric: from 0 to 1 if all values are."""
    values = [row.value for row in rows if row.value is not None]
    last = max([row.visit for row in rows] + [visit["index"] for visit in facts.plan.get("visits", [])], default=1)
    is_unit = all(0 <= value <= 1 for value in values)
    return counting_axis("visit", max(last, 1)), unit_axis(name) if is_unit else value_axis(name, values)


def _running_mean(values: list[float]) -> list[float]:
    """The mean over the last fifth of a visit; few values stay as they are, so that the line meets the dots."""
    width = max(1, len(values) // 5)
    windows = [values[max(0, end - width) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]
