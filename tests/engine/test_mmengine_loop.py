"""A recipe through mmengine's Runner is what the command trains: weights, resuming, stopping, clients, compiling."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from foundationx.apps import mmengine_loop
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.models.compile import is_compiled
from foundationx.phantoms.write import write_phantom_datasets

# isort: split
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


@HOOKS.register_module()
class CountingHook(Hook):
    """Counts what a Runner's hook sees; stops the training after an iteration, if that is asked for."""

    def __init__(self, stop_after=None):
        self.epochs = self.iterations = 0
        self.stop_after = stop_after

    def before_train_epoch(self, runner):
        self.epochs += 1

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.iterations += 1
        if self.iterations == self.stop_after:
            runner.train_loop.stop_training = True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 10, size=64, processes=1)
    return folder


def runner_of(recipe, data, work_dir, **changes):
    """A Runner of a recipe's configuration file."""
    config = Config.fromfile(str(ROOT / "configs" / "mmengine" / "phantom_runner.py"))
    values = {"config": str(recipe), "data_root": str(data)}
    config.model.update(values)
    config.train_dataloader = config.optim_wrapper.optimizer = values
    config.work_dir = str(work_dir)
    config.custom_hooks = [{"type": "CountingHook"}]
    config.merge_from_dict(changes)
    return Runner.from_cfg(config)


def counted(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, CountingHook))


def recipe_of(folder, text=""):
    """The tiny configuration, one visit of two steps a head, with further keys."""
    path = folder / "recipe.py"
    path.write_text(f"_base_ = [{str(TINY)!r}]\nschedule = dict(cycles=1, max_steps=2)\n{text}\n")
    return path


def assert_same(runner, checkpoint):
    """Student and teacher of a Runner's loop are those of a checkpoint, bit for bit."""
    student, teacher = runner.model.state_dict(), runner.train_loop.teacher.state_dict()
    assert all(torch.equal(value, checkpoint.student[name]) for name, value in student.items())
    assert all(torch.equal(value, checkpoint.teacher[name]) for name, value in teacher.items())


def test_runner_trains_what_the_command_trains(data, tmp_path):
    runner = runner_of(TINY, data, tmp_path / "runner")
    assert runner.train() is runner.model
    hook = counted(runner)
    assert hook.epochs == runner.max_epochs == runner.train_loop.epoch
    assert hook.iterations == runner.max_iters == runner.train_loop.iter
    assert runner.train_loop.finished
    assert train(load_config(TINY), data, tmp_path / "own")
    assert_same(runner, load_checkpoint(tmp_path / "own"))


def test_a_stopped_runner_resumes_to_the_same_bits(data, tmp_path):
    recipe = recipe_of(tmp_path)
    whole = runner_of(recipe, data, tmp_path / "whole")
    whole.train()
    hooks = {"custom_hooks": [{"type": "CountingHook", "stop_after": 3}]}
    stopped = runner_of(recipe, data, tmp_path / "torn", **hooks)
    stopped.train()
    assert not stopped.train_loop.finished and stopped.train_loop.iter == 3 < stopped.max_iters
    with pytest.raises(CheckpointError, match=r"holds a run already[^$]*set resume=True"):
        runner_of(recipe, data, tmp_path / "torn").train()
    again = runner_of(recipe, data, tmp_path / "torn", resume=True)
    again.train()
    assert again.train_loop.finished and counted(again).iterations == whole.max_iters - 3
    assert again.train_loop.epoch == again.max_epochs
    assert_same(again, load_checkpoint(tmp_path / "whole"))


def test_resume_without_a_checkpoint_begins_anew(data, tmp_path):
    runner = runner_of(recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]"), data, tmp_path, resume=True)
    runner.train()
    assert runner.train_loop.finished and counted(runner).iterations == runner.max_iters


def test_the_splits_of_a_run_are_recorded_and_kept_on_resume(data, tmp_path):
    recipe = recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]")
    runner_of(recipe, data, tmp_path / "run", custom_hooks=[{"type": "CountingHook", "stop_after": 1}]).train()
    file = tmp_path / "run" / "splits.json"
    splits = json.loads(file.read_text())
    assert set(splits.values()) == {"train", "val", "test"}
    assert runner_of(recipe, data, tmp_path / "run", resume=True).train_loop.data_module.record.splits == splits
    patient = next(name for name, split in splits.items() if split == "test")
    file.write_text(json.dumps(splits | {patient: "train"}))
    with pytest.raises(ConfigError, match="1 patients would change their split"):
        _ = runner_of(recipe, data, tmp_path / "run", resume=True).train_loop


