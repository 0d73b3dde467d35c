"""Our loop as an mmengine ``Loop``: Runner users have it by configuration, with their own hooks around it.

A configuration of the Runner holds::

    custom_imports = dict(imports=["foundationx.apps.mmengine_loop"])
    recipe = dict(config="configs/quickstart/phantom.py", data_root="data/phantoms")
    model = dict(type="RecipeModel", **recipe)
    train_dataloader = recipe
    optim_wrapper = dict(type="OptimWrapper", constructor="RecipeOptimiser", optimizer=recipe)
    train_cfg = dict(type="CyclicLoop")

A visit's phase is an epoch to the Runner, a step an iteration. Learning rates follow the recipe; a ``param_scheduler``
of the Runner would fight it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.openmmlab import LOOPS, MMENGINE_MODELS, OPTIM_WRAPPER_CONSTRUCTORS, BaseLoop, OptimWrapper
from foundationx.core.types import Split
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.engine.hooks import Hook, LogRecord
from foundationx.engine.optim import build_optimizer
from foundationx.engine.schedule.plan import Phase, Plan, build_plan
from foundationx.engine.trainer import Trainer
from foundationx.models.foundation_model import FoundationModel


@cache
def _recipe(config: str, data_root: str) -> tuple[RunConfig, DataModule, Plan]:
    """Configuration, datasets and plan; model, optimizer and loop of one Runner share them."""
    loaded = load_config(config)
    data_module = open_datasets(loaded, Path(data_root))
    return loaded, data_module, build_plan(loaded, data_module.sizes(Split.TRAIN))


@MMENGINE_MODELS.register_module(name="RecipeModel")
def recipe_model(config: str, data_root: str) -> FoundationModel:
    """The student of a recipe."""
    loaded, data_module, _ = _recipe(config, data_root)
    return build_model(loaded, data_module, "cpu")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="RecipeOptimiser")
class RecipeOptimiser:
    """Builds the recipe's optimizer, with every parameter in exactly one group."""

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None):
        self.recipe = optim_wrapper_cfg["optimizer"]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """An OptimWrapper around AdamW."""
        loaded, _, _ = _recipe(**self.recipe)
        return OptimWrapper(build_optimizer(model, loaded.optimizer))


@LOOPS.register_module(name="CyclicLoop")
class CyclicLoop(BaseLoop):
    """Runs the recipe's plan inside a Runner.

    Args:
        runner: the Runner; its model is the student, its optimizer the recipe's.
        dataloader: the recipe: ``config`` and ``data_root``.
    """

    def __init__(self, runner: Any, dataloader: dict[str, str]):
        self.config, self.data_module, self.plan = _recipe(**dataloader)
        super().__init__(runner, plan_loader(self.config, self.data_module, self.plan, "cpu", 0))
        self._iter = 0
        self._epoch = 0
        self.teacher: nn.Module | None = None

    @property
    def iter(self) -> int:
        """Steps done."""
        return self._iter

    @property
    def max_iters(self) -> int:
        """Steps of the plan."""
        return self.plan.total_steps

    @property
    def epoch(self) -> int:
        """Phases done."""
        return self._epoch

    @property
    def max_epochs(self) -> int:
        """Phases of the plan."""
        return len(self.plan.phases)

    def run(self) -> nn.Module:
        """Trains; gives the student. The teacher stands in ``loop.teacher`` afterwards."""
        trainer = Trainer(
            self.config,
            self.runner.model,
            self.plan,
            lambda step: self.dataloader,
            Path(self.runner.work_dir) / "checkpoints",
            [_HookBridge(self)],
            self.runner.optim_wrapper.optimizer,
        )
        self.runner.call_hook("before_train")
        trainer.train()
        self.runner.call_hook("after_train")
        self.teacher = trainer.teacher.model
        return self.runner.model


class _HookBridge(Hook):
    """Calls the Runner's hooks."""

    def __init__(self, loop: CyclicLoop):
        self.loop, self.runner = loop, loop.runner
        self.first_step = 0

    def on_phase(self, phase: Phase) -> None:
        """An epoch begins."""
        self.first_step = phase.first_step
        self.runner.call_hook("before_train_epoch")

    def on_step(self, phase: Phase, step: int) -> None:
        """An iteration is over."""
        self.runner.call_hook("after_train_iter", batch_idx=step - 1 - self.first_step, data_batch=None, outputs=None)
        self.loop._iter = step
        if step == phase.end_step:
            self.loop._epoch += 1
            self.runner.call_hook("after_train_epoch")

    def on_log(self, record: LogRecord) -> None:
        """Losses go to the Runner's message hub, where its LoggerHook finds them."""
        scalars = {f"train/{name}": value for name, value in record.losses.items()}
        self.runner.message_hub.update_scalars(scalars | {"train/lr": record.lr})
