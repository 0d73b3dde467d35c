"""CSV, one row an image, all its findings joined in one column (ChestX-ray14, PadChest, covid-chestxray-dataset)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.datasets.readers._source import ReaderOptions, Source

GIVES = frozenset({"labels"})


class Options(ReaderOptions):
    """Columns, and the findings that are not classes."""

    image_column: str
    findings_column: str
    separator: str = Field("|", min_length=1)
    trim: str = Field("", description="characters around a cell and its names that mean nothing, e.g. []'")
    negative: tuple[str, ...] = Field((), description="findings that say: none of the classes (No Finding)")
    unknown: tuple[str, ...] = Field((), description="findings that say: not read yet; every class is unknown")
    ignore: tuple[str, ...] = Field((), description="findings that say nothing about the classes")
    unlisted: Literal["error", "ignore"] = Field("error", description="findings that the card does not name")
    blank: Literal["error", "unknown", "negative"] = Field("error", description="an empty cell")
    repeated: Literal["error", "same"] = Field(
        "error", description="same: an image may stand in several rows if all of them say the same"
    )


def read(source: Source, options: Options) -> None:
    """Adds every row: named classes are present, all others absent; an ``unknown`` finding makes all unknown.

    Raises:
        DataError: a finding that the card does not know, an empty cell (nothing was said, which is not "nothing
            found"), an image in two rows.
    """
    known: dict[str, np.ndarray] = {}
    said: dict[str, str] = {}
    table = source.table([options.image_column, options.findings_column])
    for row in table.rows:
        name = row.cells[options.image_column]
        with source.guard(row.where, name):
            findings = row.cells[options.findings_column]
            if said.get(name) == findings and options.repeated == "same":
                continue
            said[name] = findings
            if findings not in known:
                known[findings] = _labels(source, options, findings, row.where)
            source.add(source.image(name, row.where, row.cells), row.where, known[findings], row.cells)


def _labels(source: Source, options: Options, findings: str, where: str) -> np.ndarray:
    """(K,) labels of one cell."""
    names = [name.strip().strip(options.trim).strip() for name in findings.strip(options.trim).split(options.separator)]
    if not any(names) and options.blank != "error":
        return source.labels(np.nan if options.blank == "unknown" else 0.0)
    if any(name in options.unknown for name in names):
        return source.labels(np.nan)
    labels = source.labels(0.0)
    without_class = {*options.negative, *options.ignore}
    for name in names:
        if name in without_class or (options.unlisted == "ignore" and not source.has_class(name)):
            continue
        labels[source.class_index(name, where, {*without_class, *options.unknown})] = 1.0
    return labels
