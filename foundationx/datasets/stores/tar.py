"""Tar archives that are not packed as a whole, such as the shards of webdataset.

Files of webdataset belong together if their names are equal up to the first dot: ``0001.png``, ``0001.json``,
``0001.cls`` are one row of a table. Its columns are ``image`` (the first image), one per ending (``png``, ``mask.png``,
``cls``, ``txt``), the keys of the JSON file (``objects``, and ``objects.bbox`` for a key in it), and ``__key__``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from foundationx.core.errors import DataError
from foundationx.core.strict_json import to_json
from foundationx.datasets.stores.store import Columns, Store, members_by_name

SUFFIXES = (".tar",)

IMAGES = ("png", "jpg", "jpeg", "dcm", "dicom", "tif", "tiff", "bmp", "gif", "mha", "img")
"""Last parts of the endings of images."""

BLOCK = 512
"""Bytes of a header; files begin at multiples of it."""

REGULAR, PAX = (b"0", b"\0"), (b"x", b"g")
PASSED_OVER = (*PAX, b"5", b"1", b"2")
"""Kinds of entries: files; further attributes of the next file or of all; these, folders and links."""

MAX_LABEL = 2**20
"""Bytes of a file that holds labels; larger ones are no labels."""


Member = tuple[int, int]
"""Position and size of a file in the archive."""


class TarStore(Store):
    """A tar archive.

    Args:
        path: The archive.

    Raises:
        DataError: It is cut off, or no tar archive, or different files have the same name.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            found = _plain_members(path)
            found = _members(path) if found is None else found
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            fix = "download it again; an archive that is packed as a whole (.tar.gz) has to be unpacked first"
            raise DataError(str(path), f"is no complete tar archive ({error})", "a tar archive", fix) from None
        self._members = members_by_name(path, found, self._are_equal)

    def names(self) -> Collection[str]:
        """Paths of the files, in the archive's order."""
        return self._members.keys()

    def size(self, name: str) -> int:
        """Size in bytes."""
        return self._members[name][1]

    def read(self, name: str) -> bytes:
        """The file."""
        try:
            content = self._content(self._members[name])
        except OSError as error:
            raise self.damaged(name, error) from None
        if len(content) != self.size(name):
            raise self.damaged(name, "the archive is cut off")
        return content

    def _content(self, member: Member) -> bytes:
        """The bytes at a place of the archive. Raises OSError."""
        offset, size = member
        with self.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def _are_equal(self, one: Member, other: Member) -> bool:
        """Whether two files hold the same bytes."""
        return one == other or (one[1] == other[1] and self._content(one) == self._content(other))

    def columns(self) -> Columns:
        """One row per group of files of one name."""
        rows: dict[str, dict[str, str]] = {}
        for name in self._members:
            folder, slash, base = name.rpartition("/")
            stem, _, ending = base.partition(".")
            if stem and ending:
                self._add(rows.setdefault(folder + slash + stem, {}), name, ending.lower())
        columns = dict.fromkeys(key for row in rows.values() for key in row)
        cells = {column: [row.get(column, "") for row in rows.values()] for column in columns}
        images = tuple(column for column in columns if column == "image" or _is_image(column))
        return Columns({"__key__": list(rows)} | cells, images)

    def _add(self, row: dict[str, str], name: str, ending: str) -> None:
        """Adds one file to its row."""
        if _is_image(ending):
            row.setdefault("image", name)
            row[ending] = name
        elif self.size(name) <= MAX_LABEL:
            text = self.read(name).decode("utf-8", "replace").strip()
            if ending == "json":
                row |= _fields(text, f"{self.path}/{name}")
            else:
                row[ending] = text


def _members(path: Path) -> list[tuple[str, Member]]:
    """Name and place of every regular file. Raises TarError if the archive is damaged."""
    members: list[tuple[str, Member]] = []
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isreg():
                members.append((info.name, (info.offset_data, info.size)))
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every header in memory
    return members


def _plain_members(path: Path) -> list[tuple[str, Member]] | None:
    """As :func:`_members`, ten times as fast; None if the archive has long names or other extensions.

    Raises:
        ValueError: A header is damaged, or the archive is cut off.
    """
    members: list[tuple[str, Member]] = []
    end, position = path.stat().st_size, 0
    with path.open("rb", buffering=2**16) as stream:
        while len(header := stream.read(BLOCK)) == BLOCK and any(header):
            kind, digits = header[156:157], header[124:136].strip(b"\0 ")
            if kind not in (*REGULAR, *PASSED_OVER) or header[124] & 128:
                return None
            if sum(header) - sum(header[148:156]) + 256 != int(header[148:156].strip(b"\0 ") or b"0", 8):
                raise ValueError(f"the header at byte {position:,} is damaged")
            size = int(digits or b"0", 8)
            if kind in PAX and any(key in stream.read(size) for key in (b" path=", b" size=")):
                return None
            if kind in REGULAR:
                members.append((_name(header), (position + BLOCK, size)))
            position += BLOCK + -(-size // BLOCK) * BLOCK
            if position > end:
                raise ValueError("the archive is cut off")
            stream.seek(position)
    if not position:
        raise ValueError("there is no header")
    return members


def _name(header: bytes) -> str:
    """The name of a file in its header, with the part that POSIX archives put in front."""
    name = header[:100].split(b"\0", 1)[0]
    before = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return (before + b"/" + name if before else name).decode("utf-8", "surrogateescape")


def _is_image(ending: str) -> bool:
    return ending.rpartition(".")[2] in IMAGES


def _fields(text: str, where: str) -> dict[str, str]:
    """The keys of a JSON object as cells. Raises DataError if it is none."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"is not JSON ({error})", "a JSON object", "fix the file") from None
    if not isinstance(record, dict):
        raise DataError(where, f"contains a {type(record).__name__}", "a JSON object", "fix the file")
    cells = {str(key): cell_text(value) for key, value in record.items()}
    inner = {
        f"{key}.{name}": cell_text(item) for key, value in record.items() for name, item in fields_of(value).items()
    }
    return inner | cells


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an object, or of each object of a list as lists; empty for anything else.

    The boxes of an image are published as ``{"bbox": [[...], [...]], "category": [0, 3]}`` or as
    ``[{"bbox": [...], "category": 0}, ...]``: both have the fields ``bbox`` and ``category``.
    """
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        keys = dict.fromkeys(str(key) for item in value for key in item)
        return {key: [item.get(key) for item in value] for key in keys}
    return {}


def cell_text(value: Any) -> str:
    """A value as the cell of a table: names of a list are separated by ``|``; other lists and objects stay JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list | tuple) and all(isinstance(item, str | int) for item in value):
        return "|".join(map(str, value))
    return to_json(value) if isinstance(value, list | tuple | dict) else str(value)


def open_store(path: Path) -> Store:
    """The archive in a file."""
    return TarStore(path)
