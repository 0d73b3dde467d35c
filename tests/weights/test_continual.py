"""Continuing an earlier run: matched by name in any order, new parts initialised, incompatible ones refused."""

from pathlib import Path

import pytest
import torch

from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.types import Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import load_checkpoint, save_checkpoint
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.weights.imports.continual import load_run

TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
C, D, S = Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION
LABELS, BOXES, ORGANS = TaskKey("labels", C), TaskKey("boxes", D), TaskKey("organs", S)
EARLIER = {LABELS: ("mass", "nodule", "oedema"), BOXES: ("mass", "heart"), TaskKey("gone", C): ("fracture",)}
SIZE = (64, 64)


def model_of(heads, seed, **changes):
    torch.manual_seed(seed)
    return FoundationModel(load_config(TINY, changes).model, heads).eval()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A teacher and the checkpoint that holds it beside another student."""
    folder = tmp_path_factory.mktemp("earlier")
    teacher, student = model_of(EARLIER, 0), model_of(EARLIER, 1)
    config = load_config(TINY)
    state = {"config": config, "model": student, "teacher": teacher, "optimizer": {}, "step": 7, "visit": 2}
    save_checkpoint(folder, **state, progress={})
    return teacher, folder


def test_a_permuted_and_extended_head_predicts_the_same_for_each_class_by_name(earlier):
    teacher, folder = earlier
    heads = {ORGANS: ("heart",), BOXES: ("heart", "nodule", "mass"), LABELS: ("oedema", "pneumonia", "mass", "nodule")}
    model = model_of(heads, 2)
    untouched = {name: value.clone() for name, value in model.state_dict().items() if ORGANS.dataset in name}
    origin = load_run(model, folder)
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        ours, theirs = (m.predict(images, LABELS).probabilities for m in (model, teacher))
        for position, name in enumerate(heads[LABELS]):
            if name != "pneumonia":
                torch.testing.assert_close(ours[:, position], theirs[:, EARLIER[LABELS].index(name)])
        logits = [m.head(BOXES)(m.trunk(images, BOXES), m.trunks["detection"]) for m in (model, teacher)]
    assert origin["loaded"] == {
        "boxes/detection": ["heart", "mass"],
        "labels/classification": ["oedema", "mass", "nodule"],
    }
    assert origin["initialised"] == {
        "organs/segmentation": ["heart"],
        "boxes/detection": ["nodule"],
        "labels/classification": ["pneumonia"],
    }
    assert origin["skipped"] == {"gone/classification": ["fracture"]}
    assert origin["initialised_trunks"] == ["segmentation"] and origin["step"] == 7
    assert logits[0] is not None
    for name, value in untouched.items():
        assert torch.equal(model.state_dict()[name], value), name
    for name, value in teacher.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), "the teacher's, not the student's"


def test_class_rows_of_a_detection_head_are_loaded_by_name_and_its_padding_row_stays_last(earlier):
    teacher, folder = earlier
    same = model_of({BOXES: EARLIER[BOXES]}, 2)
    load_run(same, folder)
    turned = model_of({BOXES: EARLIER[BOXES][::-1]}, 3)
    load_run(turned, folder)
    ours, theirs = turned.head(BOXES).state_dict(), teacher.head(BOXES).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in same.head(BOXES).state_dict().items())
    moved = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
    assert moved and any("label" in name for name in moved) and len(moved) < len(theirs)
    for name in moved:
        order = [1, 0, *range(2, len(theirs[name]))]
        assert torch.equal(ours[name], theirs[name][order]), name


def test_a_head_without_a_class_in_common_and_another_backbone_are_refused(earlier):
    _, folder = earlier
    with pytest.raises(CheckpointError, match="labels/classification has no class in common"):
        load_run(model_of({LABELS: ("fracture",)}, 2), folder)
    wider = model_of({LABELS: EARLIER[LABELS]}, 2, **{"model.backbone.embed_dims": 16})
    with pytest.raises(CheckpointError, match=r"backbone\..* is \(8, 3, 4, 4\) in the earlier run"):
        load_run(wider, folder)
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_run(model_of({LABELS: ("mass",)}, 2), folder / "nowhere")


def test_two_beginnings_are_refused():
    with pytest.raises(ConfigError, match="starts from one of them"):
        load_config(TINY, {"model.init": "a.safetensors", "model.init_run": "b"})


def test_a_run_goes_on_from_another_with_a_dataset_more(tmp_path):
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 14, "phantom_all": 12}, size=64, processes=1)
    changes = {
        "datasets": [{"card": "phantom_labels"}],
        "schedule.cycles": 1,
        "schedule.max_steps": 1,
        "evaluate.final": ["val"],
    }
    assert train(load_config(TINY, changes), tmp_path / "data", tmp_path / "first")
    changes |= {
        "datasets": [{"card": "phantom_all", "tasks": ["classification"]}, {"card": "phantom_labels"}],
        "model.init_run": str(tmp_path / "first"),
        "optimizer.lr": 1e-30,
        "optimizer.weight_decay": 0.0,
    }
    assert train(load_config(TINY, changes), tmp_path / "data", tmp_path / "second")
    origin = WorkDir(tmp_path / "second").read_json("run.json")["begins_from"]
    assert list(origin["loaded"]) == ["phantom_labels/classification"]
    assert list(origin["initialised"]) == ["phantom_all/classification"]
    first, second = (load_checkpoint(tmp_path / name).teacher for name in ("first", "second"))
    assert all(torch.allclose(second[name], value, atol=1e-12) for name, value in first.items())
