"""Self-supervised visits in the plan: images without labels, runs that mix, resume exactly, evaluation and faults."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from foundationx.apps.cli.main import main
from foundationx.apps.run.predict import predict_images
from foundationx.apps.run.train import build_model, plan_loader, train
from foundationx.core.config.load import load_config, parse_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.unlabelled import read_images
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, step_of
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.collapse import ViewScores, effective_rank, margin, merged, spread
from foundationx.evaluation.evaluator import evaluate
from foundationx.models.parameter_groups import group_members
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.self_supervision.objective import open_objective
from tests.helpers.selfsup_tiny import CONFIG, tiny_selfsup
from tests.helpers.survival import equal

SELFSUP = Path(__file__).resolve().parents[3] / "configs" / "selfsup"
KEY = TaskKey("phantom_labels", Task.SELF_SUPERVISION)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 16, size=96, processes=1)
    return folder


def trainer_of(config, phantoms, folder):
    """A trainer without evaluation."""
    data_module = open_datasets(config, phantoms)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    return Trainer(config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder)


def state_of(trainer):
    optimizer = trainer.optimizer.state_dict()["state"]
    return trainer.model.state_dict(), trainer.teacher.model.state_dict(), optimizer


# ---------------------------------------------------------------- data


def test_images_are_those_of_all_tasks_each_once_without_labels(phantoms):
    card = Catalog().card("phantom_all")
    result = read_images(card, Task.SELF_SUPERVISION, phantoms)
    files = {path.name for path in (phantoms / "phantom_all" / "images").iterdir()}
    assert len(result.images) == len(files) == 16 and {name.split("/")[-1] for name in result.images} == files
    assert result.classes == () and result.labels.shape == (16, 0) and result.key.task is Task.SELF_SUPERVISION


def test_patients_are_in_the_split_that_they_are_in_for_labels(phantoms):
    config = load_config(
        CONFIG, {"datasets": [{"card": "phantom_labels", "tasks": ["classification", KEY.task.value]}]}
    )
    data_module = open_datasets(config, phantoms)
    labelled = TaskKey("phantom_labels", Task.CLASSIFICATION)
    for split in Split:
        images = {
            key: {data_module.annotations[key].images[i] for i in data_module.indices[key][split]}
            for key in data_module.annotations
        }
        assert images[KEY] == images[labelled] and images[KEY]
    assert data_module.summary()[-1]["classes"] == []


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(
    "name", ["adam", "lamps", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adam_v2", "peac", "ace"))]
)
def test_a_run_goes_on_bit_for_bit_in_the_middle(phantoms, tmp_path, name):
    """Queue, centre, curriculum and turns too; from the third of six steps, before a stage or turn changes."""
    config = tiny_selfsup(name, runtime__checkpoint_every=1, runtime__keep_checkpoints=9)
    whole = trainer_of(config, phantoms, tmp_path)
    start = {key: value.clone() for key, value in whole.model.state_dict().items()}
    assert whole.train() and whole.plan.total_steps == 6
    again = trainer_of(config, phantoms, tmp_path / "again")
    middle = next(path for path in checkpoints_in(tmp_path) if step_of(path) == 3)
    again.resume(load_checkpoint(middle))
    assert again.train()
    for one, two in zip(state_of(whole), state_of(again), strict=True):
        assert equal(one, two)
    changed = {key for key, value in whole.model.state_dict().items() if not torch.equal(start[key], value)}
    assert any(key.startswith("backbone") for key in changed) and any(key.startswith("heads") for key in changed)
    teacher = whole.teacher.model.state_dict()
    assert not torch.equal(teacher["backbone.net.norm3.weight"], start["backbone.net.norm3.weight"])


def test_a_run_mixes_labels_and_images(phantoms, tmp_path):
    cards = [
        {"card": "phantom_labels", "tasks": ["classification", "self_supervision"]},
        {"card": "phantom_masks", "tasks": ["segmentation"]},
    ]
    lock = {"classification": 0.0, "detection": 0.5, "segmentation": 0.5, "self_supervision": 0.5}
    release = dict.fromkeys(("classification", "detection", "segmentation", "self_supervision"), 1.0)
    schedule = {"cycles": 1, "turns": 1, "floor": 0.0, "lock": lock, "release": release, "max_steps": 2}
    config = load_config(CONFIG, {"datasets": cards, "schedule": {"_delete_": True, **schedule}})
    assert train(config, phantoms, tmp_path)
    folder = WorkDir(tmp_path)
    visits = folder.read_json("plan.json")["visits"]
    assert [visit["task"] for visit in visits] == ["classification", "self_supervision", "segmentation"]
    own = visits[1]["phases"]
    assert [phase["trainable"] for phase in own] == [[f"head.{KEY}"], ["backbone", f"head.{KEY}"]]
    assert [phase["consistency"] for phase in own] == [0.0, 0.0] and visits[0]["phases"][0]["consistency"] > 0
    logged = [row for row in folder.read_log() if row["task"] == "self_supervision"]
    assert {"contrast", "task", "total"} == set(logged[-1]["losses"])
    rows = [row for row in folder.read_metrics() if row.task == "self_supervision" and row.visit == 3]
    assert {row.metric for row in rows} == {"loss", "margin", "rank", "spread"}
    assert {(row.model, row.split) for row in rows} == {(m, s) for m in ("student", "teacher") for s in ("val", "test")}
    assert all(np.isfinite(row.value) for row in rows if row.metric != "margin")
    assert "self_supervision" in folder.report.read_text()
    picture = tmp_path / "image.png"
    cv2.imwrite(str(picture), np.zeros((80, 80), np.uint8))
    stored = load_checkpoint(tmp_path)
    (finding,) = predict_images(stored.model("teacher"), stored.config, "teacher", [picture])
    assert set(finding.values["heads"]) == {"phantom_labels/classification", "phantom_masks/segmentation"}


@pytest.mark.parametrize(
    "backbone",
    [
        {"type": "mmdet.ResNet", "depth": 18, "base_channels": 4, "num_stages": 4, "out_indices": (0, 1, 2, 3)},
        {
            "type": "mmseg.VisionTransformer",
            "img_size": (64, 64),
            "patch_size": 16,
            "embed_dims": 8,
            "num_layers": 3,
            "num_heads": 2,
            "mlp_ratio": 2,
            "out_indices": (0, 1, 2),
        },
    ],
    ids=lambda backbone: backbone["type"],
)
def test_other_backbones_learn_too(phantoms, tmp_path, backbone):
    config = tiny_selfsup("lamps", model__backbone={"_delete_": True, **backbone}, schedule__max_steps=4)
    trainer = trainer_of(config, phantoms, tmp_path)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    assert trainer.train()
    after = trainer.model.state_dict()
    silent = [
        name
        for name in group_members(trainer.model)["backbone"]
        if torch.equal(before[name], after[name]) and after[name].numel() > 1
    ]
    assert not silent, silent


@pytest.mark.parametrize("path", sorted(SELFSUP.glob("*.py")), ids=lambda path: path.stem)
def test_configurations_name_objectives_and_their_options(path):
    _, options = open_objective(load_config(path).model.objective)
    assert options.type == path.stem.removesuffix("_nano") and not options.as_released


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SELFSUP.glob("*_nano.py")), ids=lambda path: path.stem)
def test_small_configurations_run(phantoms, tmp_path, path):
    few = {"schedule.cycles": 1, "schedule.max_steps": 2, "runtime.batch_size": 4, "runtime.workers": 0}
    assert trainer_of(load_config(path, few), phantoms, tmp_path).train()


# ---------------------------------------------------------------- evaluation


def test_every_turn_is_evaluated_and_the_model_stays_as_it_was(phantoms):
    config = tiny_selfsup("lamps")
    data_module = open_datasets(config, phantoms)
    model = build_model(config, data_module, "cpu")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rows = evaluate(data_module, {"student": model}, Split.TRAIN, 0).rows
    losses = {row.class_name: row.value for row in rows if row.metric == "loss"}
    terms = ("extrapolate", "order", "coherence", "compose", "decompose", "global", "local")
    assert set(losses) == {*terms, "total"} and losses["total"] == pytest.approx(sum(losses[t] for t in terms))
    assert {row.n for row in rows} == {len(data_module.indices[KEY][Split.TRAIN])}
    assert evaluate(data_module, {"student": model}, Split.TRAIN, 0).rows == rows
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_monitors_of_collapse_by_hand():
    same = np.tile(np.array([[1.0, 2.0, 3.0, 4.0]]), (6, 1))
    assert margin(same, same) == pytest.approx(0) and effective_rank(same) == 1 and spread(same) == pytest.approx(0)
    apart = np.eye(4)
    assert margin(apart, 3 * apart) == pytest.approx(1) and margin(apart[:1], apart[:1]) is None
    assert margin(apart, apart[::-1]) == pytest.approx(0 - 4 / 12)
    assert effective_rank(apart) == pytest.approx(3)  # centring takes one
    assert effective_rank(np.eye(2, dtype=np.float32)) == pytest.approx(1), "a singular value of exactly 0"
    both_ways = np.concatenate([apart, -apart])
    assert effective_rank(both_ways) == pytest.approx(4) and spread(both_ways) == pytest.approx(1)


def test_scores_weigh_batches_by_their_images():
    scores = ViewScores()
    expected = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    scores.add({"a": torch.tensor(1.0)}, torch.eye(2, 4), torch.eye(2, 4), expected)
    scores.add({"a": torch.tensor(4.0)}, torch.eye(4)[2:3], torch.eye(4)[2:3], expected[:1].flip(1))
    other = ViewScores()
    other.add({"b": torch.tensor(2.0)}, torch.eye(3, 4), torch.eye(3, 4).roll(1, dims=0), None)
    rows = {(row.metric, row.class_name): row for row in merged([scores.rows(), other.rows()])}
    assert rows["loss", "a"].value == pytest.approx(2.0) and rows["loss", "total"].value == pytest.approx(4.0)
    assert rows["margin", "mean"].value == pytest.approx((1.0 + (0 - 3 / 6)) / 2)
    share = -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(2)
    assert rows["entropy", "mean"].value == pytest.approx(share, rel=1e-5)
    assert rows["information", "mean"].value == pytest.approx(share, rel=1e-5), "each image has one of two prototypes"


def test_information_of_prototypes_is_their_mutual_information_with_the_image():
    """Sampling an image and then one of its prototypes; scikit-learn counts the pairs. No answer for all is any."""
    counts = np.array([[60, 20, 20], [10, 80, 10], [0, 0, 100], [30, 30, 40]])
    scores, features = ViewScores(), torch.eye(2)
    for half in np.split(counts, 2):
        scores.add({}, features, features, torch.tensor(half / 100))
    images, prototypes = (np.repeat(place.ravel(), counts.ravel()) for place in np.indices(counts.shape))
    information = mutual_info_score(images, prototypes) / np.log(3)
    assert {row.metric: row.value for row in scores.rows()}["information"] == pytest.approx(information, rel=1e-9)
    for answer in (torch.tensor([1.0, 0.0, 0.0]), torch.full((3,), 1 / 3), torch.tensor([0.5, 0.3, 0.2])):
        scores = ViewScores()
        scores.add({}, torch.eye(4), torch.eye(4), answer.expand(4, 3))
        assert {row.metric: row.value for row in scores.rows()}["information"] == pytest.approx(0, abs=1e-6)
    single = ViewScores()
    single.add({}, torch.eye(4), torch.eye(4), torch.ones(4, 1))
    values = {row.metric: row.value for row in single.rows()}
    assert values["entropy"] is values["information"] is None, "one prototype says nothing"


@pytest.mark.slow
def test_a_collapse_is_reported_and_the_advice_prevents_it(tmp_path):
    """A teacher that its centre cannot follow: within 60 steps all images get the same answer."""
    write_phantom_datasets(tmp_path / "phantoms", 48, size=128)
    few = {"schedule.cycles": 1, "schedule.release.self_supervision": 100.0, "schedule.max_steps": 60}
    few |= {"runtime.workers": 0, "evaluate.every": 0, "evaluate.first": 0}
    reported = {}
    for name, start, end in (("fast", 0.9, 0.99), ("slow", 0.99, 0.999)):
        changes = few | {"teacher.momentum.start": start, "teacher.momentum.end": end}
        assert train(load_config(SELFSUP / "adam_v2_nano.py", changes), tmp_path / "phantoms", tmp_path / name)
        incidents = tmp_path / name / "incidents.jsonl"
        lines = incidents.read_text().splitlines() if incidents.exists() else []
        reported[name] = [row for row in map(json.loads, lines) if row["kind"] == "collapse"]
    assert len(reported["fast"]) == 2 and reported["slow"] == [], "val and test"
    assert all("teacher.momentum" in row["message"] and row["dataset"] == KEY.dataset for row in reported["fast"])
    assert "have collapsed" in (tmp_path / "fast" / "report.html").read_text()


# ---------------------------------------------------------------- faults


def test_faults_of_the_configuration_are_reported(phantoms, tmp_path):
    values = tiny_selfsup("adam").model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"model\.objective is not set"):
        parse_config(values | {"model": values["model"] | {"objective": None}}, "test")
    nothing = {"classification": 1.0, "detection": 1.0, "segmentation": 1.0, "self_supervision": 0.0}
    with pytest.raises(ConfigError, match=r"release\.self_supervision is 0"):
        parse_config(values | {"schedule": {"cycles": 1, "release": nothing}}, "test")
    with pytest.raises(ConfigError, match="no objective is called 'adm'"):
        train(load_config(CONFIG, {"model.objective": {"_delete_": True, "type": "adm"}}), phantoms, tmp_path)
    expected = load_config(CONFIG, {"datasets": [{"card": "phantom_labels", "tasks": ["segmentation"]}]})
    with pytest.raises(ConfigError, match=r"has no segmentation\n.*classification, self_supervision"):
        open_datasets(expected, phantoms)


def test_a_self_supervised_head_cannot_be_asked_to_predict(phantoms, tmp_path, capsys):
    trainer = trainer_of(tiny_selfsup("peac", schedule__max_steps=1), phantoms, tmp_path)
    trainer.train()
    (tmp_path / "image.png").write_bytes(cv2.imencode(".png", np.zeros((80, 80), np.uint8))[1].tobytes())
    asked = ["predict", str(tmp_path), str(tmp_path / "image.png"), "--head", str(KEY)]
    assert main(asked) == 2
    assert f"no head '{KEY}' that predicts" in capsys.readouterr().err
