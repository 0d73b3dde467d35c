"""Protocols on a tiny trained run: what they choose, on which patients, and that their figures are scikit-learn's."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from foundationx.apps.cli.main import main
from foundationx.apps.protocols import PROTOCOLS
from foundationx.apps.protocols.base import Request, Subject, open_protocol
from foundationx.apps.protocols.embedding import Embeddings, LinearProbe, best_probe, embed, mean_auroc
from foundationx.apps.protocols.finetune import finetuning_config
from foundationx.apps.protocols.subgroups import run as run_subgroups
from foundationx.apps.protocols.ten_crop import ten_crops
from foundationx.core.config.run import DatasetConfig
from foundationx.core.errors import CardError, ConfigError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.data.loader import collate, in_order
from foundationx.data.normalise import Normaliser
from foundationx.datasets.attributes import group_of, read_attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.predictions import read_predictions
from foundationx.evaluation.report import origin_page
from foundationx.phantoms.write import write_phantom_datasets

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "tests" / "helpers" / "tiny_config.py")
KEY = TaskKey("phantom_labels", Task.CLASSIFICATION)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 80, size=64, seed=0)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    work = tmp_path_factory.mktemp("run") / "run"
    options = ["schedule.cycles=1", "schedule.max_steps=2", "evaluate.every=0", "evaluate.final=[]"]
    assert main(["train", CONFIG, "--data-root", str(data), "--work-dir", str(work), "--cfg-options", *options]) == 0
    return work


def request(trained, data, card="phantom_labels", out=None):
    return Request(trained, "teacher", card, None, data, "cpu", out)


def blobs(count, seed, spread=1.0):
    """Two features say the first class, noise the second; a third of the labels is unknown."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (count, 2)).astype(np.float32)
    features = random.normal(0, spread, (count, 6))
    features[:, :2] += 2 * labels[:, :1]
    labels[random.random((count, 2)) < 0.33] = np.nan
    names = np.array([f"p{n}" for n in range(count)])
    return Embeddings(features * 50 + 7, labels, names, names)


def test_the_probe_is_scikit_learns_on_standardised_features_of_known_images():
    train, test = blobs(80, 0), blobs(60, 1)
    result = LinearProbe(train, 0.1).probabilities(test)
    mean, scale = train.features.mean(axis=0), train.features.std(axis=0)
    for k in range(2):
        known = ~np.isnan(train.labels[:, k])
        plain = LogisticRegression(C=0.1, max_iter=2000)
        plain.fit((train.features[known] - mean) / scale, train.labels[known, k] > 0.5)
        expected = plain.predict_proba((test.features - mean) / scale)[:, 1]
        assert result[:, k] == pytest.approx(expected, abs=1e-5)


def test_c_is_chosen_on_validation_and_a_one_sided_class_does_not_count():
    train, val = blobs(30, 2), blobs(200, 3)
    strengths = (1e-4, 1e-1, 1e2)
    _, chosen = best_probe(train, val, strengths)
    scores = {c: mean_auroc(val.labels, LinearProbe(train, c).probabilities(val)) for c in strengths}
    assert scores[chosen] == max(scores.values())
    one_sided = Embeddings(train.features, np.ones_like(train.labels), train.images, train.patients)
    assert (LinearProbe(one_sided, 1.0).probabilities(val) == 0.5).all()


def test_embeddings_are_the_backbones_pooled_features_of_the_split(trained, data):
    subject = Subject(request(trained, data))
    result = embed(subject, KEY, Split.TEST, projected=False)
    table, chosen = subject.data_module.annotations[KEY], subject.data_module.indices[KEY][Split.TEST]
    assert result.images.tolist() == [table.images[index] for index in chosen]
    assert result.features.shape == (len(chosen), subject.model.backbone.channels[-1])
    assert np.isfinite(result.features).all() and result.features.std() > 0


