"""CSV with one row per image and all findings in one column (ChestX-ray14, PadChest, covid-chestxray-dataset)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.datasets.readers._source import ReaderOptions, Source

PROVIDES = frozenset({"labels"})


class Options(ReaderOptions):
    """Columns, and findings that are not classes."""

    image_column: str
    findings_column: str
    separator: str = Field("|", min_length=1)
    trim: str = Field("", description="characters to strip from a cell and its names, e.g. []'")
    negative: tuple[str, ...] = Field((), description="findings that mean that all classes are absent (No Finding)")
    unknown: tuple[str, ...] = Field(
        (), description="findings that mean that the image was not read: every class is unknown"
    )
    ignore: tuple[str, ...] = Field((), description="findings that carry no information about the classes")
    unlisted: Literal["error", "ignore"] = Field(
        "error", description="treatment of findings that the card does not name"
    )
    blank: Literal["error", "unknown", "negative"] = Field("error", description="meaning of an empty cell")
    repeated: Literal["error", "same"] = Field(
        "error", description="same: an image may have several rows if their findings are the same"
    )


def read(source: Source, options: Options) -> None:
    """Adds every row: named classes are present, all others are absent; an ``unknown`` finding makes all unknown.

    Raises:
        DataError: A finding that the card does not name, an empty cell (which may mean "not read" rather than "no
            finding"), or an image in two rows.
    """
    labels_by_cell: dict[str, np.ndarray] = {}
    findings_by_image: dict[str, str] = {}
    table = source.table([options.image_column, options.findings_column])
    for row in table.rows:
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            findings = row.cells[options.findings_column]
            if findings_by_image.get(name) == findings and options.repeated == "same":
                continue
            findings_by_image[name] = findings
            if findings not in labels_by_cell:
                labels_by_cell[findings] = _labels(source, options, findings, row.where)
            image = source.image(name, row.where, row.cells)
            source.add(image, row.where, labels_by_cell[findings], row.cells)


def _labels(source: Source, options: Options, findings: str, where: str) -> np.ndarray:
    """Labels (K,) of one cell."""
    names = [name.strip().strip(options.trim).strip() for name in findings.strip(options.trim).split(options.separator)]
    if not any(names) and options.blank != "error":
        return source.labels(np.nan if options.blank == "unknown" else 0.0)
    if any(name in options.unknown for name in names):
        return source.labels(np.nan)
    labels = source.labels(0.0)
    no_class = {*options.negative, *options.ignore}
    for name in names:
        if name in no_class or (options.unlisted == "ignore" and not source.has_class(name)):
            continue
        labels[source.class_index(name, where, {*no_class, *options.unknown})] = 1.0
    return labels
