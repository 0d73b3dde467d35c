"""Parquet files with images, as Hugging Face publishes datasets: a column of images holds ``bytes`` and ``path``.

The images of a column are the files of a folder of its name: ``train-00000.parquet/image/a.png``. A file is called by
its ``path`` if those are all given and differ, else by the store and its row (``train-00000-000017``). The other
columns are a table; numbers of a ``ClassLabel`` become its names. Fields of objects, or of lists of objects, are
columns of their own: ``objects.bbox``, ``objects.category``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundationx.core.distribution import install_hint
from foundationx.core.errors import DataError
from foundationx.datasets.stores.store import Columns, Store, plain_name
from foundationx.datasets.stores.tar import cell_text, fields_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUFFIXES = (".parquet",)

MAX_KEPT = 2**28
"""Bytes of a group of rows that is kept for the next image; larger ones are read again."""


class ParquetStore(Store):
    """A Parquet file.

    Args:
        path: The file.

    Raises:
        DataError: PyArrow is not installed, or the file is damaged.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        file = _open(path)
        self._ends = _row_ends(file)
        self._features = _features(file)
        self._images = _image_columns(file)
        self._rows: dict[str, tuple[str, int]] = {}
        self._names: dict[str, list[str]] = {}
        for column in self._images:
            self._names[column] = [f"{column}/{name}" for name in self._file_names(file, column)]
            self._rows |= {name: (column, row) for row, name in enumerate(self._names[column])}

    def names(self) -> Collection[str]:
        """Paths of the images, column by column."""
        return self._rows.keys()

    def size(self, name: str) -> int:
        """Bytes of an image; it has to be read."""
        return len(self.read(name))

    def read(self, name: str) -> bytes:
        """The bytes of an image."""
        column, row = self._rows[name]
        group = next(index for index, end in enumerate(self._ends) if row < end)
        state = self.path.stat()
        values = _group(str(self.path), state.st_size, state.st_mtime_ns, group, self._images[column])
        content = values[row - (self._ends[group - 1] if group else 0)].as_py()
        if not content:
            raise DataError(f"{self.path}/{name}", "holds no bytes of an image", "embedded images", "download the set")
        return bytes(content)

    def columns(self) -> Columns:
        """All columns as text; those of images hold their paths in the store."""
        file = _open(self.path)
        others = [name for name in file.schema_arrow.names if name not in self._images]
        cells: dict[str, list[str]] = {}
        if others:
            table = file.read(columns=others)
            for name in others:
                cells |= _texts(name, table.column(name).to_pylist(), self._features.get(name))
        return Columns(dict(self._names) | cells, tuple(self._images))

    def _file_names(self, file: pq.ParquetFile, column: str) -> list[str]:
        """One name per row."""
        paths = _paths(file, column)
        names = [plain_name(path) if path else None for path in paths]
        if all(names) and len(set(names)) == len(names):
            return [name for name in names if name]
        return [f"{self.path.stem}-{row:06d}" for row in range(len(paths))]


def _open(path: Path) -> pq.ParquetFile:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        fix = install_hint("parquet")
        raise DataError(str(path), "needs pyarrow, which is not installed", "pyarrow", fix) from None
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        found = f"is no complete Parquet file ({' '.join(str(error).split())[:200]})"
        raise DataError(str(path), found, "a Parquet file", "download it again") from None


def _row_ends(file: pq.ParquetFile) -> list[int]:
    """Number of rows up to the end of each group of rows."""
    ends, total = [], 0
    for index in range(file.num_row_groups):
        total += file.metadata.row_group(index).num_rows
        ends.append(total)
    return ends


def _image_columns(file: pq.ParquetFile) -> dict[str, str]:
    """Leaf with the bytes of each column of images: a struct with ``bytes``, or plain bytes."""
    import pyarrow.types as types

    leaves: dict[str, str] = {}
    for field in file.schema_arrow:
        if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            leaves[field.name] = f"{field.name}.bytes"
        elif types.is_binary(field.type) or types.is_large_binary(field.type):
            leaves[field.name] = field.name
    return leaves


def _paths(file: pq.ParquetFile, column: str) -> Sequence[str | None]:
    """Published names of the images of a column."""
    field = file.schema_arrow.field(column)
    if field.type.num_fields == 0 or field.type.get_field_index("path") < 0:
        return [None] * file.metadata.num_rows
    chunks = file.read(columns=[f"{column}.path"]).column(column).chunks
    return [path for chunk in chunks for path in chunk.field("path").to_pylist()]


def _features(file: pq.ParquetFile) -> dict[str, Any]:
    """What Hugging Face's ``datasets`` notes of the columns."""
    try:
        noted = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        return dict(noted.get("info", {}).get("features", {}))
    except (ValueError, AttributeError, TypeError):
        return {}


def _texts(name: str, values: list[Any], feature: Any) -> dict[str, list[str]]:
    """Cells of a column as text, and of the fields of its objects."""
    names = _class_names(feature)
    cells = {name: [cell_text(_named(value, names)) for value in values]}
    rows = [fields_of(value) for value in values]
    inner = _inner_features(feature)
    for key in dict.fromkeys(key for row in rows for key in row):
        labels = _class_names(inner.get(key))
        cells[f"{name}.{key}"] = [cell_text(_named(row.get(key), labels)) for row in rows]
    return cells


def _inner_features(feature: Any) -> dict[str, Any]:
    """What is noted of the fields of a column's objects."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    return feature if isinstance(feature, dict) else {}


def _class_names(feature: Any) -> Sequence[str]:
    """Names of a ClassLabel, or of a list of them; empty for anything else."""
    while isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    names = feature.get("names", ()) if isinstance(feature, dict) else ()
    return [str(name) for name in names] if isinstance(names, list | tuple) else ()


def _named(value: Any, names: Sequence[str]) -> Any:
    """A number of a class as its name; -1 stands for no label."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not names or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


@lru_cache(maxsize=2)
def _kept(path: str, size: int, modified: int, group: int, leaf: str) -> Any:
    return _read_group(path, group, leaf)


def _group(path: str, size: int, modified: int, group: int, leaf: str) -> Any:
    """Bytes of one group of rows, kept for the next image if they are few."""
    file = _open(Path(path))
    if file.metadata.row_group(group).total_byte_size > MAX_KEPT:
        return _read_group(path, group, leaf)
    return _kept(path, size, modified, group, leaf)


def _read_group(path: str, group: int, leaf: str) -> Any:
    column, _, inner = leaf.rpartition(".") if leaf.endswith(".bytes") else (leaf, "", "")
    try:
        values = _open(Path(path)).read_row_group(group, columns=[leaf]).column(column).combine_chunks()
    except Exception as error:  # PyArrow raises several kinds for damaged pages
        found = f"cannot be unpacked ({' '.join(str(error).split())[:200]})"
        raise DataError(path, found, "an undamaged Parquet file", "download it again") from None
    return values.field(inner) if inner else values


def open_store(path: Path) -> Store:
    """The images and the table of a Parquet file."""
    return ParquetStore(path)