def test_linear_probe_by_the_command_gives_predictions_that_compare_reads(trained, data, tmp_path, capsys):
    out = tmp_path / "linear"
    arguments = ["--protocol", "linear", "--card", "phantom_labels", "--data-root", str(data), "--out", str(out)]
    assert main(["eval", str(trained), *arguments]) == 0
    assert "linear probe of" in capsys.readouterr().out
    stored = read_predictions(out / "predictions" / "phantom_labels" / "classification.test.teacher.npz")
    rows = {(row["metric"], row["class"]): row for row in json.loads((out / "linear.json").read_text())["rows"]}
    for k, name in enumerate(stored.classes):
        known = ~np.isnan(stored.labels[:, k])
        if len(set(stored.labels[known, k])) == 2:
            expected = roc_auc_score(stored.labels[known, k], stored.array("probabilities")[known, k])
            assert float(rows["AUROC", name]["value"]) == pytest.approx(expected, abs=1e-4)
    assert main(["compare", str(out), str(out)]) == 0


def test_few_shot_uses_nested_draws_and_reports_their_spread(trained, data):
    module, options = open_protocol("few-shot", {"shots": [4, 12], "draws": 3})
    result = module.run(request(trained, data), options)
    assert [(row[0], row[1]) for row in result.rows] == [("4", "3"), ("12", "3")]
    assert all(0 <= float(row[2]) <= 1 for row in result.rows)
    with pytest.raises(ConfigError, match="training images"):
        module.run(request(trained, data), open_protocol("few-shot", {"shots": [10_000]})[1])


def test_zero_shot_names_the_answering_head_and_refuses_to_choose(trained, data):
    module, options = open_protocol("zero-shot", {})
    result = module.run(request(trained, data, "phantom_all"), options)
    assert any("phantom_labels/classification" in note for note in result.notes)
    predictions = result.predictions[0]
    assert set(predictions.classes) <= set(Subject(request(trained, data)).data_module.classes[KEY])
    wrong = open_protocol("zero-shot", {"use": {"Nodule": "phantom_labels/classification:Nodul"}})[1]
    with pytest.raises(ConfigError, match="did you mean 'Nodule'"):
        module.run(request(trained, data, "phantom_all"), wrong)


def test_the_run_of_fine_tuning_has_neither_lock_nor_consistency(trained, data, tmp_path):
    config = Subject(request(trained, data)).config
    assert config.datasets == (DatasetConfig(card="phantom_labels"),)
    tuned = finetuning_config(config, tmp_path / "start.safetensors", epochs=2, lr=3e-4)
    assert tuned.schedule.cycles == 2 and tuned.optimizer.lr == 3e-4 and tuned.consistency.weight == 0
    assert set(tuned.schedule.lock.values()) == {0} and tuned.model.init.name == "start.safetensors"
    assert tuned.evaluate.final == (Split.VAL,), "test is not looked at in training"


@pytest.mark.slow
def test_fine_tuning_takes_the_best_epoch_of_validation_to_test(trained, data, tmp_path):
    out = tmp_path / "tuned"
    arguments = ["--protocol", "finetune", "--card", "phantom_masks", "--data-root", str(data), "--out", str(out)]
    assert main(["eval", str(trained), *arguments, "--with", "epochs=2"]) == 0
    rows = json.loads((out / "finetune.json").read_text())["rows"]
    best = json.loads((out / "best.json").read_text())["phantom_masks/segmentation"]
    assert {row["best step"] for row in rows} == {str(best["step"])}
    assert {row["metric"] for row in rows} >= {"Dice"}
    sides = {(row["split"], row["visit"]) for row in json.loads((out / "metrics.json").read_text())}
    assert [visit for side, visit in sides if side == "test"] == [best["visit"]]


@pytest.mark.parametrize(
    ("attribute", "value", "group"),
    [
        ("age", "057Y", "40 to 59"),
        ("age", "17", "0 to 17"),
        ("age", "80.0", "80 and over"),
        ("age", "", ""),
        ("sex", "F", "F"),
    ],
)
def test_groups(attribute, value, group):
    assert group_of(attribute, value, (18, 40, 60, 80)) == group