def test_the_audit_that_was_applied_to_the_data_is_left_out(data, tmp_path):
    recipe = recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]")
    shutil.copytree(data, tmp_path / "data")
    before = open_datasets(load_config(recipe), tmp_path / "data")
    (key,) = before.annotations
    image = before.annotations[key].images[before.indices[key][Split.TRAIN][0]]
    (tmp_path / "data" / "audit").mkdir()
    (tmp_path / "data" / "audit" / "exclude.csv").write_text(f"dataset,image\nphantom_labels,{image}\n")
    loop = runner_of(recipe, tmp_path / "data", tmp_path / "run").train_loop
    assert loop.data_module.excluded == {"phantom_labels": {image}}
    assert loop.data_module.sizes(Split.TRAIN)[key] == before.sizes(Split.TRAIN)[key] - 1


def test_clients_take_turns_as_in_the_command(data, tmp_path):
    text = "schedule['type'] = 'federated'\n"
    text += "federation = dict(clients=[['phantom_labels'], ['phantom_boxes', 'phantom_masks']])"
    recipe = recipe_of(tmp_path, text)
    runner = runner_of(recipe, data, tmp_path / "runner")
    runner.train()
    config = load_config(recipe, {"evaluate.every": 0, "evaluate.final": ["val"]})
    assert train(config, data, tmp_path / "own")
    own = load_checkpoint(tmp_path / "own")
    assert len(own.progress["clients"]) == 2
    assert_same(runner, own)


def test_student_and_teacher_are_compiled(data, tmp_path):
    text = "datasets = [dict(card='phantom_labels')]\nruntime = dict(compile='eager')"
    runner = runner_of(recipe_of(tmp_path, text), data, tmp_path / "runner")
    runner.train()
    assert is_compiled(runner.model.backbone) and is_compiled(runner.train_loop.teacher.backbone)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"load_from": "somewhere.pth"}, "load_from"),
        ({"param_scheduler": [{"type": "MultiStepLR", "milestones": [1]}]}, "param_scheduler"),
        ({"auto_scale_lr": {"base_batch_size": 16}}, "auto_scale_lr"),
        ({"compile": True}, "compile"),
        ({"optim_wrapper.clip_grad": {"max_norm": 1.0}}, "optim_wrapper"),
        ({"optim_wrapper.type": "AmpOptimWrapper"}, "optim_wrapper"),
        ({"optim_wrapper.paramwise_cfg": {"norm_decay_mult": 0.0}}, "optim_wrapper"),
    ],
)
def test_what_contradicts_the_recipe_is_refused_by_name(data, tmp_path, changes, key):
    recipe = recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]")
    with pytest.raises(ConfigError, match=f"^{key}: found"):
        runner_of(recipe, data, tmp_path / "runner", **changes).train()


def test_a_wrapped_model_and_another_loop_are_refused(data, tmp_path):
    recipe = {"config": str(recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]")), "data_root": str(data)}
    model = mmengine_loop.RecipeModel(**recipe)
    wrapped = SimpleNamespace(model=torch.nn.DataParallel(model), cfg={})
    with pytest.raises(ConfigError, match="found DataParallel"):
        mmengine_loop.CyclicLoop(wrapped, recipe)
    with pytest.raises(ConfigError, match="another loop than CyclicLoop"):
        model.train_step({}, None)


def test_memory_is_pinned_for_the_device_of_the_model(data, tmp_path, monkeypatch):
    recipe = {"config": str(recipe_of(tmp_path, "datasets = [dict(card='phantom_labels')]")), "data_root": str(data)}
    model = mmengine_loop.RecipeModel(**recipe)
    loop = mmengine_loop.CyclicLoop(SimpleNamespace(model=model, cfg={}), recipe)
    assert not loop.dataloader.pin_memory
    devices = []
    monkeypatch.setattr(mmengine_loop, "plan_loader", lambda *arguments: devices.append(arguments[3].type))
    mmengine_loop.CyclicLoop(SimpleNamespace(model=model.to("meta"), cfg={}), recipe)
    assert devices == ["meta"]
