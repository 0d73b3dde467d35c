"""Fills the cache: every image and target of a run is decoded once, in several processes; what is there stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader, Dataset

from foundationx.core.errors import DataError
from foundationx.core.progress import ProgressCallback, no_progress
from foundationx.core.shards import Shard
from foundationx.core.types import TaskKey
from foundationx.data.cache.store import Adder, Entry, Key, Store, TaskCache, image_key, target_key
from foundationx.data.dataset import ImageDataset
from foundationx.data.loader import begin_worker, read_all
from foundationx.tasks.definition import task_of

TOGETHER = 2**25
"""Bytes that are written and made safe at once."""


@dataclass(frozen=True)
class _Keys:
    """Keys of a task's images and targets, one per image of its table; None if it is not used or missing."""

    images: list[Key | None]
    targets: list[Key | None] | None


@dataclass(frozen=True)
class _Job:
    """One image to decode, and the keys under which its pixels and its target are missing."""

    task: TaskKey
    index: int
    image: Key | None
    target: Key | None


class _Decoder(Dataset):
    """Jobs to entries; none if a file cannot be used: reading it in training raises the error."""

    def __init__(self, datasets: Mapping[TaskKey, ImageDataset], jobs: Sequence[_Job]):
        self.datasets, self.jobs = datasets, jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> list[Entry]:
        job = self.jobs[number]
        try:
            decoded = self.datasets[job.task].decode(job.index)
        except DataError:
            return []
        size = (decoded.height, decoded.width)
        entries = [Entry(job.image, decoded.image.tobytes(), *size)] if job.image else []
        packed = task_of(job.task.task).pack(decoded.target) if job.target else b""
        return entries + ([Entry(job.target, packed, *size)] if job.target else [])


def fill(
    store: Store,
    datasets: Mapping[TaskKey, ImageDataset],
    indices: Mapping[TaskKey, np.ndarray],
    limit: int,
    workers: int = 0,
    progress: ProgressCallback = no_progress,
    shard: Shard | None = None,
) -> dict[TaskKey, TaskCache]:
    """What is cached of every task, after what was missing has been added.

    Any number of processes may do this at once: one adds, the others wait for it and find everything there. Stopped
    or killed, it continues from there.

    Args:
        store: Entries of the datasets' size.
        datasets: whose images have the store's size when they are decoded.
        indices: Image indices of each to cache.
        limit: bytes that the store may have; what does not fit is not cached.
        workers: processes that decode; 0: this one.
        progress: Called with the images done and the images in all.
        shard: Share of the images to decode, into files of its own, which the next call without a shard joins; the
            limit is divided among the shards.

    Raises:
        DiskError: the folder cannot be written.
        DataError: a worker has died.
    """
    chosen = indices if shard is None else {t: _in_shard(datasets[t], used, shard) for t, used in indices.items()}
    keys = {task: _keys(dataset, chosen[task]) for task, dataset in datasets.items()}
    if shard is not None:
        with store.of_shard(shard).adding() as adder:
            jobs = _missing(keys, store, adder.store)
            _add(adder, _decoded(datasets, jobs, workers), len(jobs), limit // shard.count, progress)
        return {}
    for part in store.shards():
        _join(store, part, limit)
    if _missing(keys, store):
        with store.adding() as adder:
            jobs = _missing(keys, store)  # what is missing now that nobody else adds
            _add(adder, _decoded(datasets, jobs, workers), len(jobs), limit, progress)
    return {task: _task_cache(task, store, of_task) for task, of_task in keys.items()}


def _in_shard(dataset: ImageDataset, used: np.ndarray, shard: Shard) -> np.ndarray:
    """The indices of a shard's images; all tasks of an image are in one shard."""
    folder, images = dataset.annotations.key.dataset, dataset.annotations.images
    return np.array([index for index in used.tolist() if shard.has(f"{folder}/{images[index]}")], dtype=np.int64)


def _join(store: Store, part: Store, limit: int) -> None:
    """Adds the intact entries of a shard that are missing, and removes the shard; one that is being filled stays."""
    with store.adding() as adder, part.adding_if_free() as other:
        if other is None:
            return
        present = {record.tobytes() for record in store.records()["key"]}
        missing = (record for record in part.records() if record["key"].tobytes() not in present)
        entries = (entry for record in missing if (entry := part.entry(record)) is not None)
        _add(adder, ([entry] for entry in entries), 0, limit, no_progress)
        part.remove()


def _keys(dataset: ImageDataset, used: np.ndarray) -> _Keys:
    table, root, task = dataset.annotations, dataset.root.resolve(), task_of(dataset.annotations.key.task)
    images: list[Key | None] = [None] * len(table)
    targets: list[Key | None] | None = [None] * len(table) if task.is_cached else None
    for index in map(int, used):
        try:
            key = images[index] = image_key(root / table.images[index])
            if targets is not None:
                reference = table.sizes.get(table.images[index])
                targets[index] = target_key(key, task, table.targets[index], table.labels[index], root, reference)
        except OSError:  # the file is missing: whoever reads it gets the error
            continue
    return _Keys(images, targets)


def _missing(keys: Mapping[TaskKey, _Keys], *stores: Store) -> list[_Job]:
    """Images to decode; tasks with targets come first, so that no file is decoded for its pixels and again for them."""
    present = {record.tobytes() for store in stores for record in store.records()["key"]}
    jobs = []
    for task, of_task in sorted(keys.items(), key=lambda item: item[1].targets is None):
        for index, image in enumerate(of_task.images):
            target = of_task.targets[index] if of_task.targets is not None else None
            image, target = (key if key not in present else None for key in (image, target))
            if image or target:
                jobs.append(_Job(task, index, image, target))
                present.update(key for key in (image, target) if key)
    return jobs


def _decoded(datasets: Mapping[TaskKey, ImageDataset], jobs: Sequence[_Job], workers: int) -> Iterator[list[Entry]]:
    """Entries of the jobs, in order. Raises DataError if a worker dies."""
    loader = DataLoader(
        _Decoder(datasets, jobs),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=begin_worker,
        prefetch_factor=16 if workers else None,
    )
    return read_all(loader, "filling the cache", "decoded images stay cached, the same command goes on")


def _add(
    adder: Adder,
    decoded: Iterator[list[Entry]],
    total: int,
    limit: int,
    progress: ProgressCallback,
) -> None:
    """Adds groups of images, of ``TOGETHER`` bytes or a little more, until all are added or the limit is reached."""
    pending: list[Entry] = []
    size_pending, free = 0, limit - adder.store.bytes_used()
    try:
        for done, entries in enumerate(decoded, start=1):
            size = sum(entry.size for entry in entries)
            if size_pending + size > free:
                return
            pending += entries
            size_pending += size
            if size_pending >= TOGETHER or done == total:
                group, pending = pending, []  # nothing is added twice, should this fail
                free, size_pending = free - size_pending, 0
                adder.add(group)
                progress(done, total)
    finally:
        adder.add(pending)  # also of whoever is stopped


def _task_cache(task: TaskKey, store: Store, keys: _Keys) -> TaskCache:
    targets = None if keys.targets is None else store.find(keys.targets)
    return TaskCache(task_of(task.task), store, store.find(keys.images), targets)