def test_subgroups_are_those_of_the_table_and_agree_with_a_plain_count(trained, data, monkeypatch):
    monkeypatch.setattr("foundationx.apps.protocols.subgroups.LEAST", 1)
    _, options = open_protocol("subgroups", {})
    result = run_subgroups(request(trained, data), options)
    predictions = result.predictions[0]
    rows = list(csv.DictReader((data / "phantom_labels" / "Data_Entry_2017_v2020.csv").open()))
    sex = {row["Image Index"].strip(): row["Patient Gender"] for row in rows}
    for group in ("F", "M"):
        chosen = [n for n, image in enumerate(predictions.images) if sex[image.rpartition("/")[2]] == group]
        shown = [row for row in result.rows if row[:2] == ("sex", group)]
        assert [row[2] for row in shown] == [str(len({predictions.patients[n] for n in chosen}))] * bool(chosen)
    assert {row[0] for row in result.rows} == {"all", "sex", "age", "view"}


def test_a_card_without_attributes_and_an_image_without_row(trained, data):
    card, folder = Catalog().card("phantom_labels"), data / "phantom_labels"
    assert read_attributes(card, folder, ["images/none.png"])["sex"] == [""]
    with pytest.raises(CardError, match="the table of sex, age or view"):
        read_attributes(Catalog().card("phantom_masks"), data / "phantom_masks", [])


def test_what_there_is_not_is_named(trained, data):
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        open_protocol("linaer", {})
    with pytest.raises(ConfigError, match="unknown key"):
        open_protocol("linear", {"project": True})
    with pytest.raises(ConfigError, match="has no head phantom_all/classification"):
        run_subgroups(request(trained, data, "phantom_all"), open_protocol("subgroups", {})[1])
    assert set(PROTOCOLS.names()) >= {"linear", "few-shot", "zero-shot", "finetune", "subgroups"}


def test_ten_crops_are_corners_centre_and_their_mirrors():
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    crops = ten_crops(image, 4)
    assert [int(crop[0, 0, 0, 0]) for crop in crops[:5]] == [0, 2, 12, 14, 7]
    assert all(torch.equal(mirrored, crop.flip(-1)) for crop, mirrored in zip(crops[:5], crops[5:], strict=True))


def test_ten_crops_of_the_whole_image_are_the_image_and_its_mirror(trained, data):
    """At the network's own size the crops coincide: the mean of two predictions, computed here."""
    module, options = open_protocol("ten-crop", {"resize": 64})
    result = module.run(request(trained, data), options).predictions[0]
    subject = Subject(request(trained, data))
    pool = subject.data_module.evaluation(Split.TEST)
    normalise = Normaliser(subject.config.model, "cpu")
    for refs in in_order(KEY, subject.data_module.indices[KEY][Split.TEST], 4):
        batch = collate([pool[ref] for ref in refs])
        images = normalise(batch.images)
        with torch.no_grad():
            both = [subject.model.predict(view, KEY).probabilities for view in (images, images.flip(-1))]
        positions = [result.images.tolist().index(meta.image) for meta in batch.metas]
        assert result.array("probabilities")[positions] == pytest.approx(torch.stack(both).mean(0).numpy(), abs=1e-5)
    with pytest.raises(ConfigError, match="the network's input"):
        module.run(request(trained, data), open_protocol("ten-crop", {"resize": 32})[1])


def test_origin_of_the_run_s_own_datasets_needs_no_card_and_is_shown_by_the_report(trained, data, tmp_path):
    arguments = ["eval", str(trained), "--protocol", "origin", "--data-root", str(data), "--out", str(tmp_path)]
    assert main([*arguments, "--with", "split=all", "images=40", "untrained=False"]) == 0
    content = json.loads((tmp_path / "origin.json").read_text())
    first = content["rows"][0]
    assert (first["what"], first["origins"], first["chance"], first["random weights"]) == ("dataset", "3", "0.333", "-")
    assert {row["what"] for row in content["rows"][1:]} == {
        f"dataset: phantom_{kind}" for kind in ("labels", "boxes", "masks")
    }
    assert sum(int(row["images"]) for row in content["rows"][1:]) == int(first["images"]) <= 120
    assert 0 <= float(first["features"]) <= 1 and 0 <= float(first["thumbnail"]) <= 1
    assert any("view in phantom_labels: left out" in note.lower() for note in content["notes"])
    assert "Origin of images" in origin_page.section(tmp_path)


def test_other_protocols_still_need_a_card(trained, data, capsys):
    assert main(["eval", str(trained), "--protocol", "linear", "--data-root", str(data)]) == 2
    assert "--card" in capsys.readouterr().err
