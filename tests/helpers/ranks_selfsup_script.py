"""One rank of small self-supervised runs: losses, gradients, states, written by the first one.

    torchrun --nproc-per-node 2 tests/helpers/ranks_selfsup_script.py DATA OUT

Without a launcher it trains with whole batches.
"""

import sys
import tempfile
from pathlib import Path

import torch

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core import distributed
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.plan import build_plan
from foundationx.engine.trainer import Trainer
from tests.helpers.selfsup_tiny import OBJECTIVES, tiny_selfsup

BATCH = 6
"""Two, or three, ranks see equally much of it; of Adam's queue it is a half."""


class Losses(Hook):
    """Of every step: means over the ranks."""

    def __init__(self):
        self.steps = []

    def on_log(self, record):
        everyone = distributed.all_gather_object(record.losses)
        self.steps.append({name: sum(own[name] for own in everyone) / len(everyone) for name in record.losses})


def run(name, data, folder, optimizer):
    """A short run of one objective, through all stages and turns of its curriculum."""
    config = tiny_selfsup(
        name,
        model__backbone__drop_path_rate=0.0,  # each rank drops other paths
        schedule__cycles=4,
        optimizer=optimizer,
        runtime__batch_size=BATCH,
    )
    data_module = open_datasets(config, data)
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model, losses = build_model(config, data_module, "cpu"), Losses()
    trainer = Trainer(
        config, model, plan, lambda step: plan_loader(config, data_module, plan, "cpu", step), folder, [losses]
    )
    gradients = {}

    def keep(stepped, *_):
        if not gradients:
            gradients.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    trainer.optimizer.register_step_pre_hook(keep)
    trainer.train()
    return {
        "losses": losses.steps,
        "gradients": gradients,
        "student": model.state_dict(),
        "teacher": trainer.teacher.model.state_dict(),
    }


def main(data, target):
    torch.set_num_threads(1)
    optimizers = {
        "sgd": {"type": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        "adamw": {"type": "adamw", "lr": 1e-3, "weight_decay": 0.04},
    }
    result = {}
    with distributed.init_process_group():
        for name in OBJECTIVES:
            for kind, optimizer in optimizers.items():
                with tempfile.TemporaryDirectory() as folder:
                    result[f"{name}/{kind}"] = run(name, data, Path(folder), optimizer)
        if distributed.is_main_process():
            torch.save(result, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
