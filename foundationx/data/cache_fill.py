"""Fills the cache: every image and mask of a run is decoded once, in several processes; what is there stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader, Dataset

from foundationx.core.errors import DataError
from foundationx.core.types import TaskKey
from foundationx.data.cache import Adder, Entry, Key, Store, TaskCache, deflate, image_key, mask_key
from foundationx.data.dataset import CardDataset
from foundationx.data.loader import one_thread

TOGETHER = 2**25
"""Bytes that are written and made safe at once."""


@dataclass(frozen=True)
class _Keys:
    """Keys of a task's images and masks, one an image of its table; None where it is not wanted or not there."""

    images: list[Key | None]
    masks: list[Key | None] | None


@dataclass(frozen=True)
class _Job:
    """One image to decode, and under which keys its pixels and masks are missing."""

    task: TaskKey
    index: int
    image: Key | None
    masks: Key | None


class _Decoder(Dataset):
    """Jobs to entries; none where a file cannot be used: whoever asks for it in training is told why."""

    def __init__(self, datasets: Mapping[TaskKey, CardDataset], jobs: Sequence[_Job]):
        self.datasets, self.jobs = datasets, jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> list[Entry]:
        job = self.jobs[number]
        try:
            found = self.datasets[job.task].decode(job.index)
        except DataError:
            return []
        size = (found.height, found.width)
        entries = [Entry(job.image, found.image.tobytes(), *size)] if job.image else []
        return entries + ([Entry(job.masks, deflate(found.masks), *size)] if job.masks else [])


def fill(
    store: Store,
    datasets: Mapping[TaskKey, CardDataset],
    indices: Mapping[TaskKey, np.ndarray],
    limit: int,
    workers: int = 0,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> dict[TaskKey, TaskCache]:
    """What is cached of every task, after what was missing has been added.

    Any number of processes may do this at once: one adds, the others wait for it and find everything there. Stopped
    or killed, it goes on where it was.

    Args:
        store: of the datasets' size.
        datasets: whose images have the store's size when they are decoded.
        indices: images wanted of each.
        limit: bytes that the store may have; what does not fit is not cached.
        workers: processes that decode; 0: this one.
        tell: is told images done and images in all.

    Raises:
        DiskError: the folder cannot be written.
        DataError: a worker has died.
    """
    keys = {task: _keys(dataset, indices[task]) for task, dataset in datasets.items()}
    if _missing(keys, store):
        with store.adding() as adder:
            jobs = _missing(keys, store)  # what is missing now that nobody else adds
            _add(adder, _decoded(datasets, jobs, workers), len(jobs), limit, tell)
    return {task: _task_cache(store, found) for task, found in keys.items()}


def _keys(dataset: CardDataset, wanted: np.ndarray) -> _Keys:
    table, root = dataset.annotations, dataset.root.resolve()
    images: list[Key | None] = [None] * len(table)
    masks: list[Key | None] | None = None if table.masks is None else [None] * len(table)
    for index in map(int, wanted):
        try:
            images[index] = image_key(root / table.images[index])
            if masks is not None:
                masks[index] = mask_key(images[index], table.masks[index], table.labels[index], root)
        except OSError:  # the file is missing: whoever asks for it is told
            continue
    return _Keys(images, masks)


def _missing(keys: Mapping[TaskKey, _Keys], store: Store) -> list[_Job]:
    """Images to decode; tasks with masks come first, so that no file is decoded for its pixels and again for them."""
    present = {record.tobytes() for record in store.records()["key"]}
    jobs = []
    for task, found in sorted(keys.items(), key=lambda item: item[1].masks is None):
        for index, image in enumerate(found.images):
            masks = found.masks[index] if found.masks is not None else None
            image, masks = (key if key not in present else None for key in (image, masks))
            if image or masks:
                jobs.append(_Job(task, index, image, masks))
                present.update(key for key in (image, masks) if key)
    return jobs


def _decoded(datasets: Mapping[TaskKey, CardDataset], jobs: Sequence[_Job], workers: int) -> Iterator[list[Entry]]:
    """Entries of the jobs, in order. Raises DataError where a worker dies."""
    loader = DataLoader(
        _Decoder(datasets, jobs),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=one_thread,
        prefetch_factor=16 if workers else None,
    )
    try:
        yield from loader
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        found = f"a worker process has died: {' '.join(str(error).split()) or type(error).__name__}"
        fix = "give it more memory, or set runtime.workers=0; what was decoded is kept"
        raise DataError("filling the cache", found, "workers that live", fix) from error


def _add(
    adder: Adder, decoded: Iterator[list[Entry]], total: int, limit: int, tell: Callable[[int, int], None]
) -> None:
    """Adds groups of images, of ``TOGETHER`` bytes or a little more, until there are no more, or no room."""
    waiting: list[Entry] = []
    held, room = 0, limit - adder.store.bytes_used()
    try:
        for done, entries in enumerate(decoded, start=1):
            size = sum(entry.size for entry in entries)
            if held + size > room:
                return
            waiting += entries
            held += size
            if held >= TOGETHER or done == total:
                group, waiting = waiting, []  # nothing is added twice, should this fail
                room, held = room - held, 0
                adder.add(group)
                tell(done, total)
    finally:
        adder.add(waiting)  # also of whoever is stopped


def _task_cache(store: Store, keys: _Keys) -> TaskCache:
    return TaskCache(store, store.places(keys.images), None if keys.masks is None else store.places(keys.masks))
