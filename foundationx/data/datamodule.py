"""The datasets of a run: cards read, patients split, samples ready to be drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.arrays import spaced
from foundationx.core.config.run import RunConfig
from foundationx.core.config.views import ViewConfig
from foundationx.core.errors import ConfigError, DataError
from foundationx.core.progress import ProgressCallback, no_progress
from foundationx.core.shards import Shard
from foundationx.core.types import Annotations, BadSample, Split, Task, TaskKey, all_tasks
from foundationx.data.cache.store import Store, TaskCache
from foundationx.data.dataset import CardDataset, ImageDataset
from foundationx.data.patient_splits import SplitRecord, named_record, split_patients
from foundationx.data.pixels.read import read_grey, read_shared
from foundationx.data.transforms.augment import ViewPipeline, view_pipeline
from foundationx.data.transforms.view_sets import ViewSetDataset
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.exclusion import audited_datasets, excluded_images, read_exclusions
from foundationx.datasets.location import dataset_folder
from foundationx.datasets.shared_head import shared_classes
from foundationx.datasets.unlabelled import read_images
from foundationx.tasks.definition import task_of

if TYPE_CHECKING:  # datasets are opened and planned without torch, which their loaders need
    from foundationx.data.loader import PooledDataset

SPLITS = tuple(Split)


@dataclass
class DataModule:
    """All datasets of a run.

    Attributes:
        annotations: Annotations of each head, in the order of the cycle.
        roots: Folder of each dataset.
        indices: Image indices of each head in each split, ascending.
        patients: Split of every patient.
        config: Configuration of the run.
        excluded: Images left out of training by the exclusion list, by dataset.
        record: Splits of the runs that this one goes on from.
        caches: Decoded images of each head, once ``fill_cache`` has been called.
    """

    annotations: dict[TaskKey, Annotations]
    roots: dict[str, Path]
    indices: dict[TaskKey, dict[Split, np.ndarray]]
    patients: dict[str, Split]
    config: RunConfig
    excluded: dict[str, set[str]] = field(default_factory=dict)
    record: SplitRecord = field(default_factory=SplitRecord)
    caches: dict[TaskKey, TaskCache] = field(default_factory=dict)

    @property
    def classes(self) -> dict[TaskKey, tuple[str, ...]]:
        """Class names of each head."""
        return {key: table.classes for key, table in self.annotations.items()}

    @property
    def earlier(self) -> dict[str, Split]:
        """Splits of patients of earlier runs that this one does not have."""
        return {patient: split for patient, split in self.record.splits.items() if patient not in self.patients}

    @property
    def bad(self) -> list[BadSample]:
        """Annotation rows that were skipped while reading."""
        return [entry for table in self.annotations.values() for entry in table.bad]

    def sizes(self, split: Split) -> dict[TaskKey, int]:
        """Number of images of each head in one split."""
        return {key: len(splits[split]) for key, splits in self.indices.items()}

    def as_test(self) -> DataModule:
        """The same datasets with every annotated image in the test split: an outside cohort is scored as a whole."""
        nothing = np.zeros(0, dtype=np.int64)
        indices = {
            key: {Split.TRAIN: nothing, Split.VAL: nothing, Split.TEST: np.flatnonzero(_something_known(table))}
            for key, table in self.annotations.items()
        }
        return replace(self, indices=indices)

    def some(self, most: int) -> DataModule:
        """The same datasets with at most so many images of each head in each split, evenly spaced."""
        indices = {
            key: {split: spaced(own, most) for split, own in of_head.items()} for key, of_head in self.indices.items()
        }
        return replace(self, indices=indices)

    def training(self) -> PooledDataset:
        """Augmented samples of the training split."""
        return self._pool(Split.TRAIN, self.config.views)

    def evaluation(self, split: Split) -> PooledDataset:
        """Plain resized samples of one split; for self-supervision, views as in training."""
        same = dict.fromkeys(self.config.views, ViewConfig(teacher="same"))
        return self._pool(split, same, functools.lru_cache(maxsize=1)(read_shared))

    def fill_cache(self, progress: ProgressCallback = no_progress, shard: Shard | None = None) -> None:
        """Decodes every image once if the configuration names a cache; later runs read it from there.

        Annotated heads use images of the training size, self-supervised ones cut views from whole images; what
        the former leave of ``runtime.cache_gb`` is for the latter.
        ``progress`` is called with the images done and in all. A ``shard`` decodes its share of the images into files
        of its own, which the next call without one joins. Raises DiskError if the folder cannot be written.
        """
        runtime = self.config.runtime
        if runtime.cache is None:
            return
        from foundationx.data.cache.fill import fill

        left, size = int(runtime.cache_gb * 1e9), self.config.image_size
        annotated = {
            key: CardDataset(table, self.roots[key.dataset], ViewPipeline(size))
            for key, table in self.annotations.items()
            if key.task.facts.needs_annotations
        }
        bare = {key: self._view_sets(table) for key, table in self.annotations.items() if key not in annotated}
        for datasets, store in ((annotated, Store(runtime.cache, size)), (bare, Store(runtime.cache, None))):
            used = {key: np.concatenate(list(self.indices[key].values())) for key in datasets}
            self.caches |= fill(store, datasets, used, left, runtime.workers, progress, shard)
            left -= store.bytes_used()

    def _pool(
        self, split: Split, views: Mapping[Task, ViewConfig], reader: Callable[[Path], np.ndarray] = read_grey
    ) -> PooledDataset:
        from foundationx.data.loader import PooledDataset

        size = self.config.image_size
        datasets: dict[TaskKey, ImageDataset] = {
            key: CardDataset(
                table,
                self.roots[key.dataset],
                view_pipeline(size, views[key.task]),
                self.caches.get(key),
                reader,
            )
            for key, table in self.annotations.items()
            if key.task in views
        }
        datasets |= {key: self._view_sets(table) for key, table in self.annotations.items() if key not in datasets}
        return PooledDataset(datasets, {key: splits[split] for key, splits in self.indices.items()})

    def _view_sets(self, table: Annotations) -> ViewSetDataset:
        """Images of one dataset as the views that the objective asks for."""
        plan, photometry = task_of(table.key.task).view_plan(self.config.model)
        root, cache = self.roots[table.key.dataset], self.caches.get(table.key)
        return ViewSetDataset(table, root, plan, photometry, cache)

    def summary(self) -> list[dict[str, Any]]:
        """Rows of ``datasets.json``: images, patients and label counts by dataset, task and split.

        ``excluded`` counts the images of a training split that the exclusion list excludes from training.
        """
        return [
            {
                "dataset": key.dataset,
                "task": key.task.value,
                "split": split.value,
                "images": len(chosen),
                "patients": len({table.patients[index] for index in chosen}),
                "excluded": self._excluded(table) if split is Split.TRAIN else 0,
                "classes": _label_counts(table, chosen),
            }
            for key, table in self.annotations.items()
            for split, chosen in self.indices[key].items()
        ]

    def _excluded(self, table: Annotations) -> int:
        """Images of one task that would train but for the exclusion list."""
        out = self.excluded.get(table.key.dataset, set())
        if not out:
            return 0
        splits = _split_of(table, self.patients, self.config.allow_test)
        return int((_are_in(table.images, out) & _something_known(table) & (splits == SPLITS.index(Split.TRAIN))).sum())


def open_datasets(
    config: RunConfig, data_root: Path, catalog: Catalog | None = None, record: SplitRecord | None = None
) -> DataModule:
    """Reads the annotations of every dataset of the configuration and splits its patients.

    No test split is trained on, unless ``allow_test`` names it; see ``datasets/exclusion.py`` for the guarantee.

    Args:
        config: Configuration of the run.
        data_root: Folder of all datasets.
        catalog: Cards to look in; by default those of the package and of ``FOUNDATIONX_REGISTRY``.
        record: Splits of the run that is continued or evaluated, which its patients keep; those of the runs that the
            configuration names are read here.

    Raises:
        ConfigError: A card has none of the tasks asked for, the exclusion list does not fit the datasets, or patients
            would change their split.
        CardError: A card is unknown or faulty.
        DataError: A file is missing or an annotation is wrong (and ``on_bad_sample`` is ``raise``).
    """
    if not data_root.is_dir():
        raise DataError(str(data_root), "there is no such folder", "the folder that holds the datasets", "--data-root")
    catalog = catalog or Catalog()
    annotations: dict[TaskKey, Annotations] = {}
    roots: dict[str, Path] = {}
    for dataset in config.datasets:
        card = catalog.card(dataset.card).with_options(dataset.options)
        roots[card.name] = dataset_folder(card, data_root, dataset.root)
        for task in _tasks(card.tasks, dataset.tasks, card.name):
            key = TaskKey(card.name, task)
            read = read_annotations if task.facts.needs_annotations else read_images
            skip = config.runtime.on_bad_sample
            annotations[key] = read(card, task, data_root, root=dataset.root, on_bad_sample=skip)
    if config.model.shared_head:
        annotations = shared_classes(annotations, catalog)
    tables, allowed = list(annotations.values()), config.allow_test
    record = named_record(config) | (record or SplitRecord())
    patients = split_patients(config, tables, data_root, record)
    entries = read_exclusions(config.exclude) if config.exclude is not None else []
    audited = audited_datasets(config.exclude)
    excluded = excluded_images(entries, tables, patients, allowed, catalog.names(), audited)
    limits = {dataset.card: dataset.limit for dataset in config.datasets}
    indices = {
        key: _indices(table, _split_of(table, patients, allowed), excluded[key.dataset], limits[key.dataset])
        for key, table in annotations.items()
    }
    return DataModule(annotations, roots, indices, patients, config, excluded, record)


def _tasks(available: Collection[Task], requested: tuple[Task, ...] | None, card: str) -> list[Task]:
    """Tasks to train, in the fixed order of tasks; one that needs no annotations has to be named."""
    possible = {*available, *(task for task in all_tasks() if not task.facts.needs_annotations)}
    missing = [task.value for task in requested or () if task not in possible]
    if missing:
        found = f"card {card} has no {', '.join(missing)}"
        raise ConfigError("datasets", found, f"tasks among {', '.join(sorted(possible))}", "correct `tasks`")
    return [task for task in all_tasks() if task in (available if requested is None else requested)]


def _split_of(table: Annotations, patients: Mapping[str, Split], allowed: Sequence[str]) -> np.ndarray:
    """(N,) int8, index in ``SPLITS`` of every image: its patient's.

    If others may train on a dataset's test, it is still its own test.
    """
    code_of = {patient: SPLITS.index(split) for patient, split in patients.items()}
    if table.key.dataset in allowed:
        official = zip(table.patients, table.splits, strict=True)
        test = SPLITS.index(Split.TEST)
        code_of |= {patient: test for patient, split in official if split is Split.TEST}
    return np.fromiter(map(code_of.__getitem__, table.patients), dtype=np.int8, count=len(table))


def _are_in(images: Sequence[str], some: Collection[str]) -> np.ndarray:
    """(N,) bool, whether each image is among some."""
    return np.fromiter(map(some.__contains__, images), dtype=bool, count=len(images))


def _indices(
    table: Annotations, split_of: np.ndarray, excluded: set[str], limit: int | None
) -> dict[Split, np.ndarray]:
    """Image indices of each split, without images that have no known label and can neither train nor test."""
    something_known = _something_known(table)
    out = _are_in(table.images, excluded) if excluded else np.zeros(len(table), dtype=bool)
    return {
        split: np.flatnonzero((split_of == code) & something_known & ~(out & (split is Split.TRAIN)))[:limit]
        for code, split in enumerate(SPLITS)
    }


def _something_known(table: Annotations) -> np.ndarray:
    """(N,) bool; images without any class are there for their pixels."""
    return ~np.isnan(table.labels).all(axis=1) | (len(table.classes) == 0)


def _label_counts(table: Annotations, chosen: np.ndarray) -> list[dict[str, Any]]:
    labels = table.labels[chosen]
    return [
        {
            "name": name,
            "positive": int((labels[:, k] >= 0.5).sum()),
            "negative": int((labels[:, k] < 0.5).sum()),
            "unknown": int(np.isnan(labels[:, k]).sum()),
        }
        for k, name in enumerate(table.classes)
    ]
