"""Tables inside stores: the columns of Parquet files and of webdataset's tar archives, as a table of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._tables import Table, check_columns
from foundationx.datasets.stores.store import Columns, open_store


def store_table(
    folder: DatasetFolder, files: Sequence[str], name: str, required: Iterable[str], optional: Iterable[str] = ()
) -> Table:
    """The tables of stores, one below the other; a column of images holds paths relative to the dataset's folder.

    Args:
        folder: Folder of the dataset.
        files: Stores, relative to the folder.
        name: Name of the table in messages.
        required: Columns that the table must have.
        optional: Columns to read if the table has them.

    Raises:
        DataError: A store is damaged or has no table, or a required column is in none.
    """
    tables = {file: open_store(folder.path / file).columns() for file in files}
    columns = tuple(dict.fromkeys(column for table in tables.values() for column in table.cells))
    check_columns(columns, required, name)
    wanted = [column for column in dict.fromkeys([*required, *optional]) if column in columns]
    cells = {column: [cell for file in files for cell in _cells(tables[file], column, file)] for column in wanted}
    count = sum(map(_rows, tables.values()))
    return Table(name, columns, np.arange(1, count + 1, dtype=np.int32), dict(cells))


def _rows(table: Columns) -> int:
    return len(next(iter(table.cells.values()), ()))


def _cells(table: Columns, column: str, file: str) -> list[str]:
    """Cells of one store: empty if it lacks the column, and paths of images with the store in front."""
    if column not in table.cells:
        return [""] * _rows(table)
    cells = table.cells[column]
    return [f"{file}/{cell}" if cell else "" for cell in cells] if column in table.images else cells
