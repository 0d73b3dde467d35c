"""What a run keeps for its report: the images that are worth a look, subgroups, and where it comes from."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.apps.run.hooks import EvaluateAndReport
from foundationx.core.types import Split
from foundationx.core.workdir import WorkDir
from foundationx.datasets.attributes import groups_of
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.metrics import auroc
from foundationx.evaluation.outcomes import choose_cases
from foundationx.evaluation.predictions import find_predictions
from foundationx.evaluation.stored import read_with_thresholds
from foundationx.evaluation.subgroups import scores
from foundationx.phantoms.write import write_phantom_datasets
from tests.evaluation.report.test_report import Page
from tests.helpers.predicted import values_of

pytestmark = pytest.mark.slow

CONFIG = "tests/helpers/tiny_config.py"
OPTIONS = ["schedule.cycles=1", "schedule.max_steps=2", "evaluate.every=0", "evaluate.examples=10"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 60, size=64, seed=0)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    work = tmp_path_factory.mktemp("run") / "run"
    command = ["train", CONFIG, "--data-root", str(data), "--work-dir", str(work), "--cfg-options", *OPTIONS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foundationx.apps.run.hooks.scores", functools.partial(scores, least=2))
        assert main(command) == 0
    return work


def shown(run):
    """Test predictions of the teacher by head."""
    paths = [path for path in find_predictions(run) if path.name.endswith(f".{Split.TEST.value}.teacher.npz")]
    return {stored.key: stored for stored in (read_with_thresholds(path, run) for path in paths)}


def test_the_kept_images_are_the_chosen_ones_with_the_predictions_that_were_measured(run):
    examples = WorkDir(run).read_examples()
    for key, stored in shown(run).items():
        classes, model, kept = examples[key]
        chosen = list(dict.fromkeys(str(stored.images[case.index]) for case in choose_cases(stored, 10)))
        assert (classes, model, [example.name for example in kept]) == (stored.classes, "teacher", chosen)
        for example in kept:
            index = stored.images.tolist().index(example.name)
            assert np.array_equal(example.labels, stored.labels[index], equal_nan=True)
            if "probabilities" in stored.recorded:
                assert example.probabilities == pytest.approx(stored.array("probabilities")[index], abs=1e-5)
            if "predicted_masks" in stored.recorded:
                assert (example.pred_masks == stored.masks("predicted_masks").image(index)).mean() > 0.999


def test_subgroups_are_those_of_the_cards_table(run, data):
    rows = json.loads((run / "subgroups.json").read_text())
    assert {row["split"] for row in rows} == {"val", "test"} and {row["attribute"] for row in rows} >= {"sex", "view"}
    assert {row["visit"] for row in rows} == {stored.visit for stored in shown(run).values()}
    for key, stored in shown(run).items():
        card = Catalog().card(key.dataset)
        own = [row for row in rows if (row["dataset"], row["task"], row["split"]) == (*key, "test")]
        if card.attributes is None:
            assert not own
            continue
        for name, groups in groups_of(card, data / key.dataset, stored.images).items():
            for row in (row for row in own if row["attribute"] == name):
                part = stored.take(groups == row["group"])
                assert (row["images"], row["patients"]) == (len(part), part.patient_count)
                if "probabilities" in stored.recorded:
                    values = [
                        v for (metric, _), (v, _) in values_of(auroc.statistics, part).items() if metric == "AUROC"
                    ]
                    defined = [value for value in values if value is not None]
                    assert row["value"] == (pytest.approx(np.mean(defined)) if defined else None)


def test_the_report_says_where_the_run_comes_from(run):
    facts, page = json.loads((run / "run.json").read_text()), Page((run / "report.html").read_text())
    assert not WorkDir(run).faults()
    made = page.shown[page.shown.index("versions, seed") if "versions, seed" in page.shown else 0 :]
    assert {"torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation"} <= set(
        facts["packages"]
    )
    for text in (facts["machine"], facts["packages"]["torch"], str(facts["seed"])):
        assert text in made
    assert facts["commit"] in made or not facts["commit"]
    for name, card in facts["cards"].items():
        assert name in made and card["licence"] in made and card["title"] in made
        assert card["licence"] == Catalog().card(name).licence.name


def test_the_headline_has_its_interval_and_every_head_its_pictures(run):
    page = Page((run / "report.html").read_text())
    for key in shown(run):
        assert f"{key.dataset} {key.task.value}" in page.shown
    assert page.shown.count("Worst") == len(shown(run)) and "error 0." in page.shown
    ends = [texts for texts in page.texts if texts.startswith("[")]
    assert ends and all(text.endswith("]") for text in ends)


def test_a_table_of_attributes_that_is_gone_is_told_and_the_run_goes_on(run, tmp_path):
    (stored,) = (stored for key, stored in shown(run).items() if Catalog().card(key.dataset).attributes)
    told = []
    hook = object.__new__(EvaluateAndReport)
    hook.trainer = SimpleNamespace(report=told.append, step=2)
    hook.data_module = SimpleNamespace(roots={stored.key.dataset: tmp_path})
    assert hook._groups(stored, Catalog()) == {}
    assert len(told) == 1 and str(stored.key) in str(told[0]) and "no subgroups" in str(told[0])
