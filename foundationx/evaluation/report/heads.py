"""The page's part on each head: its classes, decisions at thresholds, curves, subgroups and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from foundationx.core.types import TaskKey
from foundationx.evaluation.curves import Curve
from foundationx.evaluation.measure import details as hidden_metrics
from foundationx.evaluation.metrics.froc import RATES
from foundationx.evaluation.outcomes import (
    BEST,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    MEDIAN,
    WORST,
    Case,
    Counts,
)  # fmt: skip
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.html import between, details, head_of, quiet, rounded, table_of
from foundationx.evaluation.report.measured import Measured
from foundationx.evaluation.report.pictures import figure as picture_of
from foundationx.evaluation.report.pictures import side_of
from foundationx.evaluation.report.plot import Axis, Line, chart, figure, unit_axis
from foundationx.evaluation.report.results import glossary, head_anchor, newest, swatch, unit_of
from foundationx.evaluation.statistic import MEAN
from foundationx.tasks.definition import task_of

MOST_OPEN = 4
"""Heads up to which every part is open from the start."""

MOST_LINES = 20
"""Classes of a chart; those with the most positives stand for the others."""

KINDS = (WORST, FALSE_NEGATIVE, FALSE_POSITIVE, MEDIAN, BEST)
"""Kinds of pictures in the order in which they stand."""


def heads(facts: Facts) -> str:
    """A part for every head that was evaluated or has pictures."""
    shown = [key for key in facts.heads if key in facts.examples or facts.metric_names(key)]
    if not shown:
        return ""
    values: dict[tuple[str, str], dict[tuple[str, str], tuple[int, float | None]]] = {}
    for (dataset, task, metric, name), (n, by_model) in newest(facts, facts.split).items():
        values.setdefault((dataset, task), {})[metric, name] = (n, by_model.get(facts.model))
    side = side_of(sum(min(len(facts.examples[key][2]), facts.pictures_each) for key in facts.examples))
    opened = len(shown) <= MOST_OPEN
    parts = [
        f"<details class='head' id='{head_anchor(key)}'{' open' if opened else ''}>"
        f"<summary><h3>{swatch(facts, key)}{head_of(key)}</h3></summary>"
        f"{_part(facts, key, values.get((key.dataset, key.task.value), {}), side)}</details>"
        for key in shown
    ]
    what = f"The {facts.model} on the {facts.split} split, head by head."
    return f"<section id='heads'><h2>Heads</h2>{quiet(what)}{''.join(parts)}</section>\n"


def _part(facts: Facts, key: TaskKey, values: Mapping[tuple[str, str], tuple[int, float | None]], side: int) -> str:
    measured = facts.measured.get(key)
    classes = _classes(values, key, measured)
    decisions = _decisions(facts, key, measured)
    curves = _curves(facts, key, measured)
    return f"{classes}{decisions}{curves}{_groups(facts, key)}{_pictures(facts, key, measured, side)}"


def _classes(
    values: Mapping[tuple[str, str], tuple[int, float | None]], key: TaskKey, measured: Measured | None
) -> str:
    """A row per class, a column per metric; the interval beside the headline metric."""
    if not values:
        return ""
    headline, without = key.task.facts.headline, hidden_metrics()
    metrics = [name for name in dict.fromkeys(metric for metric, _ in values) if name not in without]
    metrics.sort(key=lambda name: name != headline)
    names = dict.fromkeys(name for _, name in values)
    ordered = [MEAN, *(name for name in names if name != MEAN)] if MEAN in names else list(names)
    rows = []
    for name in ordered:
        numbers = [values.get((metric, name), (0, None)) for metric in metrics]
        cells = [rounded(value) for _, value in numbers]
        ends = measured.intervals.get(name) if measured else None
        interval = [between(*ends) if ends else "-"] if measured else []
        n = "-" if name == MEAN else f"{numbers[0][0]:,}"
        rows.append([name, n, cells[0], *interval, *cells[1:]])
    interval = ["95 % interval"] if measured else []
    columns = [_with_unit(name) for name in metrics]
    table = table_of(["class", "n", columns[0], *interval, *columns[1:]], rows, len(columns) + len(interval) + 1)
    return f"<h4>Classes</h4>{table}{glossary(metrics)}"


def _with_unit(metric: str) -> str:
    unit = unit_of(metric)
    return metric if unit == "0 to 1" else f"{metric} ({unit})"


def _decisions(facts: Facts, key: TaskKey, measured: Measured | None) -> str:
    """Right and wrong decisions of each class at its threshold, and where that comes from."""
    outcome = measured.outcome if measured else None
    if outcome is None or not outcome.counts:
        return ""
    origin, by_boxes = facts.thresholds_of(key), outcome.unit == "boxes"
    rows = [[name, *_counts_row(counts, origin.get(name), by_boxes)] for name, counts in outcome.counts.items()]
    columns = ["class", "chosen by", "threshold", "true positive", "false positive", "false negative"]
    columns += [] if by_boxes else ["true negative"]
    columns += ["sensitivity", "precision"] + ([] if by_boxes else ["specificity"])
    note = f"Numbers of {outcome.unit}: {outcome.rule}. Thresholds are chosen on validation alone."
    return f"<h4>Decisions at the threshold</h4>{quiet(note)}{table_of(columns, rows, len(columns) - 2)}"


def _counts_row(counts: Counts, origin: Mapping[str, object] | None, by_boxes: bool) -> list[str]:
    right, wrong, missed = counts.true_positives, counts.false_positives, counts.false_negatives
    absent = counts.true_negatives
    chosen = (
        f"{origin.get('rule', '-')} on {origin.get('split', '-')} "
        f"({origin.get('positives', '-')} with, {origin.get('negatives', '-')} without)"
        if origin
        else "not chosen"
    )
    numbers = [f"{counts.threshold:.3f}", f"{right:,}", f"{wrong:,}", f"{missed:,}"]
    shares = [_share(right, right + missed), _share(right, right + wrong)]
    if by_boxes or absent is None:
        return [chosen, *numbers, *shares]
    return [chosen, *numbers, f"{absent:,}", *shares, _share(absent, absent + wrong)]


def _share(part: int, whole: int) -> str:
    return rounded(part / whole if whole else None)


def _curves(facts: Facts, key: TaskKey, measured: Measured | None) -> str:
    """ROC, precision and recall, calibration, FROC: those that the head has."""
    charts = [_roc(facts, key)]
    if measured is not None:
        recall, precision = unit_axis("recall"), unit_axis("precision")
        mean, share = unit_axis("mean probability"), unit_axis("share of positives")
        charts += [
            _chart(key, "Precision and recall", measured.precision_recall, recall, precision),
            _chart(key, "Calibration", measured.calibration, mean, share, calibrated=True),
            _chart(key, "FROC", measured.froc, _rates(), unit_axis("sensitivity")),
        ]
    drawn = "".join(charts)
    return f"<h4>Curves</h4><div class='charts'>{drawn}</div>" if drawn else ""


def _rates() -> Axis:
    """False positives per image, doubling."""
    rates = tuple((rate, name) for name, rate in RATES.items())
    return Axis("false positives per image", rates[0][0], rates[-1][0], rates, logarithmic=True)


def _roc(facts: Facts, key: TaskKey) -> str:
    """ROC curves, which are kept at every evaluation; the best class first."""
    curve = facts.curves.get(str(key))
    if not curve or not curve["classes"]:
        return ""
    ordered = sorted(curve["classes"].items(), key=lambda item: -item[1]["auroc"])[:MOST_LINES]
    lines = [
        Line(f"{name} {line['auroc']:.3f}", list(zip(line["fpr"], line["tpr"], strict=True)), number)
        for number, (name, line) in enumerate(ordered)
    ]
    across, up = unit_axis("false positive rate"), unit_axis("true positive rate")
    title = f"ROC, area beside the class <small>{escape(curve['model'])}, {escape(curve['split'])}</small>"
    return figure(title, chart(lines, across, up, f"ROC curves of {key}", diagonal=True), lines)


def _chart(
    key: TaskKey, title: str, curves: Mapping[str, Curve], across: Axis, up: Axis, calibrated: bool = False
) -> str:
    """One kind of curve, a line per class; "" if there is none. Dots and the diagonal belong to calibration."""
    shown = list(curves.items())[:MOST_LINES]
    if not shown:
        return ""
    lines = []
    for number, (name, curve) in enumerate(shown):
        kept = curve.x > 0 if across.logarithmic else slice(None)
        points = list(zip(curve.x[kept].tolist(), curve.y[kept].tolist(), strict=True))
        lines.append(Line(name, points, number, dots=calibrated))
    more = f" <small>{len(shown)} of {len(curves)} classes</small>" if len(shown) < len(curves) else ""
    drawing = chart(lines, across, up, f"{title} of {key}", diagonal=calibrated)
    return figure(f"{escape(title)}{more}", drawing, lines)


def _groups(facts: Facts, key: TaskKey) -> str:
    """The headline metric by sex, age, view and hospital, as far as the card names them."""
    own = [row for row in facts.groups if (row["dataset"], row["task"]) == (key.dataset, key.task.value)]
    own = [row for row in own if (row["model"], row["split"], row["visit"]) == (facts.model, facts.split, facts.visit)]
    if not own:
        return ""
    best: dict[str, float] = {}
    for row in own:
        if row["value"] is not None:
            best[row["attribute"]] = max(row["value"], best.get(row["attribute"], row["value"]))
    rows = []
    for row in own:
        gap = None if row["value"] is None else best[row["attribute"]] - row["value"]
        ends = between(row["low"], row["high"]) or "-"
        numbers = [f"{row['images']:,}", f"{row['patients']:,}", rounded(row["value"]), ends, rounded(gap)]
        rows.append([row["attribute"], row["group"], *numbers])
    metric = key.task.facts.headline
    columns = ["attribute", "group", "images", "patients", metric, "95 % interval", "below the best group"]
    note = f"{metric}, mean over classes. A gap between small groups is mostly chance: look at the intervals."
    return f"<h4>Subgroups</h4>{quiet(note)}{table_of(columns, rows, 5)}"


def _pictures(facts: Facts, key: TaskKey, measured: Measured | None, side: int) -> str:
    """Worst, median and best images, false negatives and false positives; else the first ones."""
    if key not in facts.examples:
        return ""
    classes, model, examples = facts.examples[key]
    most = facts.pictures_each
    cases = measured.cases if measured else {}
    chosen = [example for example in examples if example.name in cases]
    legend = f"<p class='quiet'>{escape(model)}. {task_of(key.task).legend} Choose a picture to enlarge it.</p>"
    if not chosen or measured is None or measured.outcome is None:
        figures = "".join(picture_of(key, example, classes, side) for example in examples[:most])
        return f"<h4>Pictures</h4>{legend}<p class='quiet'>The first images.</p><div class='pictures'>{figures}</div>"
    blocks = []
    for kind in KINDS:
        own = [example for example in chosen if _first_kind(cases[example.name]) == kind]
        own.sort(key=lambda example: -measured.errors[example.name])
        figures = "".join(picture_of(key, example, classes, side, _reasons(example.name, measured)) for example in own)
        if figures:
            title = f"{kind[0].upper()}{kind[1:]}{'s' if kind in (FALSE_NEGATIVE, FALSE_POSITIVE) else ''}"
            blocks.append(details(title, f"<div class='pictures'>{figures}</div>", opened=True))
    note = quiet(f"Error: {measured.outcome.measure}. Each picture stands where it belongs first.")
    return f"<h4>Pictures</h4>{legend}{note}{''.join(blocks)}"


def _first_kind(cases: Iterable[Case]) -> str:
    kinds = {case.kind for case in cases}
    return next(kind for kind in (WORST, BEST, MEDIAN, FALSE_NEGATIVE, FALSE_POSITIVE) if kind in kinds)


def _reasons(name: str, measured: Measured) -> list[str]:
    """Why an image is shown, in words."""
    reasons = [f"error {measured.errors[name]:.3f}"]
    for kind in KINDS:
        own = [case for case in measured.cases[name] if case.kind == kind]
        if own:
            of = ", ".join(case.class_name for case in own if case.class_name)
            reasons.append(f"{kind}: {of}" if of else kind)
    return reasons
