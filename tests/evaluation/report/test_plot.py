"""Small charts: where their points stand, and that thinning keeps the course of a line."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.evaluation.report.plot import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    NEAR,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Line,
    chart,
    counting_axis,
    legend,
    thinned,
    unit_axis,
    value_axis,
)  # fmt: skip


def points_of(svg):
    """Absolute points of the first line."""
    path = re.search(r"class='line [^']*' d='([^']+)'", svg).group(1)
    numbers = [tuple(map(float, pair.split())) for pair in re.split("[Ml]", path)[1:]]
    return np.cumsum(numbers, axis=0)


def test_points_stand_where_their_values_are():
    places = points_of(chart([Line("a", [(0, 0), (0.5, 1), (1, 0.25)], 0)], unit_axis("x"), unit_axis("y"), "d"))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    expected = [(0, 0), (0.5, 1), (1, 0.25)]
    for place, (x, y) in zip(places, expected, strict=True):
        assert place == pytest.approx((LEFT + x * inner_width, HEIGHT - BOTTOM - y * inner_height), abs=0.11)


def test_a_logarithmic_axis_doubles_in_equal_steps():
    axis = Axis("rate", 0.125, 8, (), logarithmic=True)
    assert axis.shares([2.0**power for power in range(-3, 4)]) == pytest.approx(np.arange(7) / 6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=2, max_size=80))
def test_a_thinned_line_passes_near_every_point_it_left_out(points):
    places = np.array(points)
    kept = thinned(places, most=1000)
    assert (kept[0] == places[0]).all() and (kept[-1] == places[-1]).all()
    for point in places:
        begin, end = kept[:-1], kept[1:]
        along = end - begin
        length = (along**2).sum(1)
        share = np.clip(((point - begin) * along).sum(1) / np.where(length > 0, length, 1), 0, 1)
        assert np.hypot(*(point - begin - share[:, None] * along).T).min() <= NEAR + 1e-9


def test_a_long_line_is_a_short_path():
    x = np.linspace(0, 1, 5000)
    wave = list(zip(x, 0.5 + 0.4 * np.sin(40 * x), strict=True))
    places = points_of(chart([Line("a", wave, 0)], unit_axis("x"), unit_axis("y"), "d"))
    assert len(places) <= MOST_POINTS


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7), (0, 13), (0, 60), (0, 999), (0, 12345), (3, 4)])
def test_ticks_of_counts_are_whole_round_and_few(low, high):
    ticks = [value for value, _ in counting_axis("n", high, low).ticks]
    assert 1 <= len(ticks) <= 7 and all(value == int(value) and low <= value <= high for value in ticks)


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [-3.0, 2.0], [1e-9], [1e12], [float("1e308"), 0.0]])
def test_any_values_have_an_axis(values):
    axis = value_axis("v", values)
    assert axis.low < axis.high
    assert ((axis.shares(values) >= 0) & (axis.shares(values) <= 1)).all()


def test_names_are_escaped():
    name = "<script>'\"&"
    svg = chart([Line(name, [(0, 0)], 0)], unit_axis(name), unit_axis(name), name) + legend([Line(name, [], 0)])
    assert "<script" not in svg and "aria-label='&lt;script&gt;&#x27;&quot;&amp;'" in svg
