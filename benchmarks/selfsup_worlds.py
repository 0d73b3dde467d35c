"""Where ``selfsup_transfer.py`` learns and is tested: generated radiographs, or a folder of real ones.

The splits of a world are by patient: nobody whose image was pretrained or tuned on is tested.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foundationx.core.config.load import load_config
from foundationx.core.config.run import RunConfig
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.catalog import ENVIRONMENT
from foundationx.evaluation.anatomy.landmarks import mask_landmarks
from foundationx.evaluation.anatomy.suite import Radiograph
from foundationx.phantoms.phantom import make_phantom
from foundationx.phantoms.write import write_phantom_datasets

SHARES = {Split.TEST: {"train": 0.7, "val": 0.0, "test": 0.3}, Split.VAL: {"train": 0.5, "val": 0.2, "test": 0.3}}
"""Shares of patients, by the side that is measured. Both have the same test patients: settings are chosen with those of
``val`` held out from training, and no test patient is looked at."""
ALL_IMAGES = TaskKey("all_films", Task.SELF_SUPERVISION)
FIRST_MEASURED_PATIENT = 900_000_000
SIDE, IMAGES = 256, 32
"""Pixels of the images that frozen backbones are measured on, at the most, and their number."""

REAL = Path(__file__).resolve().parents[1] / "tests" / "configs" / "cxr_multi.py"
os.environ.setdefault(ENVIRONMENT, str(REAL.parents[1] / "registry"))


@dataclass(frozen=True)
class World:
    """Images to pretrain on, and a head whose masks are learned from few of them.

    Attributes:
        data: folder of the datasets.
        cards: whose images are pretrained on, without their labels.
        masks: the head that is tuned.
        generated: whether images can be generated together with their landmarks.
        side: whose patients are measured.
    """

    data: Path
    cards: tuple[str, ...]
    masks: TaskKey
    generated: bool
    side: Split = Split.TEST

    @property
    def shares(self) -> dict[str, float]:
        """Shares of patients, for a configuration."""
        return SHARES[self.side]

    def images(self, config: RunConfig) -> DataModule:
        """Images of all cards as one dataset: one head learns from all of them."""
        return as_one(open_datasets(config, self.data), self.data)

    def measured(self, side: int = SIDE) -> list[Radiograph]:
        """Images of ``side`` pixels to measure frozen backbones on: generated ones of further patients, or the first of
        each held-out patient of the masks. Landmarks are the true ones, or extreme points of the masks."""
        if self.generated:
            phantoms = [make_phantom(FIRST_MEASURED_PATIENT + n, 0, side, findings=()) for n in range(IMAGES)]
            return [Radiograph(p.image, {name: (y, x) for name, (x, y) in p.landmarks.items()}) for p in phantoms]
        card = {"card": self.masks.dataset, "tasks": [self.masks.task.value]}
        data_module = open_datasets(load_config(REAL, {"datasets": [card], "split": self.shares}), self.data)
        table, first = data_module.annotations[self.masks], {}
        for index in data_module.indices[self.masks][self.side]:
            first.setdefault(table.patients[index], int(index))
        dataset = CardDataset(table, data_module.roots[self.masks.dataset], ViewPipeline(side))
        return [self._image(dataset, index) for index in list(first.values())[:IMAGES]]

    def _image(self, dataset: CardDataset, index: int) -> Radiograph:
        sample = dataset.sample(index, 0)
        classes = dataset.annotations.classes
        points = [mask_landmarks(name, mask) for name, mask in zip(classes, sample.target.masks, strict=True)]
        return Radiograph(sample.image, {name: place for result in points for name, place in result.items()})


def generated_world(folder: Path, images: int, side: Split = Split.TEST) -> World:
    """Two generated datasets of ``images`` images each: one to pretrain on, one with masks of lungs and heart."""
    write_phantom_datasets(folder, {"phantom_labels": images, "phantom_masks": images}, size=256)
    return World(folder, ("phantom_labels",), TaskKey("phantom_masks", Task.SEGMENTATION), True, side)


def real_world(folder: Path, side: Split = Split.TEST) -> World:
    """The images of ``tests/configs/cxr_multi.py``, and its lung masks."""
    cards = tuple(dataset.card for dataset in load_config(REAL).datasets)
    return World(folder, cards, TaskKey("multi_lung_masks", Task.SEGMENTATION), False, side)


def as_one(data_module: DataModule, data: Path) -> DataModule:
    """All self-supervised datasets of a data_module as one, each image and patient in its split.

    A picture that stands in several datasets stays in as often.
    """
    tables = list(data_module.annotations.values())
    starts = np.cumsum([0, *(len(table) for table in tables)])
    folders = [os.path.relpath(data_module.roots[table.key.dataset], data) for table in tables]
    merged = Annotations(
        key=ALL_IMAGES,
        classes=(),
        images=[f"{folder}/{n}" for folder, table in zip(folders, tables, strict=True) for n in table.images],
        patients=[patient for table in tables for patient in table.patients],
        rows=[row for table in tables for row in table.rows],
        labels=np.zeros((int(starts[-1]), 0), dtype=np.float32),
        splits=[side for table in tables for side in table.splits],
    )
    shifted = zip(tables, starts[:-1], strict=True)
    sides = [(data_module.indices[table.key], start) for table, start in shifted]
    indices = {split: np.concatenate([side[split] + start for side, start in sides]) for split in Split}
    return replace(
        data_module, annotations={ALL_IMAGES: merged}, roots={ALL_IMAGES.dataset: data}, indices={ALL_IMAGES: indices}
    )
