"""The harm ledger: differences, tests and verdicts of heads that were trained jointly and alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from foundationx.apps.cli.main import main
from foundationx.core.errors import ConfigError, DataError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.bootstrap import Estimate
from foundationx.evaluation.ledger.judge import Absent, HeadRuns, Verdict, holm, judge, paired_test
from foundationx.evaluation.ledger.read import read_heads, runs_in
from foundationx.evaluation.report import ledger_page
from foundationx.evaluation.seeds import over_runs
from tests.helpers.predicted import labelled

NUMBER = 300


def head(quality, name="made", seed=0, number=NUMBER, only=None):
    """Predictions whose signal is ``quality``, if ``only`` is given in the images of that mask, else 2."""
    rng = np.random.default_rng(1)
    truth = rng.random((number, 1)) < 0.5
    noise = np.random.default_rng((2, seed)).normal(size=truth.shape)
    strength = np.where(only[:, None], quality, 2.0) if only is not None else quality
    shared = rng.normal(size=truth.shape)
    probabilities = 1 / (1 + np.exp(-(strength * (truth - 0.5) + 0.8 * shared + 0.3 * noise)))
    made = labelled(truth.astype(float), probabilities)
    return replace(made, key=TaskKey(name, Task.CLASSIFICATION))


def runs(joint, alone, name="made", **more):
    return HeadRuns(TaskKey(name, Task.CLASSIFICATION), (joint,), (alone,), **more)


def test_values_are_those_of_scikit_learn_and_verdicts_those_that_were_planted():
    heads = [
        runs(head(0.5, "worse"), head(2.0, "worse", 1), "worse"),
        runs(head(2.0, "better"), head(0.5, "better", 1), "better"),
        runs(head(2.0, "same"), head(2.0, "same", 1), "same"),
    ]
    ledger = judge(heads, repeats=400)
    assert [verdict.value for verdict in ledger.verdicts().values()] == ["harmed", "helped", "cannot tell"]
    assert ledger.tests == 3
    for entry, of_head in zip(ledger.entries, heads, strict=True):
        joint, alone = (
            roc_auc_score(run.labels[:, 0], run.array("probabilities")[:, 0])
            for run in (of_head.joint[0], of_head.alone[0])
        )
        assert entry.joint == pytest.approx(joint) and entry.alone == pytest.approx(alone)
        assert entry.difference == pytest.approx(joint - alone)
        assert entry.low < entry.difference < entry.high


def test_harm_of_one_hospital_is_named_there_and_in_the_worst_group():
    groups = np.array(["north", "south", ""] * (NUMBER // 3))
    joint, alone = head(0.2, only=groups == "south"), head(2.0, seed=1)
    ledger = judge([runs(joint, alone, groups={"hospital": groups})], repeats=400)
    by_site = {entry.site: entry for entry in ledger.entries}
    assert set(by_site) == {"all", "hospital: north", "hospital: south", "hospital: worst group"}
    assert by_site["hospital: south"].verdict is Verdict.HARMED
    assert by_site["hospital: north"].verdict is Verdict.UNDECIDED
    assert by_site["hospital: worst group"].verdict is Verdict.HARMED
    assert by_site["hospital: worst group"].joint == pytest.approx(by_site["hospital: south"].joint)
    assert by_site["hospital: worst group"].alone == pytest.approx(
        min(by_site["hospital: north"].alone, by_site["hospital: south"].alone)
    )
    assert ledger.worst(TaskKey("made", Task.CLASSIFICATION)).site == "hospital: south"
    mask = groups == "south"
    own = roc_auc_score(joint.labels[mask, 0], joint.array("probabilities")[mask, 0])
    assert by_site["hospital: south"].joint == pytest.approx(own) and by_site["hospital: south"].patients == 100


def test_groups_of_few_patients_are_left_out_and_few_patients_have_no_verdict():
    groups = np.array(["rare"] * 9 + ["common"] * (NUMBER - 9))
    ledger = judge([runs(head(0.5), head(2.0), groups={"view": groups})], repeats=200)
    assert {entry.site for entry in ledger.entries} == {"all", "view: common"}
    small = judge([runs(head(0.1, number=8), head(3.0, number=8))], repeats=200)
    assert [(entry.p, entry.verdict) for entry in small.entries] == [(None, Verdict.UNDECIDED)]


def test_false_positives_on_other_images_count_images_of_known_absence_alone():
    patients = np.array([f"p{index // 2}" for index in range(200)])
    rng = np.random.default_rng(0)
    often, seldom = ((rng.random((200, 2)) < share).astype(float) for share in (0.4, 0.05))
    for found in (often, seldom):
        found[:50, 0] = np.nan
        found[:, 1] = np.nan
    absent = Absent("other", ("a", "b"), patients, (often,), (seldom,))
    ledger = judge([runs(head(2.0), head(2.0), absent=(absent,))], by_class=True, repeats=300)
    mean, first = [entry for entry in ledger.entries if entry.site == "on other"][:2]
    assert first.joint == pytest.approx(often[50:, 0].mean()) and first.alone == pytest.approx(seldom[50:, 0].mean())
    assert mean.joint == first.joint and mean.n == 150 and mean.patients == 75
    assert mean.verdict is Verdict.HARMED and mean.lower_is_better


def test_holm_is_the_published_procedure():
    """Reference: step down through the sorted p values until one is not below 0.05 / (number left)."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        values = list(rng.random(rng.integers(1, 12)) ** 4)
        adjusted = holm([*values, None])
        assert adjusted[-1] is None
        rejected, left = set(), len(values)
        for index in np.argsort(values):
            if values[index] > 0.05 / left:
                break
            rejected.add(int(index))
            left -= 1
        assert {index for index, p in enumerate(adjusted[:-1]) if p <= 0.05} == rejected


