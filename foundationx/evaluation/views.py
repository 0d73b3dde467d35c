"""Evaluates a self-supervised head: the losses that its objective has on held-out images, and monitors of collapse."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from foundationx.core.geometry.views import TrainingProgress
from foundationx.core.types import BadSample, MetricRow, Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import PooledDataset, in_order, make_loader, usable
from foundationx.data.normalise import Normaliser
from foundationx.engine.step import look_at_views
from foundationx.evaluation.collapse import ViewScores, merged
from foundationx.models.foundation_model import FoundationModel


def evaluate_views(
    data_module: DataModule,
    pool: PooledDataset,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    key: TaskKey,
    progress: Callable[[TaskKey, int, int], None],
) -> tuple[list[MetricRow], list[BadSample]]:
    """Metric rows of one self-supervised head of every model, and samples that could not be read.

    Every image is seen once for each kind of batch that the objective takes in turn, as at the end of its curriculum.

    Every model is held against the teacher, if that is among the models, else against itself. Nothing that the
    objective remembers changes.

    Args:
        data_module: the datasets.
        pool: of one side of the split.
        models: by name, in evaluation mode.
        split: written into the rows.
        visit: written into the rows.
        key: the head.
        progress: is told head, batches done and batches in all.

    Raises:
        DataError: a sample is bad and ``on_bad_sample`` is ``raise``.
    """
    config = data_module.config
    device = next(next(iter(models.values())).parameters()).device
    normalise = Normaliser(config.model, device)
    turns = next(iter(models.values())).head(key).objective.turns
    scores = {name: [ViewScores() for _ in range(turns)] for name in models}
    plain = in_order(key, data_module.indices[key][split], config.runtime.eval_batch_size)
    batches = [
        [ref._replace(training_progress=TrainingProgress(turn, 1.0)) for ref in refs]
        for turn in range(turns)
        for refs in plain
    ]
    bad: list[BadSample] = []
    loader = make_loader(pool, batches, config.runtime.workers, pin_memory=device.type == "cuda")
    for done, loaded in enumerate(loader, start=1):
        batch = usable(loaded, config.runtime.on_bad_sample).to(device)
        bad.extend(entry for entry in batch.bad if entry not in bad)
        for name, model in models.items():
            with torch.no_grad():
                found = look_at_views(model, models.get("teacher", model), normalise, batch)
            scores[name][batch.training_progress.turn].add(found.losses, found.first, found.second, found.wanted)
        progress(key, done, len(batches))
    rows = [
        MetricRow(key.dataset, key.task.value, s.metric, s.class_name, s.value, s.n, name, visit, split.value)
        for name, kinds in scores.items()
        for s in merged([kind.rows() for kind in kinds])
    ]
    return rows, bad
