"""Conformal prediction sets: the published rule in a loop, coverage as promised, and coverage by site."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.evaluation.conformal import coverage_of, prediction_sets
from tests.helpers.predicted import labelled

pytest.importorskip("crepes")


def drawn(number, seed, split=Split.TEST, shift=0.0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((number, 2)) < [0.5, 0.15]).astype(float)
    scores = 1 / (1 + np.exp(-(1.5 * (truth - 0.5) + rng.normal(size=truth.shape) + shift)))
    labels = np.where(rng.random(truth.shape) < 0.1, np.nan, truth)
    return labelled(labels, scores, split=split)


def slow_sets(validation, probability, k, alpha):
    """Vovk's rule, label by label: the share of calibration labels of that kind at least as strange, and itself."""
    answers = []
    for value in (0, 1):
        same = validation.labels[:, k] == value
        p = validation.array("probabilities")[same, k].astype(float)
        strange = p if value == 0 else 1 - p
        own = probability if value == 0 else 1 - probability
        answers.append((np.sum(strange >= own) + 1) / (len(strange) + 1) > alpha)
    return answers


def test_sets_are_those_of_the_published_rule():
    validation, test = drawn(120, 0, Split.VAL), drawn(60, 1)
    sets = prediction_sets(validation, test, 0.1)
    assert sets.calibrated.tolist() == [True, True]
    for index in range(60):
        for k in range(2):
            probability = float(test.array("probabilities")[index, k])
            assert sets.included[index, k].tolist() == slow_sets(validation, probability, k, 0.1)


def test_coverage_is_as_promised_for_present_and_absent_labels():
    covered = {"present": [], "absent": []}
    for seed in range(25):
        validation, test = drawn(400, (seed, 0), Split.VAL), drawn(400, (seed, 1))
        sets = prediction_sets(validation, test, 0.2)
        for row in coverage_of(sets, test, {"all": np.ones(400, dtype=bool)}):
            covered["present"].append(row.present)
            covered["absent"].append(row.absent)
    for values in covered.values():
        assert 0.79 < np.mean(values) < 0.83


def test_a_site_with_other_images_is_shown_to_be_covered_less():
    validation, like, unlike = drawn(800, 0, Split.VAL), drawn(800, 1), drawn(800, 2, shift=1.2)
    site = np.arange(1600) >= 800
    both = labelled(
        np.concatenate([like.labels, unlike.labels]),
        np.concatenate([like.array("probabilities"), unlike.array("probabilities")]),
    )
    rows = coverage_of(prediction_sets(validation, both, 0.1), both, {"here": ~site, "elsewhere": site})
    coverage = {(row.site, row.class_name): row for row in rows}
    for name in ("a", "b"):
        assert coverage["here", name].absent > 0.85 > coverage["elsewhere", name].absent
        row = coverage["elsewhere", name]
        known = ~np.isnan(both.labels[:, "ab".index(name)]) & site
        assert row.n == known.sum()


def test_classes_with_few_labels_have_no_sets_and_other_heads_are_refused():
    validation = drawn(40, 0, Split.VAL)
    validation.labels[:, 1] = 0
    assert prediction_sets(validation, drawn(20, 1), 0.1).calibrated.tolist() == [True, False]
    with pytest.raises(DataError, match="other classes"):
        prediction_sets(replace(validation, classes=("x", "y")), drawn(20, 1), 0.1)


def test_the_command_prints_coverage_and_writes_sets(tmp_path, capsys):
    for predictions in (drawn(200, 0, Split.VAL), drawn(100, 1)):
        predictions.write(tmp_path / "run")
    assert main(["conformal", str(tmp_path / "run"), "--out", str(tmp_path / "sets.csv")]) == 0
    assert "coverage" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "sets.csv").read_text().splitlines()))
    assert len(rows) == 200 and {row["set"] for row in rows} <= {"present", "absent", "absent or present", "none"}
    assert main(["conformal", str(tmp_path / "nothing")]) == 2
    assert main(["conformal", str(tmp_path / "run"), "--alpha", "1.5"]) == 2