def test_the_test_is_close_to_students_for_a_mean_over_patients():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.05, 0.3, 60)
    draws = np.array([differences[rng.integers(60, size=60)].mean() for _ in range(4000)])
    expected = ttest_1samp(differences, 0).pvalue
    assert paired_test(differences.mean(), draws, 60) == pytest.approx(expected, rel=0.15)
    assert paired_test(0.0, np.zeros(100), 60) == 1.0
    assert paired_test(0.1, np.full(100, 0.1), 20) == pytest.approx(2 * 0.5**20)
    assert paired_test(0.1, draws, 9) is None


def test_seeds_widen_the_interval_by_students_t():
    """Reference: without any spread of draws, the interval is the textbook one of the mean of n values."""
    from scipy.stats import t

    values = [0.70, 0.74, 0.78, 0.71, 0.72]
    runs_of = [Estimate("AUROC", "mean", 9, value, None, None, np.full(20000, value)) for value in values]
    together = over_runs(runs_of, (0, 1))
    half = t.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    assert together.value == pytest.approx(np.mean(values))
    assert together.high - together.value == pytest.approx(half, rel=0.05)
    assert together.value - together.low == pytest.approx(half, rel=0.05)
    assert over_runs(runs_of[:1], (0, 1)) is runs_of[0]


def test_a_difference_within_the_spread_between_seeds_is_no_verdict():
    joint = tuple(head(quality, seed=number) for number, quality in enumerate((0.9, 2.2, 1.5)))
    alone = tuple(head(quality, seed=10 + number) for number, quality in enumerate((1.2, 2.3, 1.9)))
    one = judge([HeadRuns(joint[0].key, joint[:1], alone[:1])], repeats=300)
    three = judge([HeadRuns(joint[0].key, joint, alone)], repeats=300)
    assert one.entries[0].verdict is Verdict.HARMED
    assert three.entries[0].verdict is Verdict.UNDECIDED


