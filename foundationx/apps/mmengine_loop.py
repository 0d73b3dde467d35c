"""Our loop as an mmengine ``Loop``: Runner users have it by configuration, with their own hooks around it.

A configuration of the Runner holds::

    custom_imports = dict(imports=["foundationx.apps.mmengine_loop"])
    recipe = dict(config="configs/quickstart/phantom.py", data_root="data/phantoms")
    model = dict(type="RecipeModel", **recipe)
    train_dataloader = recipe
    optim_wrapper = dict(type="OptimWrapper", constructor="RecipeOptimizer", optimizer=recipe)
    train_cfg = dict(type="CyclicLoop")

A phase is an epoch to the Runner, a step an iteration. The configuration of the recipe holds here as it does
for ``foundationx train``: its device-independent numbers, compiling, federated clients, checkpoints. ``resume=True``
goes on from the newest checkpoint of the work directory, and SIGINT, SIGTERM or a hook that sets ``stop_training`` end
the run after the current step with a checkpoint.

What would contradict the recipe is refused by name: ``load_from``, ``param_scheduler``, ``auto_scale_lr``, ``compile``,
options of the optimizer wrapper, and several processes (``torchrun -m foundationx train`` runs those).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foundationx.apps.run.data_notes import data_notes, with_applied_audit
from foundationx.apps.run.train import (
    begin_heads,
    build_trainer,
    load_initial_weights,
    plan_loader,
    resume_newest,
    write_splits,
)
from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.openmmlab import LOOPS, MMENGINE_MODELS, OPTIM_WRAPPER_CONSTRUCTORS, BaseLoop, OptimWrapper
from foundationx.core.types import Split
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.patient_splits import SplitRecord, read_record
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import checkpoints_in
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.optim import build_optimizer
from foundationx.engine.schedule.plan import Phase, Plan, build_plan
from foundationx.engine.trainer import Trainer
from foundationx.models.foundation_model import FoundationModel


@cache
def _recipe(config: str, data_root: str) -> tuple[RunConfig, DataModule, Plan]:
    """Configuration, datasets and plan; model, optimizer and loop of one Runner share them.

    The list of an audit that was applied to the data root is left out of training, as by ``foundationx train``.
    """
    loaded = with_applied_audit(load_config(config), Path(data_root))
    data_module = open_datasets(loaded, Path(data_root))
    return loaded, data_module, build_plan(loaded, data_module.sizes(Split.TRAIN))


@MMENGINE_MODELS.register_module()
class RecipeModel(FoundationModel):
    """Student of a recipe, seeded, with the weights that its configuration names.

    Args:
        config: Path of the recipe's configuration.
        data_root: Folder that holds the datasets.
    """

    def __init__(self, config: str, data_root: str):
        loaded, data_module, _ = _recipe(config, data_root)
        torch.manual_seed(loaded.runtime.seed)
        super().__init__(loaded.model, data_module.classes)
        begin_heads(self, data_module)
        load_initial_weights(self)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Is not called: a Runner asks for it to be there, and CyclicLoop makes the steps."""
        fix = "train_cfg = dict(type='CyclicLoop')"
        raise ConfigError("train_cfg", "another loop than CyclicLoop trains a RecipeModel", "CyclicLoop", fix)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RecipeOptimizer:
    """Builds the recipe's optimizer, with every parameter in exactly one group.

    Args:
        optim_wrapper_cfg: Configuration of the wrapper: its type ``OptimWrapper``, and the recipe as ``optimizer``.
        paramwise_cfg: Not used; must be None.

    Raises:
        ConfigError: Anything else is set: the recipe's configuration determines the optimizer.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None):
        options = {name: value for name, value in optim_wrapper_cfg.items() if name not in ("type", "optimizer")}
        if paramwise_cfg is not None:
            options["paramwise_cfg"] = paramwise_cfg
        if optim_wrapper_cfg.get("type", "OptimWrapper") != "OptimWrapper":
            options["type"] = optim_wrapper_cfg["type"]
        _refuse("optim_wrapper", options, "set `optimizer` and `runtime.precision` in the recipe's configuration")
        self.recipe = optim_wrapper_cfg["optimizer"]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The optimizer of the configuration (AdamW or SGD) in a wrapper that leaves it as it is."""
        config, _, _ = _recipe(**self.recipe)
        return OptimWrapper(build_optimizer(model, config.optimizer))


