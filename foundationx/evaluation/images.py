"""Images of one split, each with the samples of all annotated heads that use it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch.utils.data import Dataset, Sampler

from foundationx.core.errors import DataError
from foundationx.core.types import BadSample, Batch, Sample, Split
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import AGAIN, PooledDataset, SampleRef, collate, make_loader, read_all, stop_workers

Loaded = Batch | tuple[BadSample, ...]
"""A head's batch, or what is wrong if none of its images can be used."""


class SharedImages(Dataset):
    """One item per image: a sample or what is wrong with it, for each head that uses the image.

    Args:
        pool: Datasets of all heads.
    """

    def __init__(self, pool: PooledDataset):
        self.pool = pool

    def __getitem__(self, refs: Sequence[SampleRef]) -> list[tuple[Sample | None, list[BadSample]]]:
        return [self._sample(ref) for ref in refs]

    def _sample(self, ref: SampleRef) -> tuple[Sample | None, list[BadSample]]:
        dataset = self.pool.datasets[ref.key]
        try:
            return dataset.sample(ref.index, ref.seed), []
        except DataError as error:
            return None, [dataset.bad(ref.index, error)]


def collate_heads(items: Sequence[Sequence[tuple[Sample | None, list[BadSample]]]]) -> list[Loaded]:
    """One batch per head, of the same images."""
    return [collate(of_head) for of_head in zip(*items, strict=True)]


class _Batches(Sampler):
    """Batches of one reading."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[tuple[SampleRef, ...]]] = ()

    def __iter__(self) -> Iterator[Sequence[tuple[SampleRef, ...]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class ImageReader:
    """Reads images of any split for evaluation; its worker processes stay for the next one.

    Args:
        data_module: Datasets of the run.
        pin_memory: Batches are page-locked, for a copy to CUDA.
    """

    def __init__(self, data_module: DataModule, pin_memory: bool):
        self._batches = _Batches()
        images = SharedImages(data_module.evaluation(Split.VAL))  # an image is read the same way in every split
        workers = data_module.config.runtime.workers
        self._loader = make_loader(images, self._batches, workers, pin_memory, collate_heads, keep_workers=True)

    @property
    def has_workers(self) -> bool:
        """Whether worker processes wait for the next reading."""
        return self._loader._iterator is not None

    def read(self, batches: Sequence[Sequence[tuple[SampleRef, ...]]]) -> Iterator[list[Loaded]]:
        """What each batch holds, one batch of each head. Raises DataError: a worker has died.

        Args:
            batches: Batches of images as :func:`image_batches` gives them.
        """
        self._batches.batches = batches
        yield from read_all(self._loader, "evaluation", AGAIN)
        _hear_no_deaths()

    def close(self) -> None:
        """Ends the worker processes; a later reading starts others."""
        stop_workers(self._loader)


def _hear_no_deaths() -> None:
    """A worker that dies while it waits is noticed at the next reading, not in the middle of other work."""
    with contextlib.suppress(ValueError):  # outside the main thread: whoever runs us there handles signals
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def image_batches(data_module: DataModule, split: Split, size: int) -> list[list[tuple[SampleRef, ...]]]:
    """Every image file once, with the heads that use it; files of one batch have the same heads.

    Images of one head are in ascending order within each set of heads.

    Args:
        data_module: Datasets of the run.
        split: Split to evaluate.
        size: Most images of a batch.
    """
    by_file: dict[Path, dict] = {}
    for key, table in data_module.annotations.items():
        if key.task.facts.needs_annotations:
            root = data_module.roots[key.dataset]
            for index in data_module.indices[key][split].tolist():
                by_file.setdefault(root / table.images[index], {}).setdefault(key, SampleRef(key, index, index))
    by_heads: dict[tuple, list[tuple[SampleRef, ...]]] = {}
    for refs in by_file.values():
        by_heads.setdefault(tuple(refs), []).append(tuple(refs.values()))
    return [files[start : start + size] for files in by_heads.values() for start in range(0, len(files), size)]
