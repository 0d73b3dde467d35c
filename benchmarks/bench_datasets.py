"""What a step costs with 1, 5 and 20 datasets in the run: the loop's own step, and what idle heads hold.

python benchmarks/bench_datasets.py [--runs 7]
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
from pathlib import Path

from measuring import heading, in_turns, options, table
from small_world import CONFIG, DESCRIPTION, build, draw_batch, keys, phase_of
from torch.utils._python_dispatch import TorchDispatchMode

from foundationx.core.config.run import RunConfig
from foundationx.core.types import Batch, PhaseName, Task, TaskKey
from foundationx.engine.schedule.plan import Plan
from foundationx.engine.trainer import Trainer
from foundationx.models.parameter_groups import group_sizes, head_group, lock

DATASETS = (1, 5, 20)
ENOUGH = 10_000
"""Steps of the phase: more than are run, so that nothing is logged or closed."""

MEGABYTE = 2**20


class Operations(TorchDispatchMode):
    """Counts dispatched operations."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def trainer_of(datasets: int, key: TaskKey, batch: Batch, folder: Path) -> Trainer:
    """The loop over one phase of one head, in a run of so many datasets."""
    settings = {"log_every": ENOUGH, "batch_size": len(batch)}
    heads = keys(datasets, [key.task])
    cards = [{"card": head.dataset} for head in heads]
    config = RunConfig(name="many", model=CONFIG, datasets=cards, schedule={"cycles": 1}, runtime=settings)
    phase = dataclasses.replace(phase_of(key, PhaseName.RELEASE), steps=ENOUGH)
    return Trainer(config, build(heads), Plan((phase,)), lambda step: itertools.repeat(batch), folder)


def count(step) -> int:
    with Operations() as operations:
        step()
    return operations.count


def main() -> None:
    runs = options(__doc__).runs
    heading("Step and number of datasets", f"{DESCRIPTION} Two images per release step, with teacher and optimizer.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION):
            rows += task_rows(TaskKey("dataset0", task), Path(folder), runs)
    columns = ["task", "datasets", "ms per step", "against 1", "operations per step", "teacher's update, ms"]
    table([*columns, "weights of idle heads, MB"], rows)
    print("An idle head holds its weights twice (student and teacher), and after its first training AdamW's two")
    print("moments: four times its size. With one decoder per dataset, that is most of a detection head; with")
    print("`sharing='queries'` (Foundation X+), only queries and output heads remain.\n")


def task_rows(key: TaskKey, folder: Path, runs: int) -> list[list[str]]:
    batch = draw_batch(key)
    trainers = {datasets: trainer_of(datasets, key, batch, folder) for datasets in DATASETS}
    steps = {
        datasets: functools.partial(trainer._run_step, trainer.plan.phases[0], iter(trainer.batches(0)))
        for datasets, trainer in trainers.items()
    }
    seconds = in_turns(
        {str(datasets): functools.partial(locked, trainers[datasets], steps[datasets]) for datasets in DATASETS}, runs
    )
    updates = in_turns(
        {str(datasets): lambda t=trainers[datasets]: t.teacher.update(0.8) for datasets in DATASETS}, runs
    )
    rows = []
    for datasets, trainer in trainers.items():
        sizes = group_sizes(trainer.model)
        idle = sum(size for scope, size in sizes.items() if scope.startswith("head.") and scope != head_group(key))
        name, operations = str(datasets), count(functools.partial(locked, trainer, steps[datasets]))
        cells = [f"{1000 * seconds[name]:.0f}", f"{seconds[name] / seconds['1']:.2f}", f"{operations:,}"]
        rows.append([key.task.value, name, *cells, f"{1000 * updates[name]:.1f}", f"{4 * idle / MEGABYTE:.1f}"])
    return rows


def locked(trainer: Trainer, step) -> None:
    """A step inside its phase."""
    with lock(trainer.model, trainer.plan.phases[0].trainable):
        step()


if __name__ == "__main__":
    main()
