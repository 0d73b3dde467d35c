"""A metric is one file: it is there at every evaluation, has intervals, is compared and can choose the checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.apps.run.hooks import best_visits
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.types import Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.compare.compare import compare
from foundationx.evaluation.compare.table import chosen, markdown
from foundationx.evaluation.measure import METRICS
from foundationx.evaluation.predictions import find_predictions, read_predictions
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.outside_package import install_distribution

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"
HEAD = TaskKey.parse("phantom_labels/classification")
BRIER = '''
"""Brier score: mean squared difference of probability and label."""

import numpy as np

from foundationx.evaluation.statistic import Statistic, mean_over_images

NEEDS = ("probabilities",)
LOWER_IS_BETTER = ("Brier",)


def statistics(predictions):
    """``Brier`` of each class, over the images whose label is known."""
    return mean_over_images(predictions, {"Brier": (predictions.array("probabilities") - predictions.labels) ** 2})
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two cycles, trained with the metric installed."""
    folder = tmp_path_factory.mktemp("brier")
    points = {"foundationx.metrics": {"brier": "brier_score"}}
    install_distribution(folder / "site", "brier-score", points, {"brier_score": BRIER})
    write_phantom_datasets(folder / "data", {"phantom_labels": 24}, size=64, processes=1)
    options = {"datasets": [{"card": "phantom_labels"}], "evaluate.best": {"classification": "Brier"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        assert "brier" in METRICS.names()
        assert train(load_config(CONFIG, options), folder / "data", folder / "run")
        yield folder / "run"


def test_it_is_there_at_every_evaluation(run):
    rows = WorkDir(run).read_metrics()
    evaluated = {(row.visit, row.split, row.model) for row in rows if row.model in ("student", "teacher")}
    assert len({visit for visit, _, _ in evaluated}) == 3, "before, between and after two cycles"
    assert {(row.visit, row.split, row.model) for row in rows if row.metric == "Brier"} == evaluated
    paths = find_predictions(run)
    assert len(paths) == 4
    for path in paths:
        stored = read_predictions(path)
        expected = np.nanmean((stored.array("probabilities") - stored.labels).astype(float) ** 2, axis=0)
        for k, name in enumerate(stored.classes):
            (row,) = [
                row
                for row in rows
                if (row.metric, row.class_name, row.model, row.split, row.visit)
                == ("Brier", name, stored.model, stored.split.value, stored.visit)
            ]
            assert row.value == pytest.approx(expected[k], abs=1e-6)


def test_it_has_intervals_and_is_compared(run):
    comparison = compare([run, run], repeats=50)
    (row,) = [row for row in comparison.rows if (row.metric, row.class_name) == ("Brier", "mean")]
    first, second = row.cells
    assert first.low < first.value < first.high
    assert (second.difference, second.p, second.test) == (0, 1, "bootstrap")
    assert "Brier (lower)" in markdown(chosen(comparison, ["Brier"], everything=False))


def test_the_best_checkpoint_is_the_one_with_the_lowest_score(run):
    rows = [
        row
        for row in WorkDir(run).read_metrics()
        if (row.metric, row.class_name, row.split, row.model) == ("Brier", "mean", "val", "teacher") and row.visit
    ]
    best = WorkDir(run).read_json("best.json")[str(HEAD)]
    assert len(rows) == 2 and best["metric"] == "Brier"
    assert best["value"] == min(row.value for row in rows)
    result = best_visits(WorkDir(run).read_metrics(), Split.VAL, "teacher", {"classification": "Brier"})
    assert result[HEAD].visit == best["visit"]


def test_the_report_shows_it(run, capsys):
    page = (run / "report.html").read_text()
    assert "Brier" in page
    assert main(["compare", str(run), "--metric", "Brier", "--repeats", "0"]) == 0
    assert "Brier" in capsys.readouterr().out


def test_a_metric_that_no_choice_can_rest_on_is_named(run):
    with pytest.raises(Exception, match=r"evaluate\.best"):
        load_config(CONFIG, {"evaluate.best": {"nothing": "Brier"}})