@pytest.fixture
def folders(tmp_path):
    head(0.5, "worse").write(tmp_path / "joint")
    head(2.0, "same").write(tmp_path / "joint")
    head(2.0, "never_alone").write(tmp_path / "joint")
    head(2.0, "worse", 1).write(tmp_path / "alone" / "worse")
    head(2.0, "same", 1).write(tmp_path / "alone" / "same" / "seed0")
    return tmp_path


def test_the_command_writes_the_ledger_and_the_report_shows_it(folders, capsys):
    arguments = ["ledger", str(folders / "joint"), "--alone", str(folders / "alone"), "--repeats", "200", "--all"]
    assert not main([*arguments, "--out", str(folders / "ledger.md"), str(folders / "ledger.csv")])
    content = json.loads((folders / "joint" / "ledger.json").read_text())
    assert content["verdicts"] == {"same/classification": "cannot tell", "worse/classification": "harmed"}
    assert any("never_alone" in text for text in content["notes"]) and any("--data-root" in t for t in content["notes"])
    page = ledger_page.section(folders / "joint")
    assert "Harm ledger" in page and "<span class='low'>harmed</span>" in page and "never_alone" in page
    assert "| worse/classification | harmed | 1 | 0 | 1 |" in (folders / "ledger.md").read_text()
    assert "worse/classification" in capsys.readouterr().out
    assert ledger_page.section(folders / "alone") == ""


def test_what_cannot_be_compared_is_refused_by_name(folders):
    assert [path.name for path in runs_in(folders / "alone")] == ["worse", "seed0"]
    with pytest.raises(DataError, match="holds no run"):
        runs_in(folders / "nothing")
    with pytest.raises(DataError, match="trained on none of the heads"):
        read_heads([folders / "alone" / "worse"], [folders / "alone" / "same"], Split.TEST, "teacher")
    heads, missing, _ = read_heads([folders / "joint"], [folders / "alone"], Split.TEST, "teacher")
    assert [str(key) for key in missing] == ["never_alone/classification"]
    with pytest.raises(ConfigError, match="no head has a metric 'AUC'"):
        judge(heads, metrics=["AUC"], repeats=100)


def test_a_shared_head_is_compared_by_the_classes_of_the_dataset(tmp_path):
    alone = head(2.0, "same", 1)
    probabilities = np.concatenate([head(2.0, "same").array("probabilities"), np.full((NUMBER, 1), 0.5)], axis=1)
    labels = np.concatenate([alone.labels, np.full((NUMBER, 1), np.nan)], axis=1)
    joint = replace(alone, classes=("a", "of others"), labels=labels, recorded={"probabilities": probabilities})
    joint.write(tmp_path / "joint")
    alone.write(tmp_path / "alone")
    heads, missing, _ = read_heads([tmp_path / "joint"], [tmp_path / "alone"], Split.TEST, "teacher")
    assert not missing and heads[0].joint[0].classes == ("a",)
    order = np.argsort(joint.images)
    np.testing.assert_array_equal(heads[0].joint[0].array("probabilities")[:, 0], probabilities[order, 0])
    known = replace(joint, labels=np.where(np.isnan(labels), 1, labels))
    known.write(tmp_path / "joint")
    with pytest.raises(DataError, match="different classes"):
        read_heads([tmp_path / "joint"], [tmp_path / "alone"], Split.TEST, "teacher")


def test_a_shared_head_is_compared_with_a_run_whose_classes_have_their_own_names(tmp_path):
    alone = replace(head(2.0, "phantom_labels", 1), classes=("Nodule",))
    labels = np.concatenate([np.full((NUMBER, 1), np.nan), alone.labels], axis=1)
    recorded = {"probabilities": np.repeat(head(2.0).array("probabilities"), 2, axis=1)}
    joint = replace(alone, classes=("of others", "nodule"), labels=labels, recorded=recorded)
    joint.write(tmp_path / "joint")
    alone.write(tmp_path / "alone")
    heads, missing, _ = read_heads([tmp_path / "joint"], [tmp_path / "alone"], Split.TEST, "teacher")
    assert not missing and heads[0].joint[0].classes == heads[0].alone[0].classes == ("nodule",)
