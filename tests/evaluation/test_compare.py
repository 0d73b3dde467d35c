"""Runs side by side: paired differences, tests, refusals and the three kinds of table."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import ConfigError, DataError
from foundationx.core.types import Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.compare.compare import compare
from foundationx.evaluation.compare.table import as_csv, chosen, escape, latex, markdown
from foundationx.evaluation.delong import delong
from foundationx.evaluation.evaluator import measure
from foundationx.evaluation.stored import store, stored_thresholds
from tests.helpers.predicted import boxed, labelled, masked

NUMBER = 120
HEAD = TaskKey.parse("made/classification")


def draw(noise, split=Split.TEST, seed=0):
    """Labels of two classes (some unknown) and scores that follow them but for noise; 60 patients."""
    rng = np.random.default_rng(seed)
    truth = rng.random((NUMBER, 2)) < 0.4
    labels = np.where(rng.random((NUMBER, 2)) < 0.1, np.nan, truth)
    probabilities = 1 / (1 + np.exp(-(truth - 0.5 + noise * rng.normal(size=truth.shape))))
    return labelled(
        labels, probabilities, patients=[f"p{position % 60:02d}" for position in range(NUMBER)], split=split
    )


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / name for name in ("base", "better", "same")]
    for folder, noise in zip(folders, (1.2, 0.3, 1.2), strict=True):
        draw(noise).write(folder)
        draw(noise, Split.VAL, seed=1).write(folder)
    return folders


def cells(comparison, metric, class_name="a"):
    (row,) = [r for r in comparison.rows if (r.metric, r.class_name, r.head) == (metric, class_name, HEAD)]
    return row.cells


def test_a_better_run_differs_and_an_equal_one_does_not(runs):
    comparison = compare(runs, repeats=300)
    assert comparison.runs == ("base", "better", "same")
    for metric, class_name in (("AUROC", "a"), ("AUROC", "mean"), ("AUPRC", "b"), ("F1", "mean"), ("MCC", "a")):
        base, better, same = cells(comparison, metric, class_name)
        assert base.low < base.value < base.high and base.p is None
        assert better.difference == pytest.approx(better.value - base.value) and better.difference > 0
        assert better.difference_low > 0 and better.p < 0.05, metric
        assert (same.difference, same.difference_low, same.difference_high, same.p) == (0, 0, 0, 1)
    base, better, _ = cells(comparison, "ECE")
    assert better.difference is not None and better.test == "bootstrap"


def test_differences_are_paired(runs):
    """Both runs see the same draws, whatever the order of their images."""
    shifted = draw(1.2)
    shifted.take(np.arange(NUMBER)[::-1]).write(runs[1])
    same = cells(compare(runs[:2], repeats=50), "AUROC")[1]
    assert same.difference_low == pytest.approx(0, abs=1e-12) and same.p == 1


def test_auroc_of_a_class_is_tested_by_delong_over_known_labels(runs):
    result = cells(compare(runs, repeats=50), "AUROC")[1]
    one, two = draw(1.2), draw(0.3)
    known = ~np.isnan(one.labels[:, 0])
    scores = [stored.array("probabilities")[known, 0].astype(float) for stored in (one, two)]
    expected = delong(one.labels[known, 0] == 1, *scores, np.unique(one.patients[known], return_inverse=True)[1])
    assert result.test == "DeLong" and result.p == pytest.approx(expected.p)
    assert result.difference == pytest.approx(expected.difference)


def test_thresholds_are_those_of_validation_and_of_the_rule(runs):
    by_youden, by_f1 = (cells(compare(runs[:1], repeats=0, rule=rule), "F1")[0].value for rule in ("youden", "f1"))
    assert by_youden != by_f1
    (runs[0] / "predictions" / "made" / "classification.val.teacher.npz").unlink()
    assert "F1" not in {row.metric for row in compare(runs[:1], repeats=0).rows}


def test_thresholds_of_another_visit_are_not_used(runs):
    replace(draw(1.2, Split.VAL, seed=1), visit=1).write(runs[0])
    assert "F1" not in {row.metric for row in compare(runs[:1], repeats=0).rows}


def test_boxes_and_masks_are_compared_and_heads_of_one_run_only_are_shown(runs):
    box, off = [10, 10, 50, 50], [10, 10, 50, 32]
    for folder, result in zip(runs, (off, box), strict=False):
        boxed([([(box, 0)], [(result, 0, 0.9)])] * 20).write(folder)
    true = np.ones((4, 1, 6, 6), bool)
    masked(np.tri(6, dtype=bool)[None, None].repeat(4, 0), true).write(runs[1])
    rows = {(r.head.task.value, r.metric): r.cells for r in compare(runs[:2], repeats=100).rows if r.class_name == "a"}
    base, better = rows["detection", "AP"]
    assert (base.value, better.value) == pytest.approx((0.2, 1.0)) and better.p < 0.05, "0.50 and 0.55 of ten overlaps"
    assert rows["detection", "AP40"][1].difference == 0 and rows["detection", "AP40"][1].p == 1
    assert rows["segmentation", "Dice"][0] is None and rows["segmentation", "Dice"][1].difference is None
    assert rows["segmentation", "HD95"][1].value > 0


def test_other_test_sets_are_refused(runs):
    stored = draw(0.3)
    replace(stored, images=np.array([*stored.images[:-2], "x.png", "y.png"])).write(runs[1])
    with pytest.raises(
        DataError, match=r"120 and 120 images, 4 of them in one only \(118.png, 119.png, x.png, \.\.\.\)"
    ):
        compare(runs, repeats=10)


def test_other_truth_patients_or_classes_are_refused(runs):
    stored = draw(0.3)
    labels = stored.labels.copy()
    labels[3, 0] = 1 - np.nan_to_num(labels[3, 0])
    changes = {
        "labels of 1 images differ, 3.png among them": {"labels": labels},
        "patients of 120 images differ": {"patients": np.char.add(stored.patients, "x")},
        "different classes: b, z in one only": {"classes": ("a", "z")},
    }
    for message, change in changes.items():
        replace(stored, **change).write(runs[1])
        with pytest.raises(DataError, match=message):
            compare(runs, repeats=10)


def test_classes_are_matched_by_name(runs):
    stored = draw(1.2)
    turned = {"probabilities": stored.array("probabilities")[:, ::-1]}
    replace(stored, classes=("b", "a"), labels=stored.labels[:, ::-1], recorded=turned).write(runs[1])
    result = compare(runs[:2], repeats=20)
    for name in "ab":
        assert cells(result, "AUROC", name)[1].difference == 0
        assert cells(result, "AUROC", name)[1].p == 1


def test_boxes_of_other_number_are_refused(runs):
    for folder, number in zip(runs, (1, 2), strict=False):
        boxed([([([10, 10, 50, 50], 0)] * number, [])]).write(folder)
    with pytest.raises(DataError, match="numbers of true boxes"):
        compare(runs[:2], repeats=10)


def test_missing_predictions_say_how_to_get_them(runs, tmp_path):
    with pytest.raises(DataError, match="holds no predictions of the student on test") as caught:
        compare(runs, model="student")
    assert "foundationx eval" in str(caught.value)


def test_tables_hold_the_numbers(runs):
    comparison = chosen(compare(runs[:2], repeats=100), ["AUROC", "ECE"], everything=True)
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert len(rows) == 2 * 3 * 2 and {row["run"] for row in rows} == {"base", "better"}
    for row in rows:
        cell = cells(comparison, row["metric"], row["class"])[["base", "better"].index(row["run"])]
        assert float(row["value"]) == cell.value and float(row["low"]) == cell.low
        assert row["p"] == ("" if cell.p is None else str(cell.p))
    better = cells(comparison, "AUROC")[1]
    text = f"{better.value:.3f} [{better.low:.3f}, {better.high:.3f}]"
    assert text in markdown(comparison) and text + "$^{*}$" in latex(comparison)
    lines = markdown(comparison).splitlines()
    assert {line.count("|") for line in lines[:8]} == {10}, "every line has the columns of the first"
    assert r"ECE $\downarrow$" in latex(comparison) and "ECE (lower)" in markdown(comparison)
    tabular = [line for line in latex(comparison).splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in tabular} == {5}


def test_latex_is_escaped():
    assert escape(r"a_b & 50% of #1 {x} \y ~^$") == (
        r"a\_b \& 50\% of \#1 \{x\} \textbackslash{}y \textasciitilde{}\textasciicircum{}\$"
    )


def test_points_of_froc_are_shown_where_they_are_asked_for(tmp_path):
    boxed([([([10, 10, 50, 50], 0)], [])]).write(tmp_path)
    comparison = compare([tmp_path], repeats=0)
    names = [
        {r.metric for r in chosen(comparison, *how).rows} for how in ((None, False), (None, True), (["FROC 2"], 0))
    ]
    assert names[0] == {"AP40", "AP50", "AP", "FROC"} and names[1] > names[0] and names[2] == {"FROC 2"}


def test_means_are_shown_unless_classes_are_asked_for(runs):
    comparison = compare(runs[:1], repeats=0)
    assert {row.class_name for row in chosen(comparison, None, everything=False).rows} == {"mean"}
    assert {row.class_name for row in chosen(comparison, None, everything=True).rows} == {"a", "b", "mean"}
    with pytest.raises(ConfigError, match="did you mean 'AUROC'"):
        chosen(comparison, ["AUROK"], everything=False)


def test_command_prints_and_writes(runs, tmp_path, capsys):
    outputs = [tmp_path / "table.md", tmp_path / "table.csv", tmp_path / "table.tex"]
    names = [str(path) for path in (*runs[:2], "--out", *outputs)]
    assert main(["compare", *names, "--repeats", "20"]) == 0
    assert "made/classification" in capsys.readouterr().out
    assert all("AUROC" in path.read_text() for path in outputs)
    for wrong in (["--out", "table.pdf"], ["--repeats", "-1"], ["--metric", "nothing"]):
        assert main(["compare", str(runs[0]), *wrong]) == 2
        assert "ConfigError" in capsys.readouterr().err


def test_thresholds_of_validation_are_written_and_used_for_test(tmp_path):
    val, test = draw(0.5, Split.VAL, seed=1), draw(0.5)
    evaluation = measure([test, val])
    store(tmp_path, evaluation)
    rows = WorkDir(tmp_path).read_metrics()
    assert rows == evaluation.rows, "the file holds the evaluation's own rows"
    assert [row for row in rows if row.split == "val"] == measure([val]).rows
    stored = {(r.metric, r.split) for r in rows}
    assert ("F1", "test") in stored and ("F1", "val") not in stored and ("ECE", "val") in stored
    threshold = json.loads((tmp_path / "thresholds.json").read_text())[str(HEAD)]["teacher"]["a"]
    assert threshold["split"] == "val" and threshold["rule"] == "youden"
    labels, scores = val.labels[:, 0], val.array("probabilities")[:, 0]
    best = max((scores >= t)[labels == 1].mean() - (scores >= t)[labels == 0].mean() for t in scores[~np.isnan(labels)])
    value = threshold["value"]
    assert (scores >= value)[labels == 1].mean() - (scores >= value)[labels == 0].mean() == pytest.approx(best)
    assert threshold["positives"] == (labels == 1).sum()


def test_metrics_of_one_split_stay_when_the_other_is_stored(tmp_path):
    store(tmp_path, measure([draw(0.5, Split.VAL, seed=1)]))
    thresholds = stored_thresholds(tmp_path, [HEAD], ["teacher", "student"], visit=3)
    assert list(thresholds) == [(HEAD, "teacher")]
    assert not stored_thresholds(tmp_path, [HEAD], ["teacher"], visit=2), "of another visit"
    store(tmp_path, measure([draw(0.5)], thresholds))
    result = {(row.metric, row.split) for row in WorkDir(tmp_path).read_metrics()}
    assert {("AUROC", "val"), ("AUROC", "test"), ("F1", "test")} <= result


def test_seeds_are_compared_by_their_mean_and_widen_intervals(tmp_path):
    noises = {"base": (1.0, 1.25, 1.1), "new": (0.9, 1.15, 1.3)}
    for name, of_run in noises.items():
        for number, noise in enumerate(of_run):
            draw(noise).write(tmp_path / f"{name}{number}")
    groups = [tuple(tmp_path / f"{name}{number}" for number in range(3)) for name in noises]
    several = compare(groups, repeats=400)
    singles = [compare([folder], repeats=400) for folder in groups[0]]
    assert several.runs == ("base0 (3 runs)", "new0 (3 runs)") and several.seeds == (3, 3)
    for class_name in ("a", "mean"):
        cell, other = cells(several, "AUROC", class_name)
        own = [cells(single, "AUROC", class_name)[0] for single in singles]
        assert cell.value == pytest.approx(np.mean([entry.value for entry in own]))
        assert cell.high - cell.low > max(entry.high - entry.low for entry in own)
        assert other.difference == pytest.approx(other.value - cell.value) and other.test == "bootstrap"
    plain = compare([groups[0][0], groups[1][0]], repeats=400)
    assert cells(plain, "AUROC", "a")[1].test == "DeLong" and plain.seeds == (1, 1)
    assert "other seeds" in markdown(several) and "other seeds" not in markdown(plain)


def test_the_command_takes_seeds_with_commas(tmp_path, capsys):
    for number, noise in enumerate((1.0, 1.2, 0.4)):
        draw(noise).write(tmp_path / f"run{number}")
    names = [str(tmp_path / f"run{number}") for number in range(3)]
    assert main(["compare", ",".join(names[:2]), names[2], "--repeats", "100", "--metric", "AUROC"]) == 0
    assert "run0 (2 runs)" in capsys.readouterr().out
    labelled(np.eye(2), np.eye(2)).write(tmp_path / "other")
    boxed([((), ())] * 2).write(tmp_path / "run1")
    (tmp_path / "run1" / "predictions" / "made" / "classification.test.teacher.npz").unlink()
    assert main(["compare", ",".join(names[:2])]) == 2
    assert "has no head" in capsys.readouterr().err
