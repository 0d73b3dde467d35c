"""Evaluates a self-supervised head: the losses that its objective has on held-out images, and monitors of collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foundationx.core import distributed
from foundationx.core.config.run import RunConfig
from foundationx.core.geometry.views import TrainingProgress
from foundationx.core.tensors import map_tensors
from foundationx.core.types import BadSample, MetricRow, Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import AGAIN, PooledDataset, SampleRef, in_order, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.collapse import ViewScores, merged
from foundationx.evaluation.sharing import collect_in_order, own_share
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.views import look_at_views
from foundationx.tasks.self_supervision.head import SelfSupervisionHead
from foundationx.tasks.self_supervision.objective import ObjectiveOutput
from foundationx.tasks.self_supervision.target import SelfSupervisionBatch


def evaluate_views(
    data_module: DataModule,
    pool: PooledDataset,
    models: Mapping[str, FoundationModel],
    split: Split,
    visit: int,
    key: TaskKey,
    progress: Callable[[TaskKey, int, int], None],
    rank: int = 0,
) -> tuple[list[MetricRow], list[BadSample]]:
    """Metric rows of one self-supervised head of every model, and samples that could not be read.

    Several ranks share the batches; one of them has the rows.

    Every image is used once for each kind of batch that the objective takes in turn, as at the end of its curriculum.
    Every model is compared with the teacher, if that is among the models, else with itself. The objective's memory does
    not change.

    Args:
        data_module: Datasets of the run.
        pool: Images of the split.
        models: Models by name, in evaluation mode.
        split: Split to evaluate.
        visit: Visits trained so far, written into the rows.
        key: Head to evaluate.
        progress: Called with head, batches done and batches in all.
        rank: The rank that measures the head.

    Raises:
        DataError: A sample is bad and ``on_bad_sample`` is ``raise``.
    """
    config = data_module.config
    device = next(next(iter(models.values())).parameters()).device
    turns = _turns(next(iter(models.values())), key)
    scores = {name: [ViewScores() for _ in range(turns)] for name in models}
    batches = _batches(in_order(key, data_module.indices[key][split], config.runtime.eval_batch_size), turns)
    bad: list[BadSample] = []

    def take(seen: _Seen) -> None:
        bad.extend(entry for entry in seen.bad if entry not in bad)
        for name, output in map_tensors(seen.outputs, lambda tensor: tensor.to(device)).items():
            scores[name][seen.turn].add(output.losses, output.first, output.second, output.assigned)

    def part_for(seen: _Seen, to: int) -> _Seen | None:
        if distributed.world_size() == 1:
            return seen
        return replace(seen, outputs=map_tensors(seen.outputs, Tensor.cpu)) if to == rank else None

    results = _results(config, pool, models, device, batches, lambda done: progress(key, done, len(batches)))
    collect_in_order(len(batches), results, part_for, take)
    if distributed.world_size() > 1 and distributed.rank() != rank:
        return [], []
    return [row for name in models for row in _rows(scores[name], key, name, visit, split)], bad


def _results(
    config: RunConfig,
    pool: PooledDataset,
    models: Mapping[str, FoundationModel],
    device: torch.device,
    batches: list[list[SampleRef]],
    progress: Callable[[int], None],
) -> Iterator[_Seen]:
    """What the objective computes of each of this rank's batches."""
    normalise = Normaliser(config.model, device)
    loader = make_loader(pool, own_share(batches), config.runtime.workers, pin_memory=device.type == "cuda")
    for done, loaded in enumerate(read_all(loader, "evaluation", AGAIN), start=1):
        batch = usable(loaded, config.runtime.on_bad_sample).to(device)
        assert isinstance(batch, SelfSupervisionBatch)
        with distributed.alone(), torch.no_grad():
            outputs = {
                name: look_at_views(model, models.get("teacher", model), normalise, batch)
                for name, model in models.items()
            }
        progress(min(done * distributed.world_size(), len(batches)))
        yield _Seen(batch.training_progress.turn, batch.bad, outputs)


@dataclass(frozen=True)
class _Seen:
    """What comes of one batch.

    Attributes:
        turn: Kind of the batch.
        bad: Samples that could not be read.
        outputs: What the objective has computed of it, by model.
    """

    turn: int
    bad: tuple[BadSample, ...]
    outputs: dict[str, ObjectiveOutput]


def _turns(model: FoundationModel, key: TaskKey) -> int:
    """Kinds of batches that the head's objective takes in turn."""
    head = model.head(key)
    assert isinstance(head, SelfSupervisionHead)
    return head.objective.turns


def _batches(plain: Iterable[Sequence[SampleRef]], turns: int) -> list[list[SampleRef]]:
    """Every batch once per turn, at the end of the curriculum."""
    return [
        [ref._replace(training_progress=TrainingProgress(turn, 1.0)) for ref in refs]
        for turn in range(turns)
        for refs in plain
    ]


def _rows(scores: Sequence[ViewScores], key: TaskKey, model: str, visit: int, split: Split) -> list[MetricRow]:
    """Metric rows of one model from the scores of each kind of batch."""
    return [
        MetricRow(key.dataset, key.task.value, s.metric, s.class_name, s.value, s.n, model, visit, split.value)
        for s in merged([kind.rows() for kind in scores])
    ]