@LOOPS.register_module()
class CyclicLoop(BaseLoop):
    """Runs the recipe's plan inside a Runner.

    Args:
        runner: Runner; its model is the student, its optimizer the recipe's.
        dataloader: Recipe: ``config`` and ``data_root``.

    Attributes:
        teacher: The teacher's network, after :meth:`run`.
        finished: Whether the plan came to its end; False if the run was stopped before.
        stop_training: A hook sets it to end the run after the current step (as ``EarlyStoppingHook`` does).

    Raises:
        ConfigError: The Runner's configuration contradicts the recipe, or patients of a resumed run would change their
            split.
    """

    def __init__(self, runner: Any, dataloader: dict[str, str]):
        self.config, self.data_module, self.plan = _recipe(**dataloader)
        _refuse_contradictions(runner)
        record = read_record(Path(runner.work_dir)) if runner.cfg.get("resume", False) else SplitRecord()
        if record.splits:  # patients keep the splits that the run began with
            self.data_module = open_datasets(self.config, Path(dataloader["data_root"]), record=record)
            self.plan = build_plan(self.config, self.data_module.sizes(Split.TRAIN))
        device = next(runner.model.parameters()).device
        super().__init__(runner, plan_loader(self.config, self.data_module, self.plan, device, 0))
        self._iter = 0
        self._epoch = 0
        self.teacher: nn.Module | None = None
        self.finished = False
        self.stop_training = False

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
        """Trains the student.

        Returns:
            The student; the teacher is ``loop.teacher`` afterwards.

        Raises:
            CheckpointError: The work directory holds a run that is not to be resumed, or one that cannot be.
        """
        runner = self.runner
        folder = WorkDir(Path(runner.work_dir))
        optimizer = runner.optim_wrapper.optimizer
        trainer = build_trainer(self.config, self.data_module, self.plan, runner.model, folder, optimizer)
        incidents = self._resume(trainer, folder)
        for note in data_notes(self.data_module, Catalog()):
            runner.logger.warning(note)
        write_splits(folder, self.data_module)
        trainer.hooks.append(_RunnerHooks(self, trainer))
        runner.call_hook("before_train")
        for incident in incidents:
            trainer.report(incident)
        self.finished = trainer.train()
        if not self.finished:
            text = "stopped after step %d of %d; `resume=True` goes on from there"
            runner.logger.warning(text, trainer.step, self.max_iters)
        runner.call_hook("after_train")
        self.teacher = trainer.teacher.model
        return trainer.model

    def _resume(self, trainer: Trainer, folder: WorkDir) -> list[Incident]:
        """Goes on from the newest checkpoint if the Runner is to resume. Raises CheckpointError."""
        if not checkpoints_in(folder.root):
            return []
        if not self.runner.cfg.get("resume", False):
            fix = "set resume=True, or choose another work_dir"
            raise CheckpointError(str(folder.root), "holds a run already", "an empty work directory", fix)
        incidents = resume_newest(trainer, folder)
        self._iter = trainer.step
        self._epoch = sum(phase.end_step <= trainer.step for phase in self.plan.phases)
        return incidents


class _RunnerHooks(Hook):
    """Calls the Runner's hooks."""

    def __init__(self, loop: CyclicLoop, trainer: Trainer):
        self.loop, self.runner, self.trainer = loop, loop.runner, trainer
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
        if self.loop.stop_training:
            self.trainer.stop.ask()

    def on_log(self, record: LogRecord) -> None:
        """Losses go to the Runner's message hub, where its LoggerHook finds them."""
        scalars = {f"train/{name}": value for name, value in record.losses.items()}
        self.runner.message_hub.update_scalars(scalars | {"train/lr": record.lr})

    def on_incident(self, incident: Incident) -> None:
        """A warning in the Runner's log."""
        self.runner.logger.warning(str(incident))


def _refuse_contradictions(runner: Any) -> None:
    """Raises ConfigError if the Runner's configuration asks for what the recipe decides."""
    if not isinstance(runner.model, FoundationModel):
        fix = "model = dict(type='RecipeModel', ...), in one process; `torchrun -m foundationx train` takes several"
        raise ConfigError("model", f"found {type(runner.model).__name__}", "RecipeModel", fix)
    _refuse("load_from", runner.cfg.get("load_from"), "set model.init or model.init_run in the recipe, or resume=True")
    _refuse("param_scheduler", runner.cfg.get("param_scheduler"), "set optimizer.curve and optimizer.warmup instead")
    _refuse("auto_scale_lr", runner.cfg.get("auto_scale_lr"), "set optimizer.lr in the recipe")
    _refuse("compile", runner.cfg.get("compile"), "set runtime.compile in the recipe")


def _refuse(key: str, value: Any, fix: str) -> None:
    """Raises ConfigError if a key of the Runner is set that the recipe decides."""
    if value:
        raise ConfigError(key, f"found {value!r}", "nothing: the recipe's configuration decides", fix)
