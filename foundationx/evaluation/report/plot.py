"""Small line charts as SVG that stands in the page itself: a path a line, colours from the page's style sheet.

A chart of the report is a few hundred bytes, follows light and dark, and is drawn without a plotting library. Its
legend is a list of the page below it, so that words keep their size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

COLOURS = 10
"""Colours of the style sheet: classes ``c0`` to ``c9``."""

DASHES = 3
"""Kinds of lines of the style sheet: classes ``d0`` (solid) to ``d2``."""

WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 32

MOST_POINTS = 60
"""Points of a drawn line; more are thinned where they change its course least."""

NEAR = 0.35
"""Units of the drawing by which thinning may move a line."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: Its name in the legend.
        points: (x, y) in the chart's values, in their order.
        colour: Number of its colour; those after the last begin again with another kind of line.
        dots: Whether points are marked, ``MOST_POINTS`` of them at most.
        bare: Whether there are dots and no line.
        dash: Kind of line; None: by the number of its colour.
    """

    label: str
    points: Sequence[Point]
    colour: int
    dots: bool = False
    bare: bool = False
    dash: int | None = None

    @property
    def style(self) -> str:
        """Classes of the style sheet."""
        dash = (self.colour // COLOURS) % DASHES if self.dash is None else self.dash
        return f"c{self.colour % COLOURS} d{dash}"


@dataclass(frozen=True)
class Axis:
    """One axis: its name with unit, its ends, and the values that are marked with their words.

    A logarithmic axis is that of ``log2``.
    """

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def shares(self, values: Sequence[float]) -> np.ndarray:
        """Where values (n) stand between the ends, in [0, 1]."""
        low, high, places = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.logarithmic:
            low, high, places = math.log2(low), math.log2(high), np.log2(places)
        return np.clip((places - low) / (high - low), 0.0, 1.0) if high > low else np.full(places.shape, 0.5)


def unit_axis(name: str) -> Axis:
    """From 0 to 1."""
    return Axis(name, 0.0, 1.0, tuple((v, f"{v:g}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)))


def counting_axis(name: str, high: float, low: float = 0.0) -> Axis:
    """Whole numbers, such as steps and visits, from ``low`` to ``high``."""
    return Axis(name, low, high, tuple((v, f"{v:,.0f}") for v in _round_ticks(low, high, whole=True)))


def value_axis(name: str, values: Sequence[float]) -> Axis:
    """From 0, or the least value if that is below it, to the greatest."""
    low, high = min([0.0, *values]), max(values, default=1.0)
    high = high if high > low else low + 1.0
    return Axis(name, low, high, tuple((v, f"{v:.4g}") for v in _round_ticks(low, high)))


def _round_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """At most six round numbers between two."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    step = 10.0 ** math.floor(math.log10(span / 5))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    step = max(1.0, math.ceil(step)) if whole else step
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(
    lines: Sequence[Line],
    across: Axis,
    up: Axis,
    description: str,
    *,
    bands: Sequence[tuple[float, float, str]] = (),
    marks: Sequence[float] = (),
    level: float | None = None,
    diagonal: bool = False,
) -> str:
    """One chart as SVG.

    Args:
        lines: Lines, the first at the bottom.
        across: Horizontal axis.
        up: Vertical axis.
        description: What it shows, for those who do not see it.
        bands: Stretches of the horizontal axis that are shaded: begin, end, class of the style sheet.
        marks: Values of the horizontal axis with a bar behind the lines.
        level: Value of the vertical axis with a dotted line.
        diagonal: Whether a line leads from the lower left to the upper right corner.
    """
    parts = [_band(across, *band) for band in bands]
    parts += [f"<path class='mark' d='M{_x(across, value)} {TOP}V{HEIGHT - BOTTOM}'/>" for value in marks]
    parts += [_frame(across, up)]
    if diagonal:
        parts.append(f"<path class='guide' d='M{LEFT} {HEIGHT - BOTTOM}L{WIDTH - RIGHT} {TOP}'/>")
    if level is not None:
        parts.append(f"<path class='level' d='M{LEFT} {_y(up, level)}H{WIDTH - RIGHT}'/>")
    parts += [_line(line, across, up) for line in lines]
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(description, quote=True)}'>"
        f"{''.join(parts)}</svg>"
    )


def legend(lines: Sequence[Line]) -> str:
    """The lines' names, each beside its line; "" if there is one without a name."""
    named = [line for line in lines if line.label]
    items = "".join(
        f"<li><svg viewBox='0 0 18 8' aria-hidden='true'><path class='line {line.style}' d='M0 4H18'/></svg>"
        f"{escape(line.label)}</li>"
        for line in named
    )
    return f"<ul class='legend'>{items}</ul>" if named else ""


