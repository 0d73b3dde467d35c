"""What protocols share: a model from a checkpoint, a dataset to evaluate it on, and a table of results.

A protocol is one file of this folder with ``Options`` (its options, a Section) and ``run(request, options)``, which
gives a Result. Everything is chosen on training and validation patients; test is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError

from foundationx.apps.protocols import PROTOCOLS
from foundationx.core.config.model import Section
from foundationx.core.config.run import DatasetConfig
from foundationx.core.device import pick_device, use_machine
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split, TaskKey
from foundationx.core.validation import validation_error
from foundationx.data.datamodule import DataModule
from foundationx.engine.checkpoint import Checkpoint
from foundationx.evaluation.checkpoint import open_evaluated, with_exclusion
from foundationx.evaluation.evaluator import measure
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.stored import store
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.imports.imported import open_subject
from foundationx.weights.imports.released import LABELS as LABELS  # the task that most protocols evaluate


@dataclass(frozen=True)
class Request:
    """What is evaluated, and on what.

    Attributes:
        checkpoint: Checkpoint, work directory, or folder of an import.
        model: Student or teacher.
        card: Dataset to evaluate on; it need not be among those that the model was trained on. "" for none, if the
            protocol sets ``NEEDS_CARD`` to false.
        root: Its folder under the data root; the card's own if None.
        data_root: Folder that holds the datasets.
        device: Device to compute on.
        out: Folder for tables and predictions; None for neither.
        allow_code: Build whatever backbone the file names; otherwise only known ones.
        exclude: List of training images to leave out; the path that the checkpoint names is not followed.
    """

    checkpoint: Path
    model: str
    card: str
    root: str | None
    data_root: Path
    device: str = "auto"
    out: Path | None = None
    allow_code: bool = False
    exclude: Path | None = None


@dataclass
class Result:
    """A table for people, and predictions on the test split for ``foundationx compare``."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str] = field(default_factory=list)
    predictions: list[Predictions] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Writes predictions and their metrics. Raises DiskError."""
        if self.predictions:
            store(folder, measure(self.predictions))


class Subject:
    """The evaluated model, with the dataset split as the model's own run recorded it.

    Args:
        request: What the user asks for.
        with_own: Also open the datasets of the model's own run.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        CardError: There is no such card.
        DataError: The dataset cannot be read.
    """

    def __init__(self, request: Request, with_own: bool = False):
        self.checkpoint: Checkpoint = open_subject(request.checkpoint, request.card, allow_code=request.allow_code)
        config = with_exclusion(self.checkpoint, request.exclude)
        own = [entry for entry in config.datasets if with_own and entry.card != request.card]
        asked = [DatasetConfig(card=request.card, root=request.root)] if request.card else []
        self.config = config.model_copy(update={"datasets": (*own, *asked)})
        opened = open_evaluated(self.checkpoint, request.checkpoint, self.config, request.data_root)
        self.data_module: DataModule = opened[0]
        self.device: torch.device = pick_device(request.device)
        use_machine(config.runtime.workers)
        self.model: FoundationModel = self.checkpoint.model(request.model).to(self.device)
        self.name = request.model

    def sizes(self, key: TaskKey) -> str:
        """Images of each split, for the table's title."""
        return ", ".join(f"{len(chosen):,} {split.value}" for split, chosen in self.data_module.indices[key].items())

    def need(self, key: TaskKey, splits: Iterable[Split]) -> None:
        """Raises ConfigError if a split has no image."""
        for split in splits:
            if len(self.data_module.indices[key][split]) == 0:
                fix = "give the checkpoint's run a `split` with images in it, or use a dataset that has it"
                raise ConfigError(f"{key}", f"has no {split.value} image", "images in every split", fix)


def open_protocol(name: str, options: Mapping[str, Any]) -> tuple[ModuleType, Section]:
    """A protocol and its checked options.

    Raises:
        ConfigError: There is no such protocol, or an option is unknown or wrong.
    """
    module = PROTOCOLS.get(name, "--protocol")
    try:
        return module, module.Options.model_validate(options)
    except ValidationError as error:
        raise validation_error(error, module.Options, "--with", ConfigError) from None
