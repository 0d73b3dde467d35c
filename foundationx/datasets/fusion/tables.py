"""Reads public tables of datasets: the unified table of Project Imaging-X, its JSON, and the portal's JSON.

The three do not agree on the names of their columns (``mdfp.md`` A.1); what a column means is written in ``COLUMNS``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundationx.core.errors import RecipeError
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.aliases import (
    count_of,
    dimensions_of,
    modalities_of,
    says_nothing,
    tasks_of,
    words_of,
)
from foundationx.datasets.fusion.licences import permissions_of
from foundationx.datasets.fusion.record import Record

COLUMNS = {
    "title": ("name", "dataset", "dataset_name"),
    "home": ("url", "link", "homepage_url"),
    "released": ("release_date", "year"),
    "organisations": ("organization", "organisation"),
    "challenge": ("challenge_series",),
    "licence": ("license", "licence"),
    "description": ("dataset_description",),
    "dimensions": ("dim", "dimension"),
    "modalities": ("modality", "modality_primary"),
    "modality_detail": ("modality_secondary",),
    "anatomy": ("structure", "organ", "anatomical_structure"),
    "diseases": ("diseases", "disease", "tumor", "disease_as_recorded"),
    "total": ("data_volume_total", "images_portal", "samples", "images_table", "images", "volumes"),
    "train": ("data_volume_train",),
    "val": ("data_volume_val",),
    "test": ("data_volume_test",),
    "sides": ("split_portal",),
    "valid_images": ("images_valid", "valid_image_n"),
    "label": ("label", "has_labels", "label_presence"),
    "tasks": ("task", "task_type"),
    "access": ("access",),
    "storage_gb": ("storage_size_gb",),
}
"""Our field, and what tables call it; where several columns stand in a table, the first that says something counts."""


def read_table(path: Path, vocabulary: Vocabulary) -> list[Record]:
    """The datasets of a table, one record a row; ``harmonise`` unites rows of one name and address.

    Args:
        path: ``.csv`` with a header, or ``.json``: a list of objects.
        vocabulary: anatomy and diseases are looked up in it.

    Raises:
        RecipeError: the file is missing, is neither, or has no column of names.
    """
    rows = _read_json(path) if path.suffix == ".json" else _read_csv(path)
    if rows and not any(name in row for row in rows for name in COLUMNS["title"]):
        known = ", ".join(COLUMNS["title"])
        raise RecipeError(str(path), f"has the columns {', '.join(rows[0])}", f"one of {known}", "name the column so")
    first = 1 if path.suffix == ".json" else 2  # line 1 of a CSV file is its header
    records = [_record(row, f"{path.name} row {n}", vocabulary) for n, row in enumerate(rows, start=first)]
    return [record for record in records if record is not None]


def _read_csv(path: Path) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(_read_text(path), newline=""), restkey="(beyond the header)")
    try:
        return [row for row in rows if any(row.values())]
    except csv.Error as error:
        where = f"{path} line {rows.line_num}"
        raise RecipeError(where, str(error), "comma-separated values with a header", "correct the file") from None


def _read_json(path: Path) -> list[dict[str, str]]:
    text = _read_text(path)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(f"{path} line {error.lineno}", error.msg, "valid JSON", "correct the file") from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RecipeError(str(path), "is not a list of objects", "one object a dataset", "correct the file")
    return [{key: _cell(value) for key, value in row.items()} for row in values]


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise RecipeError(str(path), "there is no such file", "a table of datasets (.csv or .json)", "check --table")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(str(path), f"byte {error.start} is not UTF-8", "UTF-8 text", "save it as UTF-8") from None


def _cell(value: Any) -> str:
    """A JSON value as the CSV tables write it."""
    if value is None:
        return ""
    return ", ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def _record(row: Mapping[str, str], where: str, vocabulary: Vocabulary) -> Record | None:
    """One row; None where it names no dataset."""
    said = {field: _said(row, columns) for field, columns in COLUMNS.items()}
    if said["title"] is None:
        return None
    redistribution, commercial = permissions_of(said["licence"])
    valid, storage = said["valid_images"], said["storage_gb"]
    return Record(
        name=said["title"],
        title=said["title"],
        home=said["home"],
        access=said["access"],
        released=_date(said["released"]),
        organisations=tuple(words_of(said["organisations"] or "")),
        challenge=said["challenge"],
        licence=said["licence"],
        redistribution=redistribution,
        commercial=commercial,
        description=said["description"],
        dimensions=dimensions_of(said["dimensions"] or ""),
        modalities=modalities_of(said["modalities"] or ""),
        modality_detail=said["modality_detail"],
        anatomy=_concepts(said["anatomy"], vocabulary),
        diseases=_concepts(said["diseases"], vocabulary),
        volume=_volume(said),
        valid_images=count_of(valid) if valid else None,
        label_presence=_presence(row),
        tasks=tasks_of(said["tasks"] or ""),
        storage_gb=float(storage) if storage and re.fullmatch(r"\d+(\.\d+)?", storage) else None,
        rows=(where,),
    )


def _said(row: Mapping[str, str], columns: tuple[str, ...]) -> str | None:
    """The first cell that says something, without what is left of table escapes."""
    for column in columns:
        cell = row.get(column)
        if isinstance(cell, str) and not says_nothing(cell):
            return cell.strip(" \\\t")
    return None


def _presence(row: Mapping[str, str]) -> str | None:
    """Here yes and no are answers: the column asks a question."""
    cells = (row.get(column) for column in COLUMNS["label"])
    answer = next((cell.strip().casefold() for cell in cells if cell and cell.strip()), "")
    words = {
        "labelled": ("true", "yes", "labeled", "labelled"),
        "unlabelled": ("false", "no", "unlabeled", "unlabelled"),
    }
    if answer == "mixed":
        return "mixed"
    return next((name for name, spellings in words.items() if answer in spellings), None)


def _volume(said: Mapping[str, str | None]) -> dict[str, int]:
    """Published images; ``split_portal`` writes train/val/test in one cell, ``-`` for an unknown side."""
    sides = (said["sides"] or "").split("/")
    cells = {"total": said["total"], "train": said["train"], "val": said["val"], "test": said["test"]}
    if len(sides) == 3:
        cells |= dict(zip(("train", "val", "test"), sides, strict=True))
    counts = {side: count_of(cell) for side, cell in cells.items() if cell}
    return {side: count for side, count in counts.items() if count}


def _date(text: str | None) -> str | None:
    """YYYY, YYYY-MM or YYYY-MM-DD; anything else is unknown."""
    match = re.match(r"\d{4}(-\d{2}(-\d{2})?)?(?!\d)", text or "")
    return match[0] if match else None


def _concepts(text: str | None, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Each entry as a concept of the vocabulary, or in its own words where it has none."""
    return tuple(dict.fromkeys(vocabulary.find(word) or word for word in words_of(text or "")))
