"""What the tests of survival share: a tiny trainer, and watchers that look on or crash."""

import copy
from pathlib import Path

import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.load import load_config
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.hooks import Watcher
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer

CONFIG = Path(__file__).parent / "tiny_config.py"


class CrashError(Exception):
    """What no part of the program expects."""


class Onlooker(Watcher):
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


class Snapshots(Watcher):
    """Copies of everything that training changes, after each step; of the optimiser, what is not zero.

    A fused optimiser makes the state of a parameter, all zero, before it sees that the step is to be left out.
    """

    def __init__(self):
        self.trainer, self.taken = None, {}

    def on_step(self, phase, step):
        everything = (
            self.trainer.model.state_dict(),
            self.trainer.teacher.model.state_dict(),
            {k: v for k, v in self.trainer.optimiser.state_dict()["state"].items() if v["step"] > 0},
        )
        self.taken[step] = copy.deepcopy(everything)


def tiny_trainer(phantoms, folder, watchers=(), fused=False, **options):
    """A trainer on phantoms, without evaluation."""
    config = load_config(CONFIG, {name.replace("__", "."): value for name, value in options.items()})
    book = open_datasets(config, phantoms)
    plan = build_plan(config, book.sizes(Split.TRAIN))
    model = build_model(config, book, "cpu")
    trainer = Trainer(config, model, plan, lambda step: plan_loader(config, book, plan, "cpu", step), folder, watchers)
    if fused:
        groups = [
            {n: g[n] for n in ("params", "lr", "base_lr", "weight_decay")} for g in trainer.optimiser.param_groups
        ]
        optimiser = torch.optim.AdamW(groups, betas=config.optimiser.betas, fused=True)
        trainer = Trainer(config, model, plan, trainer.batches, folder, watchers, optimiser)
    for watcher in watchers:
        if isinstance(watcher, Snapshots):
            watcher.trainer = trainer
    return trainer


def equal(one, two):
    """Bitwise equality of nested dictionaries of tensors."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, tuple):
        return all(equal(first, second) for first, second in zip(one, two, strict=True))
    return torch.equal(one, two)
