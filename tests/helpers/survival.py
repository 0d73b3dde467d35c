"""What the tests of survival share: a tiny trainer, and hooks that look on or crash."""

import copy
from pathlib import Path

import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer

CONFIG = Path(__file__).parent / "tiny_config.py"


class CrashError(Exception):
    """What no part of the program expects."""


class Onlooker(Hook):
    """Keeps what it is told. Crashes when a step is done, if that is asked for."""

    def __init__(self, crash_after=None):
        self.records, self.incidents, self.crash_after = [], [], crash_after

    def on_log(self, record):
        self.records.append((record.step, record.losses, record.jump))

    def on_incident(self, incident):
        self.incidents.append(incident)

    def on_step(self, phase, step):
        if step == self.crash_after:
            raise CrashError


class Snapshots(Hook):
    """Copies of everything that training changes, after each step; of the optimizer, what is not zero.

    A fused optimizer makes the state of a parameter, all zero, before it sees that the step is to be left out.
    """

    def __init__(self):
        self.trainer, self.taken = None, {}

    def on_step(self, phase, step):
        self.trainer.teacher.flush()
        everything = (
            self.trainer.model.state_dict(),
            self.trainer.teacher.model.state_dict(),
            {k: v for k, v in self.trainer.optimizer.state_dict()["state"].items() if v["step"] > 0},
        )
        self.taken[step] = copy.deepcopy(everything)


def tiny_trainer(phantoms, folder, hooks=(), fused=False, **options):
    """A trainer on phantoms, without evaluation."""
    config = load_config(CONFIG, {name.replace("__", "."): value for name, value in options.items()})
    data_module = open_datasets(config, phantoms)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, "cpu")
    trainer = Trainer(
        config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder, hooks
    )
    if fused:
        groups = [
            {n: g[n] for n in ("params", "lr", "base_lr", "weight_decay")} for g in trainer.optimizer.param_groups
        ]
        optimizer = torch.optim.AdamW(groups, betas=config.optimizer.betas, fused=True)
        trainer = Trainer(config, model, plan, trainer.batches, folder, hooks, optimizer)
    for hook in hooks:
        if isinstance(hook, Snapshots):
            hook.trainer = trainer
    return trainer


def equal(one, two):
    """Bitwise equality of nested dictionaries of tensors."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, tuple):
        return all(equal(first, second) for first, second in zip(one, two, strict=True))
    return torch.equal(one, two)
