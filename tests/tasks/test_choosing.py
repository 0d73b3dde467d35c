"""Which head and which objective a configuration chooses, of ours and of packages outside."""

from pathlib import Path

import pytest
import torch

from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.config.model import ModelConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Task, all_tasks
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.base import HEADS, open_head
from foundationx.tasks.classification.head import ClassificationHead
from foundationx.tasks.self_supervision import objectives
from foundationx.tasks.self_supervision.objective import OBJECTIVES, open_objective
from foundationx.tasks.self_supervision.objectives.peac import Peac
from tests.helpers.outside_package import install_distribution

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"

PEAC_SHORT = """
from foundationx.tasks.self_supervision.objectives.peac import Peac

class PeacShort(Peac):
    def forward(self, batch):
        return super().forward(batch)
"""

MLP = """
from pydantic import Field
from torch import nn

from foundationx.tasks.base import HeadOptions
from foundationx.tasks.classification.head import ClassificationHead


class MlpOptions(HeadOptions):
    hidden: int = Field(8, gt=0, description="width of the hidden layer")


class MlpHead(ClassificationHead):
    Options = MlpOptions

    @classmethod
    def build(cls, trunk, num_classes, config, options):
        head = cls(options.hidden, num_classes)
        head.hidden = nn.Sequential(nn.Linear(trunk.out_features, options.hidden), nn.ReLU())
        return head

    def forward(self, feature, trunk, batch=None):
        return super().forward(self.hidden(feature), trunk, batch)
"""


def model_config(**heads):
    return ModelConfig(backbone={"type": "mmdet.SwinTransformer"}, heads=heads)


@pytest.fixture
def mlp_installed(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    install_distribution(folder, "mlp-heads", {"foundationx.heads": {"mlp": "outside_mlp"}}, {"outside_mlp": MLP})
    monkeypatch.syspath_prepend(str(folder))


def test_an_objective_that_subclasses_a_shipped_one_trains_itself(tmp_path, monkeypatch):
    (tmp_path / "peac_short.py").write_text(PEAC_SHORT)
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    chosen, options = open_objective({"type": "peac_short", "cells": 3})
    assert chosen.__name__ == "PeacShort" and issubclass(chosen, Peac) and options.cells == 3
    assert open_objective({"type": "peac"})[0] is Peac
    assert OBJECTIVES.names() == ("ace", "adam", "adam_v2", "lamps", "peac", "peac_short", "site")


@pytest.mark.parametrize("task", all_tasks())
def test_the_default_head_is_named_by_its_task(task):
    assert open_head(task, model_config())[0] is HEADS.get(task.value)
    assert HEADS.get(task.value).task == task


def test_a_second_head_replaces_the_first_only_where_it_is_chosen(mlp_installed):
    assert open_head(Task.CLASSIFICATION, model_config())[0] is ClassificationHead
    chosen, options = open_head(
        Task.CLASSIFICATION, model_config(classification={"type": "mlp", "options": {"hidden": 5}})
    )
    assert chosen.__name__ == "MlpHead" and options.hidden == 5


def test_faults_of_the_choice_name_the_key(mlp_installed):
    for heads, message in [
        ({"classification": {"type": "mpl"}}, r"model.heads.classification.type: no head is called 'mpl'\n.*'mlp'"),
        ({"detection": {"type": "mlp"}}, r"model.heads.detection.type: 'mlp' is a head of classification"),
        (
            {"classification": {"type": "mlp", "options": {"hiden": 5}}},
            r"model.heads.classification.options.hiden: unknown key\n.*'hidden'",
        ),
        ({"classification": {"type": "classification", "options": {"a": 1}}}, r"classification.options.a: unknown key"),
    ]:
        (task,) = heads
        with pytest.raises(ConfigError, match=message):
            open_head(Task(task), model_config(**heads))


def test_options_of_a_base_configuration_s_head_do_not_suit_another_and_the_advice_leaves_them_out(tmp_path):
    other, derived = "type='unihead', options=dict(channels=64)", tmp_path / "derived.py"
    base = Path(__file__).resolve().parents[2] / "configs/quickstart/phantom.py"  # a glori head with a width
    text = f"_base_ = [{str(base)!r}]\nmodel = dict(heads=dict(classification=dict({{}})))\n"
    derived.write_text(text.format(other))
    with pytest.raises(ConfigError, match=r"options.width: unknown key\n[^$]*fix: [^$]*_delete_=True") as caught:
        open_head(Task.CLASSIFICATION, load_config(derived).model)
    assert "base configuration" in caught.value.fix
    derived.write_text(text.format(f"_delete_=True, {other}"))
    assert open_head(Task.CLASSIFICATION, load_config(derived).model)[1].channels == 64


def test_a_head_of_another_package_is_trained_stored_and_opened_again(mlp_installed, tmp_path):
    data = tmp_path / "data"
    write_phantom_datasets(data, 10, size=64, processes=1)
    options = {
        "datasets": [{"card": "phantom_labels"}],
        "model.heads": {"classification": {"type": "mlp", "options": {"hidden": 6}}},
        "schedule.cycles": 1,
        "schedule.max_steps": 2,
        "evaluate.every": 0,
        "evaluate.final": [],
    }
    assert train(load_config(CONFIG, options), data, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.config.model.heads[Task.CLASSIFICATION].type == "mlp"
    model = checkpoint.model("student")
    (head,) = model.heads.values()
    assert type(head).__name__ == "MlpHead" and head.hidden[0].out_features == 6
    began = checkpoint.model("student").heads
    fresh = type(model)(checkpoint.config.model, checkpoint.classes).heads
    trained, random = (next(iter(heads.values())).hidden[0].weight for heads in (began, fresh))
    assert not torch.equal(trained, random)
