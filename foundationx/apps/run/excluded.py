"""The list of images that a run could not use, in the form that the next run is given as ``exclude``."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from foundationx.core.types import BadSample
from foundationx.core.workdir import write_atomically

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
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows.values())
    write_atomically(path, stream.getvalue())


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
