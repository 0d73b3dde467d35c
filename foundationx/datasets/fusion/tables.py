"""Reads public tables of datasets: the unified table of Project Imaging-X, its JSON, and the portal's JSON.

Their columns have different names; ``COLUMNS`` maps them to fields.
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
    is_unknown,
    modalities_of,
    tasks_of,
    words_of,
)
from foundationx.datasets.fusion.licences import permissions_of
from foundationx.datasets.fusion.record import Presence, Record

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
    "splits": ("split_portal",),
    "valid_images": ("images_valid", "valid_image_n"),
    "label": ("label", "has_labels", "label_presence"),
    "tasks": ("task", "task_type"),
    "access": ("access",),
    "storage_gb": ("storage_size_gb",),
}
"""Names of the columns for each field; the first column with a known value counts."""


def read_table(path: Path, vocabulary: Vocabulary) -> list[Record]:
    """The datasets of a table, one record per row; ``harmonise`` merges rows of one name and address.

    Args:
        path: ``.csv`` file with a header, or ``.json`` file with a list of objects.
        vocabulary: Vocabulary of anatomy and diseases.

    Raises:
        RecipeError: The file is missing or invalid, or has no column of names.
    """
    rows = _read_json(path) if path.suffix == ".json" else _read_csv(path)
    if rows and not any(name in row for row in rows for name in COLUMNS["title"]):
        known = ", ".join(COLUMNS["title"])
        raise RecipeError(
            str(path), f"has the columns {', '.join(rows[0])}", f"one of {known}", "rename the column of names"
        )
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
        raise RecipeError(str(path), "is not a list of objects", "one object per dataset", "correct the file")
    return [{key: _cell(value) for key, value in row.items()} for row in values]


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise RecipeError(str(path), "there is no such file", "a table of datasets (.csv or .json)", "check --table")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(str(path), f"byte {error.start} is not UTF-8", "UTF-8 text", "save it as UTF-8") from None


def _cell(value: Any) -> str:
    """A JSON value as text, as in the CSV tables."""
    if value is None:
        return ""
    return ", ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def _record(row: Mapping[str, str], where: str, vocabulary: Vocabulary) -> Record | None:
    """The record of one row; None if it names no dataset."""
    cells = {field: _first_known(row, columns) for field, columns in COLUMNS.items()}
    if cells["title"] is None:
        return None
    redistribution, commercial = permissions_of(cells["licence"])
    valid, storage = cells["valid_images"], cells["storage_gb"]
    return Record(
        name=cells["title"],
        title=cells["title"],
        home=cells["home"],
        access=cells["access"],
        released=_date(cells["released"]),
        organisations=tuple(words_of(cells["organisations"] or "")),
        challenge=cells["challenge"],
        licence=cells["licence"],
        redistribution=redistribution,
        commercial=commercial,
        description=cells["description"],
        dimensions=dimensions_of(cells["dimensions"] or ""),
        modalities=modalities_of(cells["modalities"] or ""),
        modality_detail=cells["modality_detail"],
        anatomy=_concepts(cells["anatomy"], vocabulary),
        diseases=_concepts(cells["diseases"], vocabulary),
        volume=_volume(cells),
        valid_images=count_of(valid) if valid else None,
        label_presence=_presence(row),
        tasks=tasks_of(cells["tasks"] or ""),
        storage_gb=float(storage) if storage and re.fullmatch(r"\d+(\.\d+)?", storage) else None,
        rows=(where,),
    )


def _first_known(row: Mapping[str, str], columns: tuple[str, ...]) -> str | None:
    """The first cell with a known value, without leftover table escapes."""
    for column in columns:
        cell = row.get(column)
        if isinstance(cell, str) and not is_unknown(cell):
            return cell.strip(" \\\t")
    return None


_PRESENCE: dict[Presence, tuple[str, ...]] = {
    "labelled": ("true", "yes", "labeled", "labelled"),
    "unlabelled": ("false", "no", "unlabeled", "unlabelled"),
    "mixed": ("mixed",),
}


def _presence(row: Mapping[str, str]) -> Presence | None:
    """Label presence; in this column, yes and no are known values."""
    cells = (row.get(column) for column in COLUMNS["label"])
    answer = next((cell.strip().casefold() for cell in cells if cell and cell.strip()), "")
    return next((name for name, words in _PRESENCE.items() if answer in words), None)


def _volume(cells: Mapping[str, str | None]) -> dict[str, int]:
    """Published numbers of images; ``split_portal`` has train/val/test in one cell, with ``-`` for unknown ones."""
    texts = {name: cells[name] for name in ("total", "train", "val", "test")}
    splits = (cells["splits"] or "").split("/")
    if len(splits) == 3:
        texts |= dict(zip(("train", "val", "test"), splits, strict=True))
    counts = {name: count_of(text) for name, text in texts.items() if text}
    return {name: count for name, count in counts.items() if count}


def _date(text: str | None) -> str | None:
    """YYYY, YYYY-MM or YYYY-MM-DD; anything else is unknown."""
    match = re.match(r"\d{4}(-\d{2}(-\d{2})?)?(?!\d)", text or "")
    return match[0] if match else None


def _concepts(text: str | None, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Each entry as a concept of the vocabulary, or as it is if the vocabulary has none."""
    return tuple(dict.fromkeys(vocabulary.find(word) or word for word in words_of(text or "")))
