"""From a card and the published files to annotations: the one door to the readers."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

from pydantic import ValidationError

from foundationx.core.errors import CardError, nearest
from foundationx.core.extensions import Extensions, module_with
from foundationx.core.types import Annotations, Task, annotated_tasks
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._bounds import dataset_folder
from foundationx.datasets.readers._source import ReaderOptions, Source

READERS: Extensions[ModuleType] = Extensions(
    "reader", "foundationx.datasets.readers", module_with("GIVES", "Options", "read")
)
"""Published formats that can be read.

A reader is one file of ``foundationx/datasets/readers`` with ``GIVES`` (the parts of an annotation that it reads),
``Options`` (its options, a ReaderOptions) and ``read(source, options)``, which adds every image to the source.
"""


def open_reader(card: Card, task: Task) -> tuple[ModuleType, tuple[ReaderOptions, ...]]:
    """The reader of one task of a card, and its checked options for each annotation file. Reads no data.

    Raises:
        CardError: the card has no such task, the reader is unknown or does not give the task, or an option is wrong.
    """
    where = f"{card.file}: tasks.{task.value}"
    if task not in card.tasks:
        raise CardError(f"{card.file}: tasks", f"there is no {task.value}", nearest(task.value, card.tasks))
    name = card.tasks[task].reader
    reader = READERS.get(name, f"{where}.reader", CardError)
    if task.facts.part not in reader.GIVES:
        possible = [other.value for other in annotated_tasks() if other.facts.part in reader.GIVES]
        expected = f"a task among {', '.join(possible)}"
        raise CardError(f"{where}.reader", f"{name} gives no {task.value}", expected, "choose another reader")
    try:
        return reader, tuple(reader.Options.model_validate(part.options) for part in card.tasks[task].files)
    except ValidationError as error:
        key = f"tasks.{task.value}.options"
        raise validation_error(error, reader.Options, str(card.file), CardError, key) from None


def read_annotations(
    card: Card,
    task: Task,
    data_root: Path,
    *,
    root: str | None = None,
    on_bad_sample: Literal["raise", "skip"] = "raise",
) -> Annotations:
    """Reads one task of a dataset as its published files say; decodes no pixel.

    Args:
        card: of the dataset.
        task: to read.
        data_root: folder that holds the datasets; tables of patients may stand anywhere inside it.
        root: the dataset's folder under ``data_root``; the card's own where it is None.
        on_bad_sample: ``raise`` at the first image that cannot be used, or ``skip``: leave the image out and list it in
            ``bad``. A fault of one box or polygon takes its image out: the image without it would teach a false
            negative. Faults of a whole file (missing, no such column, not JSON) are always raised.

    Returns:
        Annotations with images in the order of the file.

    Raises:
        CardError: reader or options are wrong.
        DataError: a file or row cannot be used; names file and row.
    """
    return read_source(card, task, data_root, root, skip=on_bad_sample == "skip").finish()


def read_source(card: Card, task: Task, data_root: Path, root: str | None, skip: bool) -> Source:
    """As :func:`read_annotations`; what was read is not finished yet, so that it may hold no image at all."""
    reader, options = open_reader(card, task)
    folder = dataset_folder(data_root, card.root if root is None else root, f"{card.file}: root")
    source = Source(card, task, data_root, folder, skip)
    with _without_collection():
        for part, chosen in zip(card.tasks[task].files, options, strict=True):
            source.open(part)
            reader.read(source, chosen)
    return source


@contextmanager
def _without_collection() -> Iterator[None]:
    """Rests the collector of cycles: it would walk over millions of new rows, which hold none, a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
