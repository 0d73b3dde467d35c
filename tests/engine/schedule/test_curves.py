"""Values that change over training, against numbers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.config.run import CurveConfig
from foundationx.engine.schedule.curves import build_curve, cosine, linear, warmup


def test_ark_momentum_and_weight():
    # docs/methods/ark.md, "2.2 Momentum and consistency weight": m(s) = 1 - (1 - m0)(1 + cos(pi s/S))/2, coef(s) = 0.25
    # (1 - cos(pi s/S))
    momentum, weight = cosine(0.9, 1.0), cosine(0.0, 0.5)
    assert momentum(0.0) == pytest.approx(0.9)
    assert momentum(0.5) == pytest.approx(0.95)
    assert momentum(1 / 3) == pytest.approx(0.925)  # cos(pi/3) = 1/2
    assert weight(0.5) == pytest.approx(0.25)
    assert weight(1 / 3) == pytest.approx(0.125)
    # Ark+ derives one from the other: coef = 5 (m - 0.9)
    assert weight(0.3) == pytest.approx(5 * (momentum(0.3) - 0.9))


def test_linear_and_constant():
    assert linear(1.0, 3.0)(0.25) == pytest.approx(1.5)
    assert build_curve(0.8)(0.0) == build_curve(0.8)(1.0) == 0.8
    assert build_curve(CurveConfig(type="linear", start=0, end=2))(0.5) == pytest.approx(1.0)


def test_warmup_climbs_then_follows_the_curve():
    value = warmup(cosine(1.0, 0.0), 0.2)
    assert value(0.1) == pytest.approx(0.5)
    assert value(0.2) == pytest.approx(1.0)
    assert value(0.6) == pytest.approx(0.5)
    assert value(1.0) == pytest.approx(0.0, abs=1e-12)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_curves_stay_between_their_ends(start, end, done):
    for curve in (linear(start, end), cosine(start, end)):
        assert min(start, end) - 1e-9 <= curve(done) <= max(start, end) + 1e-9
