"""Batches in the plan's order, from one pool of workers for all datasets.

Which images a step sees, and how they are augmented, are functions of (seed, step) alone: stopping and going on
changes neither, and there is no state to store.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from foundationx.core.errors import DataError
from foundationx.core.geometry.views import START, TrainingProgress
from foundationx.core.memory import keep_freed_memory
from foundationx.core.signals import handling
from foundationx.core.types import BadSample, Batch, Sample, TaskKey
from foundationx.data.balance import draw_balanced
from foundationx.data.dataset import ImageDataset
from foundationx.tasks.definition import task_of


class SampleRef(NamedTuple):
    """Which image to read, the seed of its augmentation, and the head's training progress."""

    key: TaskKey
    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    seed: int
    training_progress: TrainingProgress = START


@dataclass(frozen=True)
class SamplerSegment:
    """Which images one segment of training reads: ``steps`` batches of ``key`` beginning with ``first_step``.

    If batches are used several times, there are fewer than steps up to the next segment. ``stream`` numbers the
    segment; together with the run's seed it fixes the shuffle. If several segments share one, ``skip`` batches of
    it have been used by those before.
    """

    key: TaskKey
    first_step: int
    steps: int
    stream: int
    skip: int = 0


class PlanSampler(Sampler[list[SampleRef]]):
    """The batches of a run, in order, as lists of references.

    Every segment draws from a fresh shuffle of its dataset's training images; if it needs more than there are, it
    goes on with another shuffle, so that every batch is full.

    Args:
        segments: Segments in order.
        indices: Training images of each head.
        batch_size: Batch size B.
        seed: Seed of the run.
        start_step: Step to begin at: earlier segments, and earlier batches of its own segment, are left out.
        weights: How often each training image of a head is drawn, as in ``balance.py``; heads without any are shuffled.
        rank: This process's share of every batch: every ``ranks``-th image, beginning with this one.
        ranks: Number of shares that a batch is divided into.
    """

    def __init__(
        self,
        segments: Sequence[SamplerSegment],
        indices: Mapping[TaskKey, np.ndarray],
        batch_size: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
        weights: Mapping[TaskKey, np.ndarray] | None = None,
    ):
        self.weights = weights or {}
        self.rank, self.ranks = rank, ranks
        self.segments, self.indices, self.batch_size = segments, indices, batch_size
        self.seed, self.start_step = seed, start_step

    def __len__(self) -> int:
        return sum(max(0, segment.steps - max(0, self.start_step - segment.first_step)) for segment in self.segments)

    def __iter__(self) -> Iterator[list[SampleRef]]:
        totals: dict[TaskKey, int] = {}
        for segment in self.segments:
            totals[segment.key] = totals.get(segment.key, 0) + segment.steps
        turns = dict.fromkeys(totals, 0)
        for segment in self.segments:
            turn = turns[segment.key]
            turns[segment.key] += segment.steps
            if segment.first_step + segment.steps <= self.start_step:
                continue
            drawn = self._draw(segment)
            for batch in range(max(0, self.start_step - segment.first_step), segment.steps):
                chosen = drawn[batch * self.batch_size : (batch + 1) * self.batch_size]
                first_seed = (segment.first_step + batch) * self.batch_size
                training_progress = TrainingProgress(turn + batch, (turn + batch) / totals[segment.key])
                refs = [
                    SampleRef(segment.key, int(index), sample_seed(self.seed, first_seed + n), training_progress)
                    for n, index in enumerate(chosen)
                ]
                yield refs[self.rank :: self.ranks]

    def _draw(self, segment: SamplerSegment) -> np.ndarray:
        """Image indices of a segment, ``steps * batch_size`` of them."""
        images = self.indices[segment.key]
        used = segment.skip * self.batch_size
        needed = used + segment.steps * self.batch_size
        random = np.random.default_rng([self.seed, segment.stream])
        weights = self.weights.get(segment.key)
        shuffles = [
            random.permutation(images) if weights is None else draw_balanced(images, weights, random)
            for _ in range(-(-needed // len(images)))
        ]
        return np.concatenate(shuffles)[used:needed]


def sample_seed(seed: int, number: int) -> int:
    """A 32-bit seed for the ``number``-th sample of a run; neighbours are unrelated."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


AGAIN = "then run the same command again: training goes on"
"""What to do about an evaluation in which a worker has died."""


class PooledDataset(Dataset):
    """All datasets of a run behind one ``__getitem__``, so that one pool of workers serves them all.

    An image that cannot be read is replaced by the next readable one of its dataset and reported. Whether that is an
    error is decided by ``usable``, in the main process: an exception raised in a worker would reach the user as a
    stack trace.
    """

    def __init__(self, datasets: Mapping[TaskKey, ImageDataset], indices: Mapping[TaskKey, np.ndarray]):
        self.datasets, self.indices = datasets, indices

    def __getitem__(self, ref: SampleRef) -> tuple[Sample | None, list[BadSample]]:
        dataset, candidates = self.datasets[ref.key], self.indices[ref.key]
        first = int(np.searchsorted(candidates, ref.index))
        bad: list[BadSample] = []
        for offset in range(len(candidates)):
            index = int(candidates[(first + offset) % len(candidates)])
            try:
                return dataset.sample(index, ref.seed, ref.training_progress), bad
            except DataError as error:
                bad.append(dataset.bad(index, error))
        return None, bad


def collate(items: Sequence[tuple[Sample | None, list[BadSample]]]) -> Batch | tuple[BadSample, ...]:
    """Samples of one head to a batch of its task; the list of what is wrong if no image is readable."""
    bad = tuple(entry for _, entries in items for entry in entries)
    samples = [sample for sample, _ in items if sample is not None]
    if not samples:
        return bad
    images = _stack([sample.image for sample in samples])[:, None]
    own_views = [sample.teacher_image for sample in samples if sample.teacher_image is not None]
    key = samples[0].meta.key
    common = {
        "key": key,
        "images": images,
        "teacher_images": _stack(own_views)[:, None] if own_views else images,
        "labels": _stack([sample.labels for sample in samples]),
        "metas": tuple(sample.meta for sample in samples),
        "bad": bad,
    }
    height, width = samples[0].image.shape
    return task_of(key.task).batch(common, [sample.target for sample in samples], (height, width))


def usable(batch: Batch | tuple[BadSample, ...], on_bad_sample: str) -> Batch:
    """The batch, if it may be used.

    Raises:
        DataError: Something could not be read and ``on_bad_sample`` is ``raise``, or nothing could be read.
    """
    if not isinstance(batch, Batch):
        raise DataError(f"dataset {batch[0].dataset}/{batch[0].task}: not one image can be used", batch[0].reason)
    if batch.bad and on_bad_sample == "raise":
        raise DataError(f"dataset {batch.key}", batch.bad[0].reason)
    return batch


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


def make_loader(
    dataset: Dataset,
    batches: Sampler | Sequence,
    workers: int,
    pin_memory: bool,
    collate_with: Callable[[Sequence], Any] = collate,
    keep_workers: bool = False,
) -> DataLoader:
    """A loader over lists of references; one pool of ``workers`` processes for all datasets.

    With ``keep_workers`` they wait for the next reading when one has come to its end (:func:`read_all`).
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_with,
        pin_memory=pin_memory,
        worker_init_fn=begin_worker,
        prefetch_factor=4 if workers else None,
        persistent_workers=keep_workers and workers > 0,
    )


def read_all(loader: DataLoader, where: str, fix: str) -> Iterator[Any]:
    """The items of a loader; a worker that dies is an error when the next item is read, wherever the reader is.

    Args:
        loader: Loader; its workers are started now, or again if one that was kept has died.
        where: What is being done, for the error.
        fix: What the user can do beside giving more memory.

    Raises:
        DataError: A worker has died.
    """
    _forget_dead_workers(loader)
    source, left = iter(loader), len(loader) if loader.persistent_workers else -1
    with deaths_seen_when_reading():
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    return
                except (RuntimeError, ConnectionError, EOFError) as error:
                    report_death(error, where, fix)
                    raise
                left -= 1
                yield item
        finally:
            if left:  # something was not read, or workers are not kept; else torch reports a dead one again, anywhere
                stop_workers(loader, source)


def stop_workers(loader: DataLoader, source: Any = None) -> None:
    """Ends the workers of a loader; its next reading starts others.

    Args:
        loader: Loader, perhaps with workers that are kept.
        source: What reads from it, if they are not kept.
    """
    source = source or loader._iterator
    loader._iterator = None
    if isinstance(source, _MultiProcessingDataLoaderIter):
        source._shutdown_workers()


def _forget_dead_workers(loader: DataLoader) -> None:
    """Ends the workers that were kept, if one has died since."""
    kept = loader._iterator
    if isinstance(kept, _MultiProcessingDataLoaderIter) and not all(worker.is_alive() for worker in kept._workers):
        stop_workers(loader)


def report_death(error: Exception, where: str, fix: str) -> None:
    """Names the death of a worker, if that is what an error means.

    Args:
        error: Raised when the next item was read; ConnectionError or EOFError: it died while it handed one over.
        where: What is being done.
        fix: What the user can do beside giving more memory.

    Raises:
        DataError: A worker has died.
    """
    if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
        return
    found = f"a worker process has died: {' '.join(str(error).split()) or type(error).__name__}"
    advice = f"give it more memory or room in /dev/shm, or set runtime.workers=0; {fix}"
    raise DataError(where, found, "running worker processes", advice) from error


@contextlib.contextmanager
def deaths_seen_when_reading() -> Iterator[None]:
    """Keeps a worker's death from being raised in the middle of other work.

    torch raises it from its SIGCHLD handler, wherever the main thread is: perhaps half way through the optimizer's
    step, after which nothing could be saved. Without that handler the next reading of a batch finds the dead worker,
    within five seconds. To be entered when the workers have been started: torch sets its handler then.
    """
    with handling({signal.SIGCHLD: signal.SIG_DFL}):
        yield


def begin_worker(worker: int) -> None:
    """Called first in every process that reads data.

    Such processes share the cores with training: more than one thread each only makes them wait for each other. What
    they free after each image they keep, as the training process does. If that one is killed, they end without a word.
    """
    keep_freed_memory()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print_error = sys.excepthook

    def unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):  # Python's thread that hands over images prints these
            print_error(kind, error, trace)

    sys.excepthook = unless_left


def in_order(key: TaskKey, indices: np.ndarray, batch_size: int) -> list[list[SampleRef]]:
    """Batches for evaluation: every image once, in order. Random draws are seeded by the image's index."""
    refs = [SampleRef(key, int(index), int(index)) for index in indices]
    return [refs[start : start + batch_size] for start in range(0, len(refs), batch_size)]
