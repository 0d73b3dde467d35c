"""Ark's ablations: one head for all datasets, batches of all datasets mixed; golden tables and slow references."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundationx.apps.cli.main import main
from foundationx.apps.run.train import plan_loader, plan_segments
from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch, Split, Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.shared_head import gather, shared_name
from foundationx.engine.schedule.plan import build_plan
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_members, lock, task_groups
from foundationx.phantoms.write import write_phantom_datasets

TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
C = Task.CLASSIFICATION
A, B = TaskKey("a", C), TaskKey("b", C)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, {"phantom_labels": 16, "phantom_all": 12}, size=64, processes=1)
    return folder


def small(**changes):
    """Classification of two datasets that share five concepts."""
    options = {"datasets": [{"card": name, "tasks": ["classification"]} for name in ("phantom_labels", "phantom_all")]}
    options |= {"runtime.batch_size": 2, "schedule.cycles": 1, "schedule.lock.detection": 0}
    return load_config(TINY, options | {"schedule.lock.segmentation": 0} | changes)


def test_steps_of_one_head_in_a_cycle_share_a_pass(phantoms):
    config = small(**{"schedule.type": "concurrent", "schedule.order": "shuffled", "schedule.cycles": 2})
    data_module = open_datasets(config, phantoms)
    sizes = data_module.sizes(Split.TRAIN)
    plan = build_plan(config, sizes)
    seen: dict[tuple, list[str]] = {}
    for phase, batch in zip(plan.phases, plan_loader(config, data_module, plan, "cpu", 0), strict=True):
        seen.setdefault((phase.key, phase.cycle), []).extend(meta.image for meta in batch.metas)
    for (key, _), images in seen.items():
        assert len(set(images[: sizes[key]])) == sizes[key], "an image comes again before all have come once"
    again = [meta.image for batch in plan_loader(config, data_module, plan, "cpu", 5) for meta in batch.metas]
    whole = [meta.image for batch in plan_loader(config, data_module, plan, "cpu", 0) for meta in batch.metas]
    assert again == whole[10:], "resumed in the middle"


def test_a_phase_of_its_own_keeps_the_shuffle_of_its_number(phantoms):
    config = small()
    plan = build_plan(config, open_datasets(config, phantoms).sizes(Split.TRAIN))
    assert [(segment.stream, segment.skip) for segment in plan_segments(plan)] == [
        (n, 0) for n in range(len(plan.phases))
    ]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"canonical": "nodule"}, "nodule"),
        ({"canonical": "abnormality", "polarity": "absence"}, "no abnormality"),
        ({"canonical": "pneumonia", "relation": "narrower"}, "films: X"),
        ({}, "films: X"),
    ],
)
def test_only_what_is_exactly_a_concept_is_shared(values, name):
    assert shared_name("films", ClassSpec(name="X", **values)) == name


@given(st.data())
def test_gathering_by_name_equals_a_slow_loop(data):
    names = data.draw(st.lists(st.sampled_from("pqr"), min_size=1, max_size=4))
    values = st.sampled_from([0.0, 0.3, 1.0, np.nan])
    rows = data.draw(st.lists(st.lists(values, min_size=len(names), max_size=len(names)), min_size=1, max_size=3))
    result = gather(np.array(rows, dtype=np.float32), tuple(names), ("z", "r", "q", "p"))
    for row, gathered in zip(rows, result, strict=True):
        for name, value in zip(("z", "r", "q", "p"), gathered, strict=True):
            own = [label for label, other in zip(row, names, strict=True) if other == name]
            known = [label for label in own if not np.isnan(label)]
            if known and (max(known) >= 0.5 or len(known) == len(own)):
                assert value == np.float32(max(known))
            else:
                assert np.isnan(value)


def test_one_head_holds_the_concepts_of_all_datasets_by_name(phantoms):
    separate, shared = (open_datasets(small(**{"model.shared_head": is_so}), phantoms) for is_so in (False, True))
    concepts = {"Nodule": "nodule", "Effusion": "pleural_effusion", "Cardiomegaly": "cardiomegaly"}
    for key, table in shared.annotations.items():
        before = separate.annotations[key]
        assert table.classes == next(iter(shared.annotations.values())).classes
        for name, concept in concepts.items():
            ours, theirs = table.labels[:, table.classes.index(concept)], before.labels[:, before.classes.index(name)]
            np.testing.assert_array_equal(ours, theirs)
    assert not any(np.isnan(table.labels).all() for table in shared.annotations.values())


def shared_model(union=("p", "q", "r")):
    config = load_config(TINY, {"model.shared_head": True}).model
    return FoundationModel(config, {A: union, B: union, TaskKey("b", Task.SEGMENTATION): ("heart",)})


def test_both_datasets_train_the_same_weights_and_unknown_classes_none():
    model = shared_model()
    assert model.head(A) is model.head(B) and len(model.heads) == 2
    assert {"head.shared/classification", "head.b/segmentation"} <= group_members(model).keys()
    assert task_groups(A, model.config) == task_groups(B, model.config)
    images = torch.rand(2, 3, 64, 64)
    labels = torch.tensor([[1.0, float("nan"), 0.0], [0.0, float("nan"), 1.0]])
    batch = Batch(B, images, images, labels, ())
    with lock(model, task_groups(B, model.config)):
        sum(model.head_loss(model.trunk(images, B), batch).values()).backward()
        gradient = model.head(A).classifier.weight.grad
        assert gradient[1].abs().max() == 0 and gradient[0].abs().max() > 0 and gradient[2].abs().max() > 0


def test_exclusive_classes_and_a_shared_head_do_not_go_together():
    with pytest.raises(ConfigError, match="cannot exclude each other"):
        load_config(TINY, {"model.shared_head": True, "model.softmax": ["phantom_labels/classification"]})


@pytest.mark.parametrize("changes", [["model.shared_head=True"], ["schedule.type=concurrent", "teacher.update=step"]])
def test_both_ablations_run(phantoms, tmp_path, changes):
    (tmp_path / "config.py").write_text(
        f"_base_ = [{str(TINY.resolve())!r}]\n"
        "datasets = [dict(card=name, tasks=['classification']) for name in ('phantom_labels', 'phantom_all')]\n"
        "schedule = dict(cycles=1, lock=dict(classification=0.0, detection=0.0, segmentation=0.0))\n"
    )
    arguments = [
        "train",
        str(tmp_path / "config.py"),
        "--data-root",
        str(phantoms),
        "--work-dir",
        str(tmp_path / "run"),
    ]
    assert main([*arguments, "--cfg-options", "evaluate.final=['val']", *changes]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
