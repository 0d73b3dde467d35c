"""Writes the files of copies: tables that several cards extend, and a record of every file.

The record lets a new copy replace an earlier one, and protects all other files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.atomic_write import write_atomically
from foundationx.core.errors import CardError, DataError
from foundationx.core.strict_json import to_exact_json
from foundationx.datasets.cards.tasks import TableFormat
from foundationx.phantoms.files import raw_file, write_image

CSV = TableFormat()

RECORD = ".phantom_copy.json"
"""File in a dataset's folder that marks it as a copy and lists its files. Readers ignore hidden files."""


class CopyWriter:
    """Writes the files of all datasets of one call.

    Args:
        root: Data root.
        folders: Folders of the datasets, relative to the root. The files of earlier copies in them are removed.

    Raises:
        DataError: A folder holds files that are no copy.
    """

    def __init__(self, root: Path, folders: Iterable[str]):
        self.root, self._folders = root, sorted(set(folders))
        self._tables: dict[str, TableBuffer] = {}
        self._written: set[str] = set()
        self._before = {file for folder in self._folders for file in self._files_of(folder)}
        for file in self._before:
            (root / file).unlink(missing_ok=True)

    def _files_of(self, folder: str) -> list[str]:
        """Files of an earlier copy."""
        record = self.root / folder / RECORD
        if record.is_file():
            files: list[str] = json.loads(record.read_text(encoding="utf-8"))
            return files
        if (self.root / folder).is_dir() and any((self.root / folder).iterdir()):
            fix = "choose an empty folder for copies"
            raise DataError(str(self.root / folder), "holds files that are no copy", "a new folder", fix)
        return []

    def new_file(self, file: str) -> Path:
        """Path for a new file, given relative to the data root.

        Raises:
            CardError: The path leads out of the data root.
            DataError: The file exists and is not part of a copy.
        """
        file = posixpath.normpath(file)
        if file.startswith(("/", "../")) or "\\" in file:
            raise CardError(file, "leads out of the data root", "a path inside it", "correct the card")
        path = self.root / file
        if file not in self._written and path.exists():
            raise DataError(str(path), "is there already", "a new file", "choose an empty folder for copies")
        self._written.add(file)
        return path

    def image(self, file: str, values: np.ndarray, where: str, *, deep: bool = True) -> None:
        """Writes an image or a mask (not ``deep``) in the format of its suffix. Raises CardError as `write_image`."""
        if file.lower().endswith(".mhd"):
            self.new_file(str(raw_file(Path(file))))
        write_image(self.new_file(file), values, where, deep=deep)

    def json(self, file: str, content: Any) -> None:
        """Writes a JSON file."""
        write_atomically(self.new_file(file), to_exact_json(content))

    def lines(self, file: str, lines: Iterable[str]) -> None:
        """Writes a text file without repeated lines."""
        text = "".join(f"{line}\n" for line in dict.fromkeys(lines))
        write_atomically(self.new_file(file), text)

    def table(self, file: str, layout: TableFormat = CSV) -> TableBuffer:
        """The table of a path; a new one if there is none yet."""
        return self._tables.setdefault(file, TableBuffer(file, layout))

    def finish(self) -> None:
        """Writes all tables and the record of each folder. Raises CardError as :meth:`TableBuffer.write`."""
        for file, table in self._tables.items():
            table.write(self.new_file(file))
        shared = sorted(file for file in self._written if not any(file.startswith(f"{f}/") for f in self._folders))
        for folder in self._folders:
            own = sorted(file for file in self._written if file.startswith(f"{folder}/"))
            write_atomically(self.root / folder / RECORD, to_exact_json(own + shared))


class TableBuffer:
    """Rows of a table, collected over several annotation files.

    Args:
        name: Name of the file, for messages.
        layout: Delimiter and header.
    """

    def __init__(self, name: str, layout: TableFormat):
        self.name, self.layout = name, layout
        self.rows: dict[tuple[object, ...], dict[str, str]] = {}

    def put(self, key: tuple[object, ...], cells: dict[str, str]) -> None:
        """Adds a row, or further cells to the row of that key.

        Raises:
            CardError: Two cards require different values in one cell.
        """
        row = self.rows.setdefault(key, {})
        for column, value in cells.items():
            if row.setdefault(column, value) != value:
                found = f"the column {column!r} would have to hold {row[column]!r} and {value!r} for one image"
                raise CardError(self.name, found, "one value", "give one of the cards another file")

    def has(self, column: str) -> bool:
        """Whether a row has the column."""
        return any(column in row for row in self.rows.values())

    def write(self, path: Path) -> None:
        """Writes the file: records if its name ends in ``.json``, otherwise a table; compressed if it ends in ``.gz``.

        Raises:
            CardError: The card's header lacks a column, or a cell holds blanks in a table that blanks separate.
        """
        if path.suffix == ".json":
            write_atomically(path, to_exact_json(list(self.rows.values())))
            return
        published = [self._as_published(row) for row in self.rows.values()]
        used = [column for row in published for column in row if column != self.layout.row_column]
        used = list(dict.fromkeys(used))
        columns = used if self.layout.header is None else list(self.layout.header)
        if unknown := [column for column in used if column not in columns]:
            found, expected = f"the header has no column {unknown[0]!r}", f"one of {', '.join(columns)}"
            raise CardError(self.name, found, expected, "correct table.header in the card")
        rows = [[row.get(column, "") for column in columns] for row in published]
        above = [["-"] * len(columns)] * self.layout.skip
        header = [] if self.layout.header is not None else [[self._as_given(column) for column in columns]]
        text = self._text([*above, *header, *rows])
        data = text.encode("utf-8")
        write_atomically(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)

    def _as_given(self, column: str) -> str:
        """The name of a column in the file: the second ``NAME`` is read as ``NAME.1``."""
        return re.sub(r"\.\d+$", "", column) if self.layout.repeated == "number" else column

    def _as_published(self, row: dict[str, str]) -> dict[str, str]:
        """A row with derived columns in the form of the file."""
        derived = {column: self.layout.derived.get(column) for column in row}
        cells = {}
        for column, value in row.items():
            form = derived[column]
            cells[column if form is None else form.column] = value if form is None else form.form.format(value=value)
        return cells

    def _text(self, rows: list[list[str]]) -> str:
        if self.layout.delimiter == "whitespace":
            rows = [[cell or "-" for cell in row] for row in rows]
            if odd := next((cell for row in rows for cell in row if len(cell.split()) != 1), None):
                found = f"{odd!r} would be split at its blanks"
                raise CardError(self.name, found, "another delimiter", "correct table.delimiter in the card")
            return "".join(" ".join(row) + "\n" for row in rows)
        stream = io.StringIO()
        delimiter = "\t" if self.layout.delimiter == "tab" else self.layout.delimiter
        csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
        return stream.getvalue()