def figure(title: str, drawing: str, lines: Sequence[Line] = ()) -> str:
    """A chart with its title, which is HTML, and the legend of ``lines``."""
    return f"<figure class='chart'><figcaption>{title}</figcaption>{drawing}{legend(lines)}</figure>"


def _frame(across: Axis, up: Axis) -> str:
    """Grid, words of the ticks, names of the axes."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    grid = "".join(f"M{LEFT} {_y(up, value)}H{right}" for value, _ in up.ticks)
    words = "".join(
        f"<text x='{LEFT - 4}' y='{_y(up, value) + 4}' text-anchor='end'>{escape(word)}</text>"
        for value, word in up.ticks
    )
    words += "".join(
        f"<text x='{_x(across, value)}' y='{bottom + 13}' text-anchor='middle'>{escape(word)}</text>"
        for value, word in across.ticks
    )
    middle = (TOP + bottom) // 2
    words += f"<text x='{(LEFT + right) // 2}' y='{HEIGHT - 4}' text-anchor='middle'>{escape(across.name)}</text>"
    words += f"<text transform='translate(11 {middle}) rotate(-90)' text-anchor='middle'>{escape(up.name)}</text>"
    return f"<path class='grid' d='{grid}'/>{words}"


def _band(across: Axis, begin: float, end: float, style: str) -> str:
    left, right = _x(across, begin), _x(across, end)
    return f"<rect class='{style}' x='{left}' y='{TOP}' width='{right - left}' height='{HEIGHT - BOTTOM - TOP}'/>"


def _line(line: Line, across: Axis, up: Axis) -> str:
    if not line.points:
        return ""
    x, y = zip(*line.points, strict=True)
    places = np.stack([_places(across, x, True), _places(up, y, False)], axis=1)
    some = places[np.unique(np.linspace(0, len(places) - 1, MOST_POINTS).astype(int))]
    dots = f"<path class='dots {line.style}' d='{_dots(some)}'/>"
    if line.bare:
        return dots
    return f"<path class='line {line.style}' d='{_path(thinned(places))}'/>{dots if line.dots else ''}"


def thinned(places: np.ndarray, most: int = MOST_POINTS, near: float = NEAR) -> np.ndarray:
    """Of points (n, 2) of a line at most ``most``, both ends among them.

    A point is left out if the line between its neighbours passes within ``near`` of it (Douglas and Peucker, 1973); the
    tolerance is doubled until few enough are left.
    """
    while True:
        keep = np.zeros(len(places), dtype=bool)
        keep[[0, -1]] = True
        waiting = [(0, len(places) - 1)]
        while waiting:
            first, last = waiting.pop()
            if last - first < 2:
                continue
            distance = _distances(places[first + 1 : last], places[first], places[last])
            furthest = int(distance.argmax())
            if distance[furthest] > near:
                keep[first + 1 + furthest] = True
                waiting += [(first, first + 1 + furthest), (first + 1 + furthest, last)]
        if keep.sum() <= max(most, 2):
            return places[keep]
        near *= 2


def _distances(points: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance of each point (n, 2) from the stretch between two others."""
    along = end - begin
    length = float(along @ along)
    share = np.clip((points - begin) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.asarray(np.hypot(*(points - (begin + share[:, None] * along)).T))


def _path(places: np.ndarray) -> str:
    """One path with steps of a tenth of a unit, each relative to the one before."""
    tenths = np.round(places * 10).astype(int)
    steps = np.diff(tenths, axis=0)
    first = f"M{_tenth(tenths[0, 0])} {_tenth(tenths[0, 1])}"
    return first + "".join(f"l{_tenth(x)} {_tenth(y)}" for x, y in steps if x or y)


def _dots(places: np.ndarray) -> str:
    """Lines of no length, which round ends make dots."""
    return "".join(f"M{_tenth(x)} {_tenth(y)}h0" for x, y in np.round(places * 10).astype(int))


def _tenth(value: int) -> str:
    return f"{value / 10:g}"


def _places(axis: Axis, values: Sequence[float], horizontal: bool) -> np.ndarray:
    """Where values (n) of an axis stand in the drawing."""
    shares = axis.shares(values)
    if horizontal:
        return LEFT + shares * (WIDTH - LEFT - RIGHT)
    return HEIGHT - BOTTOM - shares * (HEIGHT - TOP - BOTTOM)


def _x(axis: Axis, value: float) -> float:
    return round(float(_places(axis, [value], True)[0]), 1)


def _y(axis: Axis, value: float) -> float:
    return round(float(_places(axis, [value], False)[0]), 1)
