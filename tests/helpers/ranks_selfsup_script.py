"""One rank of small self-supervised runs: losses, gradients, states, written by the first one.

    torchrun --nproc-per-node 2 tests/helpers/ranks_selfsup_script.py DATA OUT

Without a launcher it trains with whole batches.
"""

import sys
import tempfile
from pathlib import Path

import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core import distributed as ranks
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.hooks import Watcher
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from tests.helpers.selfsup_tiny import OBJECTIVES, tiny_selfsup

BATCH = 6
"""Two, or three, ranks see equally much of it; of Adam's queue it is a half."""


class Losses(Watcher):
    """Of every step: means over the ranks."""

    def __init__(self):
        self.steps = []

    def on_log(self, record):
        everyone = ranks.gather(record.losses)
        self.steps.append({name: sum(own[name] for own in everyone) / len(everyone) for name in record.losses})


def run(name, data, folder, optimiser):
    """A short run of one objective, through all stages and turns of its curriculum."""
    config = tiny_selfsup(
        name,
        model__backbone__drop_path_rate=0.0,  # each rank drops other paths
        schedule__cycles=4,
        optimiser=optimiser,
        runtime__batch_size=BATCH,
    )
    book = open_datasets(config, data)
    plan = build_plan(config, book.sizes(Split.TRAIN))
    model, losses = build_model(config, book, "cpu"), Losses()
    trainer = Trainer(config, model, plan, lambda step: plan_loader(config, book, plan, "cpu", step), folder, [losses])
    gradients = {}

    def keep(stepped, *_):
        if not gradients:
            gradients.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    trainer.optimiser.register_step_pre_hook(keep)
    trainer.train()
    return {
        "losses": losses.steps,
        "gradients": gradients,
        "student": model.state_dict(),
        "teacher": trainer.teacher.model.state_dict(),
    }


def main(data, target):
    torch.set_num_threads(1)
    optimisers = {
        "sgd": {"type": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        "adamw": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.04},
    }
    found = {}
    with ranks.joined():
        for name in OBJECTIVES:
            for kind, optimiser in optimisers.items():
                with tempfile.TemporaryDirectory() as folder:
                    found[f"{name}/{kind}"] = run(name, data, Path(folder), optimiser)
        if ranks.is_first():
            torch.save(found, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
