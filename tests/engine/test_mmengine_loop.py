"""The same recipe through mmengine's Runner and through our own command gives the same weights."""

from pathlib import Path

import torch

from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.phantoms.write import write_phantom_datasets

# isort: split
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


@HOOKS.register_module()
class CountingHook(Hook):
    """Counts what a Runner's hook sees."""

    def __init__(self):
        self.epochs = self.iterations = 0

    def before_train_epoch(self, runner):
        self.epochs += 1

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.iterations += 1


def test_runner_trains_what_the_command_trains(tmp_path):
    data = tmp_path / "data"
    write_phantom_datasets(data, 10, size=64, processes=1)
    config = Config.fromfile(str(ROOT / "configs" / "mmengine" / "phantom_runner.py"))
    recipe = {"config": str(TINY), "data_root": str(data)}
    config.model.update(recipe)
    config.train_dataloader = config.optim_wrapper.optimizer = recipe
    config.work_dir = str(tmp_path / "runner")
    config.custom_hooks = [{"type": "CountingHook"}]
    runner = Runner.from_cfg(config)
    student = runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, CountingHook))
    assert hook.epochs == runner.max_epochs == runner.train_loop.epoch
    assert hook.iterations == runner.max_iters == runner.train_loop.iter
    assert train(load_config(TINY), data, tmp_path / "own")
    own = load_checkpoint(tmp_path / "own")
    assert all(torch.equal(value, own.student[name]) for name, value in student.state_dict().items())
    assert all(torch.equal(value, own.teacher[name]) for name, value in runner.train_loop.teacher.state_dict().items())
