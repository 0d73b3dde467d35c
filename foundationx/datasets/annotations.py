"""Reads the annotations of a card with the reader that it names."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from foundationx.core.errors import CardError, nearest
from foundationx.core.extensions import Extensions, module_with
from foundationx.core.types import Annotations, Task, annotated_tasks
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.card import Card
from foundationx.datasets.location import dataset_folder
from foundationx.datasets.readers._source import Reader, ReaderOptions, Source

READERS: Extensions[Reader[Any]] = Extensions(
    "reader", "foundationx.datasets.readers", module_with("PROVIDES", "Options", "read")
)
"""Published formats that can be read.

A reader is one file of ``foundationx/datasets/readers`` with ``PROVIDES`` (the parts of the annotations that it reads),
``Options`` (its options, a ReaderOptions) and ``read(source, options)``, which adds every image to the source.
"""


def open_reader(card: Card, task: Task) -> tuple[Reader[Any], tuple[ReaderOptions, ...]]:
    """The reader of one task of a card, and its validated options for each annotation file. Reads no data.

    Raises:
        CardError: The card has no such task, the reader is unknown or does not support the task, or an option is wrong.
    """
    where = f"{card.file}: tasks.{task.value}"
    if task not in card.tasks:
        raise CardError(
            f"{card.file}: tasks", f"there is no {task.value}", nearest(task.value, card.tasks), "correct the task"
        )
    name = card.tasks[task].reader
    reader = READERS.get(name, f"{where}.reader", CardError)
    if task.facts.part not in reader.PROVIDES:
        possible = [other.value for other in annotated_tasks() if other.facts.part in reader.PROVIDES]
        expected = f"one of {', '.join(possible)}"
        raise CardError(f"{where}.reader", f"{name} does not support {task.value}", expected, "choose another reader")
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
    """Reads one task of a dataset from its published files, without decoding any image.

    Args:
        card: Card of the dataset.
        task: Task to read.
        data_root: Folder of all datasets; tables of patients may be anywhere inside it.
        root: Folder of the dataset under ``data_root``; None: that of the card.
        on_bad_sample: ``raise`` at the first invalid image, or ``skip``: leave the image out and list it in ``bad``. An
            invalid box or polygon makes its image invalid, since the image without it would be a false negative. Errors
            of a whole file (missing, missing column, not JSON) are always raised.

    Returns:
        Annotations with images in the order of the file.

    Raises:
        CardError: Reader or options are wrong.
        DataError: A file or row cannot be used; names file and row.
    """
    return read_source(card, task, data_root, root, skip=on_bad_sample == "skip").finish()


def read_source(card: Card, task: Task, data_root: Path, root: str | None, skip: bool) -> Source:
    """Like :func:`read_annotations`, but returns the unfinished source, which may contain no image at all."""
    reader, options = open_reader(card, task)
    folder = dataset_folder(card, data_root, root)
    source = Source(card, task, data_root, folder, skip, root)
    with _paused_garbage_collection():
        for part, chosen in zip(card.tasks[task].files, options, strict=True):
            source.open(part)
            reader.read(source, chosen)
    return source


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pauses the garbage collector, which would spend a third of the time on millions of new rows without cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
