"""Anatomy: what the frozen backbone knows of it, without training, on radiographs of the evaluated split.

Landmarks come from what the card has: masks or boxes of organs (``evaluation/anatomy/landmarks.py``). Without any, the
measures that need none are computed, and the others are named as left out. The network is in evaluation mode, and
student and teacher are not mixed. One radiograph per patient is used, so that every pair belongs to two patients. The
same network with random weights is measured beside the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from rich.progress import Progress, SpinnerColumn

from foundationx.apps.protocols.base import Request, Result, Subject
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError
from foundationx.core.geometry.views import CELL
from foundationx.core.types import Split, TaskKey
from foundationx.data.dataset import CardDataset
from foundationx.data.normalise import Normaliser
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.evaluation.anatomy.landmarks import Points, box_landmarks, mask_landmarks
from foundationx.evaluation.anatomy.measures import Encoder
from foundationx.evaluation.anatomy.suite import AnatomyMeasures, Measured, Radiograph, Settings, measure
from foundationx.evaluation.bootstrap import resamples
from foundationx.evaluation.report.anatomy import Correspondences, draw_all
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.self_supervision.tokens import encoder

COLUMNS = (
    "metric",
    "class",
    "n",
    "value",
    "95 % interval",
    "by chance",
    "chance is",
    "gain",
    "random weights",
    "their gain",
)

REPEATS = 1000
"""Draws of patients for an interval."""


class Options(Section):
    """Which radiographs, and how they are measured."""

    split: Literal["val", "test"] = Field("test", description="split whose patients are used")
    radiographs: int = Field(16, ge=2, description="patients, one radiograph of each")
    size: int | None = Field(
        None, ge=64, description="side in pixels that radiographs are resized to; by default the model's input"
    )
    view: int | None = Field(
        None,
        ge=CELL,
        description=f"side of the view around a position, an odd multiple of {CELL}; about 0.6 of the image",
    )
    step: int = Field(16, ge=1, description="pixels between the positions that are searched for a landmark")
    neighbours: int = Field(5, ge=1, description="neighbours that vote (locality)")
    gallery: int = Field(16, ge=2, description="radiographs among which the blackened part is searched")
    relations: int = Field(8, ge=1, description="positions of each kind (interpolation and the like) per radiograph")
    untrained: bool = Field(True, description="measure the same network with random weights, too")
    seed: int = Field(0, ge=0, description="seed of positions and of random weights")


@dataclass
class AnatomyResult(Result):
    """The table, and the data of the pictures."""

    data: Correspondences | None = field(default=None, repr=False)

    def write(self, folder: Path) -> None:
        """Draws the pictures into ``anatomy/``. Raises DiskError."""
        if self.data is not None:
            draw_all(self.data, folder)


def run(request: Request, options: Options) -> Result:
    """Measures the model, and the same network untrained.

    Raises:
        ConfigError: The split has fewer than two patients, or a view has no token in its middle.
        FoundationXError: Checkpoint, card or data cannot be used.
    """
    subject = Subject(request)
    settings, size = settings_of(options, subject.config.image_size)
    key, organs = source_of(subject)
    radiographs = read_radiographs(subject, key, organs, Split(options.split), options.radiographs, size)
    with Progress(SpinnerColumn(), "{task.description}", transient=True) as progress:
        line = progress.add_task("")

        def measured(model: FoundationModel, who: str) -> AnatomyMeasures:
            def report(what: str) -> None:
                progress.update(line, description=f"{who}: {what}")

            return measure(_encoder(subject, model), radiographs, settings, report)

        own = measured(subject.model, subject.name)
        bare = measured(_untrained(subject, options.seed), "random weights").measured if options.untrained else []
    others = {(item.name, item.class_name, item.against): item for item in bare}
    rows = [_row(item, others.get((item.name, item.class_name, item.against))) for item in own.measured]
    source = f"landmarks from {key}: {', '.join(organs)}" if own.landmarks else "no landmarks"
    notes = [
        f"{len(radiographs)} patients, radiographs of {size} x {size} pixels, views of {settings.view}; {source}",
        *(f"left out: {reason}" for reason in own.left_out),
    ]
    title = f"anatomy in the backbone of {request.checkpoint} ({subject.name}) on {request.card}, {options.split}"
    return AnatomyResult(
        title, COLUMNS, rows, notes, data=Correspondences(radiographs, own, bare, settings, subject.name)
    )


def settings_of(options: Options, own: int) -> tuple[Settings, int]:
    """Settings of the measures, and the side of the radiographs. Raises ConfigError if a view has no middle token."""
    size = options.size or own
    view = options.view or CELL * max(1, 2 * round(0.3 * size / CELL - 0.5) + 1)
    if view % CELL or view // CELL % 2 == 0:
        odd = CELL * (2 * (view // CELL // 2) + 1)
        raise ConfigError("--with view", f"found {view}", f"an odd number of tokens of {CELL} pixels", f"view={odd}")
    if options.step > size:
        raise ConfigError("--with step", f"found {options.step}", f"less than the radiograph's {size} pixels")
    chosen = {name: getattr(options, name) for name in ("step", "neighbours", "gallery", "relations", "seed")}
    return Settings(view=view, **chosen), size


def source_of(subject: Subject) -> tuple[TaskKey, tuple[str, ...]]:
    """The head whose annotations give landmarks, and its classes that are organs; any head and no class if none does.

    Abnormalities are no landmarks: they lie elsewhere in every patient.
    """
    catalog = Catalog()
    for part in ("masks", "boxes"):
        for key in subject.data_module.annotations:
            if key.task.facts.part == part:
                specs = {spec.name: spec for spec in catalog.card(key.dataset).tasks[key.task].classes}
                classes = subject.data_module.classes[key]
                organs = [name for name in classes if name in specs and _is_organ(specs[name], catalog.vocabulary)]
                if organs:
                    return key, tuple(organs)
    return next(key for key in subject.data_module.annotations if key.task.facts.needs_annotations), ()


def _is_organ(spec: ClassSpec, vocabulary: Vocabulary) -> bool:
    if spec.polarity != "presence" or spec.canonical is None or spec.canonical not in vocabulary:
        return False
    return vocabulary[spec.canonical].kind == "anatomy"


def read_radiographs(
    subject: Subject, key: TaskKey, organs: tuple[str, ...], split: Split, most: int, size: int
) -> list[Radiograph]:
    """The first radiograph of each patient of a split, with its landmarks.

    Args:
        subject: Model and dataset.
        key: Head whose annotations give landmarks.
        organs: Classes that are organs.
        split: Split whose patients are used.
        most: Most patients.
        size: Side in pixels of the squares that radiographs are resized to.

    Raises:
        ConfigError: There are fewer than two patients.
        DataError: An image, mask or box cannot be used.
    """
    table = subject.data_module.annotations[key]
    first: dict[str, int] = {}
    for index in subject.data_module.indices[key][split]:
        first.setdefault(table.patients[index], int(index))
    if len(first) < 2:
        found = f"has {len(first)} patients in the {split.value} split"
        raise ConfigError(f"{key}", found, "two at least", "choose another split (--with split=val) or another dataset")
    dataset = CardDataset(table, subject.data_module.roots[key.dataset], ViewPipeline(size))
    columns = {table.classes.index(name): name for name in organs}
    radiographs = []
    for index in list(first.values())[:most]:
        sample = dataset.sample(index, 0)
        points: Points = {}
        for k, name in columns.items():
            if key.task.facts.part == "masks":
                points |= mask_landmarks(name, sample.target.masks[k])
            elif key.task.facts.part == "boxes":
                points |= box_landmarks(name, sample.target.boxes[sample.target.box_classes == k])
        radiographs.append(Radiograph(sample.image, points, sample.meta.image))
    return radiographs


def _encoder(subject: Subject, model: FoundationModel) -> Encoder:
    """Tokens of the last stage of the model's backbone; puts the model into evaluation mode."""
    normalise, backbone = Normaliser(subject.config.model, subject.device), model.eval().backbone
    encode = encoder(lambda images: backbone(images)[-1], normalise)
    return lambda images: encode(images.to(subject.device))


def _untrained(subject: Subject, seed: int) -> FoundationModel:
    """The same network with the random weights that training from scratch begins with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FoundationModel(subject.config.model, subject.checkpoint.classes).to(subject.device)


def _row(item: Measured, bare: Measured | None) -> tuple[str, ...]:
    digits = 1 if "px)" in item.name else 3
    value, chance = (f"{number:.{digits}f}" for number in (item.value, item.baseline))
    low, high = _interval(item.values)
    return (
        item.name,
        item.class_name,
        str(item.count),
        value,
        f"{low:.{digits}f} to {high:.{digits}f}",
        chance,
        item.against,
        f"{item.gain:+.{digits}f}",
        "-" if bare is None else f"{bare.value:.{digits}f}",
        "-" if bare is None else f"{bare.gain:+.{digits}f}",
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the mean over patients (n,)."""
    weights = np.concatenate(list(resamples(len(values), REPEATS, 0)), axis=1)
    low, high = np.percentile(values @ weights / len(values), [2.5, 97.5])
    return float(low), float(high)
