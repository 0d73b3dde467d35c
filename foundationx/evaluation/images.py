"""Images of one split, each with the samples of all annotated heads that use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from foundationx.core.errors import DataError
from foundationx.core.types import BadSample, Batch, Sample, Split
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import PooledDataset, SampleRef, collate

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
