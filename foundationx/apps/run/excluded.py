"""The list of images that a run could not use, in the form that the next run is given as ``exclude``."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from foundationx.core.atomic_write import as_written, write_csv
from foundationx.core.types import BadSample

COLUMNS = ("dataset", "image", "reason", "when")


def write_quarantine(path: Path, bad: Iterable[BadSample], images: Mapping[str, Collection[str]]) -> None:
    """Writes ``quarantine.csv``: every image once that was found bad when its files were read.

    Images whose annotation row was bad already are left out: they are in no dataset, and an exclusion list that names
    what is in no dataset is refused.

    Args:
        path: of the list; rows that stand there keep their time.
        bad: what was skipped.
        images: of each dataset.

    Raises:
        DiskError: it cannot be written.
    """
    rows = {(row["dataset"], row["image"]): row for row in _read(path)}
    now = datetime.datetime.now().isoformat(timespec="seconds")
    for entry in bad:
        if entry.file in images.get(entry.dataset, ()):
            values = (entry.dataset, entry.file, " ".join(entry.reason.split()), now)
            rows.setdefault((entry.dataset, entry.file), dict(zip(COLUMNS, values, strict=True)))
    write_csv(path, COLUMNS, rows.values())


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return [{name: as_written(row.get(name) or "") for name in COLUMNS} for row in csv.DictReader(stream)]
