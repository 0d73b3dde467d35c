"""Lists of splits of one's own: which patients or images are in which split (``split.file``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundationx.core.atomic_write import as_written, write_csv, write_json
from foundationx.core.errors import ConfigError, DataError, nearest
from foundationx.core.types import Annotations, Split
from foundationx.datasets.readers._files import read_json
from foundationx.datasets.readers._tables import read_header, read_table

COLUMNS = ("patient", "image", "dataset", "split")
"""Columns of a list: ``split`` and one of ``patient`` and ``image``; ``dataset`` tells images of one name apart."""

_FIX = "correct split.file"


def read_split_list(path: Path, annotations: Sequence[Annotations]) -> dict[str, Split]:
    """The split of the patients that a list names, directly or by an image.

    A table has the columns ``patient`` (``nih:12``) or ``image`` (path, end of a path or file name), ``split`` and
    maybe ``dataset``; a JSON file holds an object of patients and splits, as ``splits.json`` of a run does. Entries of
    patients and images that the run does not have are passed over, so that one list can serve several runs.

    Args:
        path: List.
        annotations: All tasks of all datasets of the run.

    Raises:
        ConfigError: The list is missing, is no list, names an unknown split, gives a patient two splits, or names
            nobody of the run.
    """
    rows = _rows(path)
    patients = {patient for table in annotations for patient in table.patients}
    images = _patients_of_images(annotations) if any(image for _, _, image, _, _ in rows) else {}
    splits: dict[str, Split] = {}
    for where, patient, image, dataset, text in rows:
        split = _split(text, where)
        named = {patient} & patients if patient else images.get((dataset, image), set())
        for name in named:
            if splits.setdefault(name, split) is not split:
                found = f"{name} is in {split.value}, but an earlier row says {splits[name].value}"
                raise ConfigError(where, found, "one split per patient", _FIX)
    if patients and not splits:
        example = min(patients)
        raise ConfigError(f"split.file: {path}", "names nobody of this run", f"patients such as {example!r}", _FIX)
    return splits


def read_patient_list(path: Path) -> dict[str, Split]:
    """All patients of a list that names patients, those of other runs too. Raises ConfigError like the above."""
    rows = _rows(path)
    if any(not patient for _, patient, _, _, _ in rows):
        raise ConfigError(str(path), "names no patients", "the columns patient and split", "name another file")
    return {patient: _split(text, where) for where, patient, _, _, text in rows}


def _rows(path: Path) -> list[_Row]:
    """All rows. Raises ConfigError: the file is no list."""
    try:
        return _json_rows(path) if path.suffix == ".json" else _table_rows(path)
    except DataError as error:
        raise ConfigError(f"split.file: {error.where}", error.found, error.expected, error.fix or _FIX) from None


def _split(text: str, where: str) -> Split:
    known = [split.value for split in Split]
    if text not in known:
        raise ConfigError(where, f"split is {text!r}", nearest(text, known), _FIX)
    return Split(text)


_Row = tuple[str, str, str, str, str]
"""Location, patient, image, dataset and split."""


def _table_rows(path: Path) -> list[_Row]:
    columns = read_header(path, path.name)
    name = "image" if "image" in columns and "patient" not in columns else "patient"
    table = read_table(path, str(path), [name, "split"], ["dataset"])
    return [
        (
            row.where,
            as_written(row.cells.get("patient", "")),
            as_written(row.cells.get("image", "")),
            row.cells.get("dataset", ""),
            row.cells["split"],
        )
        for row in table.rows
    ]


def _json_rows(path: Path) -> list[_Row]:
    content = read_json(path, str(path))
    if not isinstance(content, dict):
        raise DataError(str(path), "is no object", "patients and their splits, as in splits.json of a run", _FIX)
    return [(str(path), str(patient), "", "", str(split)) for patient, split in content.items()]


def _patients_of_images(annotations: Sequence[Annotations]) -> dict[tuple[str, str], set[str]]:
    """Patients by dataset ("" for any) and image: its path and every end of it."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for table in annotations:
        for image, patient in zip(table.images, table.patients, strict=True):
            parts = image.split("/")
            for first in range(len(parts)):
                for dataset in ("", table.key.dataset):
                    found[dataset, "/".join(parts[first:])].add(patient)
    return found


def write_split_list(path: Path, splits: Mapping[str, Split]) -> None:
    """Writes a list of patients, as JSON if the name ends in ``.json``, otherwise as a table. Raises DiskError."""
    if path.suffix == ".json":
        write_json(path, {patient: split.value for patient, split in splits.items()})
    else:
        write_csv(path, ("patient", "split"), [(patient, split.value) for patient, split in splits.items()])
