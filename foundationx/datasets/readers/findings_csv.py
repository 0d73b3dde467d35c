"""CSV with one row per image and all findings in one column (ChestX-ray14, PadChest, covid-chestxray-dataset)."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import CardError, DataError, nearest
from foundationx.datasets.readers._source import ReaderOptions, Source
from foundationx.datasets.readers._tables import Table

PROVIDES = frozenset({"labels"})


class Options(ReaderOptions):
    """Columns, and findings that are not classes."""

    image_column: str = Field(description="column that names the image", examples=["image"])
    findings_column: str = Field(description="column with all findings of the image")
    separator: str = Field("|", min_length=1, description="what stands between two findings")
    trim: str = Field("", description="characters to strip from a cell and its names, e.g. []'")
    negative: tuple[str, ...] = Field((), description="findings that mean that all classes are absent (No Finding)")
    other: tuple[str, ...] = Field(
        (),
        description="findings that are no class, of images that were read for all classes: classes that are not named "
        "beside them are absent",
    )
    unknown: tuple[str, ...] = Field(
        (), description="findings that mean that the image was not read: every class is unknown"
    )
    ignore: tuple[str, ...] = Field(
        (), description="findings that carry no information about the classes: alone, they leave every class unknown"
    )
    undecided: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        examples=[{"Pneumonia": ["COVID-19"]}],
        description="classes that a finding leaves unknown, e.g. {Pneumonia: [COVID-19]} if it may be either",
    )
    unlisted: Literal["error", "ignore"] = Field(
        "error", description="treatment of findings that the card does not name; ignore: as those under ignore"
    )
    blank: Literal["error", "unknown", "negative"] = Field("error", description="meaning of an empty cell")
    repeated: Literal["error", "same"] = Field(
        "error", description="same: an image may have several rows if their findings are the same"
    )


@dataclass(frozen=True)
class _Reading:
    """What one cell says.

    Attributes:
        labels: Labels (K,).
        absent: Its names that are no class and make classes absent.
        unknown: Its names that make classes unknown.
        ignored: Its names that say nothing.
    """

    labels: np.ndarray
    absent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def read(source: Source, options: Options) -> None:
    """Adds every row: named classes are present, all others are absent.

    An ``unknown`` finding makes all classes unknown, and so does a row with nothing but ignored findings.

    Raises:
        CardError: ``undecided`` names a class that the card does not have.
        DataError: A finding that the card does not name, an empty cell (which may mean "not read" rather than "no
            finding"), or an image in two rows.
    """
    _check_undecided(source, options)
    table = source.table([options.image_column, options.findings_column])
    cells = table.cells[options.findings_column]
    readings = _readings(source, options, table)
    rows: Counter[str] = Counter()
    findings_by_image: dict[str, str] = {}

    def add_row(index: int) -> None:
        row = table.row(index)
        name, findings = row.cells[options.image_column], row.cells[options.findings_column]
        with source.guard(row.where, name):
            if findings_by_image.get(name) == findings and options.repeated == "same":
                return
            findings_by_image[name] = findings
            if findings not in readings:
                readings[findings] = _read(source, options, findings, row.where)
            image = source.image(name, row.where, row.cells)
            source.add(image, row.where, readings[findings].labels, row.cells)
            rows[findings] += 1

    if options.repeated == "same":
        for index in range(len(table)):
            add_row(index)
    else:
        codes = {findings: code for code, findings in enumerate(readings)}
        chosen = np.fromiter((codes.get(cell, -1) for cell in cells), dtype=np.int64, count=len(cells))
        labels = np.stack([*(reading.labels for reading in readings.values()), source.labels(np.nan)])[chosen]
        added = source.add_rows(table, options.image_column, labels, add_row, special=chosen < 0)
        numbers = np.bincount(chosen[added], minlength=len(codes)).tolist()
        rows.update(dict(zip(codes, numbers, strict=True)))
    for findings, count in rows.items():
        reading, strings = readings[findings], source.strings
        strings.absent.update(dict.fromkeys(reading.absent, count))
        strings.unknown.update(dict.fromkeys(reading.unknown, count))
        strings.ignored.update(dict.fromkeys(reading.ignored, count))


def _readings(source: Source, options: Options, table: Table) -> dict[str, _Reading]:
    """The meaning of every cell that has one; each is read once."""
    readings: dict[str, _Reading] = {}
    for index, findings in enumerate(table.cells[options.findings_column]):
        if findings not in readings:
            with contextlib.suppress(DataError):  # raised again where the row is added
                readings[findings] = _read(source, options, findings, table.where(index))
    return readings


def _read(source: Source, options: Options, findings: str, where: str) -> _Reading:
    """The meaning of one cell."""
    names = [name.strip().strip(options.trim).strip() for name in findings.strip(options.trim).split(options.separator)]
    if not any(names) and options.blank == "negative":
        return _Reading(source.labels(0.0), absent=("",))
    if not any(names) and options.blank == "unknown":
        return _Reading(source.labels(np.nan), unknown=("",))
    if unknown := [name for name in names if name in options.unknown]:
        return _Reading(source.labels(np.nan), unknown=tuple(unknown))
    ignored = [name for name in names if _says_nothing(source, options, name)]
    telling = [name for name in names if name not in ignored]
    labels = source.labels(0.0 if telling else np.nan)
    present: list[int] = []
    absent: list[str] = []
    for name in telling:
        own = [] if name in (*options.negative, *options.other) else _classes(source, options, name, where)
        present += own
        absent += [] if own else [name]
    undecided = source.names.undecided(telling)
    undecided |= {source.classes.index(item) for name in telling for item in options.undecided.get(name, ())}
    labels[sorted(undecided)] = np.nan
    labels[present] = 1.0
    return _Reading(labels, tuple(absent), (), tuple(ignored))


def _says_nothing(source: Source, options: Options, name: str) -> bool:
    """Whether a finding carries no information about the classes."""
    known = name in source.names or name in (*options.negative, *options.other, *options.undecided)
    return name in options.ignore or (options.unlisted == "ignore" and not known)


def _classes(source: Source, options: Options, name: str, where: str) -> list[int]:
    """Classes that a finding makes present. Raises DataError if the card does not name it."""
    if name in options.undecided and name not in source.names:
        return []
    known = (*options.negative, *options.other, *options.unknown, *options.ignore, *options.undecided)
    return source.class_indices(name, where, known)


def _check_undecided(source: Source, options: Options) -> None:
    for name, classes in options.undecided.items():
        for item in classes:
            if item not in source.classes:
                where = f"{source.card.file}: tasks.{source.task.value}.options.undecided"
                found = f"{name!r} leaves {item!r} unknown, which is not a class of the task"
                raise CardError(where, found, nearest(item, source.classes), "correct the class")
