"""Stores: files that hold many images. A path into one goes on behind the store's file: ``images_01.zip/images/a.png``.

Everything that reads a dataset's files asks here, so that a store stands for a folder wherever a folder can stand. A
store is opened once per process, for its list of names; every read opens the file anew, which is safe in threads and in
forked loader workers.
"""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from foundationx.core.errors import DataError
from foundationx.core.extensions import Extensions, module_with

T = TypeVar("T")

MAX_MEMBER = 2**30
"""Bytes of one unpacked file of a store; the largest radiographs take less than a third of it."""

STORES: Extensions[ModuleType] = Extensions(
    "store", "foundationx.datasets.stores", module_with("SUFFIXES", "open_store"), shared=("store",)
)
"""Kinds of stores.

A kind is one file of ``foundationx/datasets/stores`` with ``SUFFIXES`` (of the files that are such stores) and
``open_store(path)``, which returns a :class:`Store`.
"""


@dataclass
class Columns:
    """A table that a store holds beside its images.

    Attributes:
        cells: Cells by column, as text; a column of images holds their paths within the store.
        images: Names of the columns of images.
    """

    cells: dict[str, list[str]] = field(default_factory=dict)
    images: tuple[str, ...] = ()


class Store(ABC):
    """The files in one file.

    Args:
        path: The store's file.
    """

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def names(self) -> Collection[str]:
        """Paths of the files within the store, in its order."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file when it is unpacked. Raises KeyError if there is no such file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises KeyError if there is none, and DataError if it is damaged."""

    def columns(self) -> Columns:
        """The table of the store. Raises DataError if this kind of store has none."""
        expected, fix = "a table, a tar with a JSON file per image, or Parquet", "name a table inside it: STORE/FILE"
        raise DataError(str(self.path), "holds files, not one table", expected, fix)

    @cached_property
    def folders(self) -> Mapping[str, frozenset[str]]:
        """Names of the files in each folder of the store, and of folders above them; ``""`` is the store itself."""
        inside: dict[str, set[str]] = {"": set()}
        for name in self.names():
            folder, _, base = name.rpartition("/")
            inside.setdefault(folder, set()).add(base)
            while folder := folder.rpartition("/")[0]:
                inside.setdefault(folder, set())
        return {folder: frozenset(names) for folder, names in inside.items()}

    def damaged(self, name: str, why: object) -> DataError:
        """The error for a file that cannot be unpacked."""
        found = f"cannot be unpacked ({why})"
        return DataError(f"{self.path}/{name}", found, "an undamaged archive", "download it again")


@lru_cache
def _suffixes() -> dict[str, ModuleType]:
    """Kinds of stores by suffix."""
    return {suffix: kind for kind in STORES.all().values() for suffix in kind.SUFFIXES}


@lru_cache
def _boundary() -> re.Pattern[str]:
    """Matches the end of the name of a store's file within a path."""
    return re.compile(rf"({'|'.join(map(re.escape, _suffixes()))})(?=/|$)", re.IGNORECASE)


def is_store(name: str) -> bool:
    """Whether a file of this name is a store."""
    return name.lower().endswith(tuple(_suffixes()))


def locate(path: str | Path) -> tuple[Path, str] | None:
    """The store that a path leads into, and the path within it (empty for the store itself); None for a plain path."""
    text = os.fspath(path)
    for end in (match.end() for match in _boundary().finditer(text)):
        if os.path.isfile(text[:end]):
            return Path(text[:end]), text[end + 1 :].strip("/")
    return None


def open_store(path: Path) -> Store:
    """The store in a file; its names are read once per process. Raises DataError if it is damaged."""
    state = path.stat()
    return _opened(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _opened(path: str, size: int, modified: int) -> Store:
    kind = next(kind for suffix, kind in _suffixes().items() if path.lower().endswith(suffix))
    store: Store = kind.open_store(Path(path))
    return store


def is_file(path: str | Path) -> bool:
    """Whether a path is a file, on disk or in a store."""
    if os.path.isfile(path):
        return True
    located = locate(path)
    if located is None or not located[1]:
        return False
    folder, _, name = located[1].rpartition("/")
    return name in open_store(located[0]).folders.get(folder, ())


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder, a store, or a folder in one."""
    if os.path.isdir(path):
        return True
    located = locate(path)
    return located is not None and located[1] in open_store(located[0]).folders


def listing(path: str | Path) -> tuple[frozenset[str], tuple[str, ...]] | None:
    """Files and subfolders of a folder in a store; None for a folder on disk or one that does not exist."""
    located = locate(path)
    if located is None:
        return None
    folders = open_store(located[0]).folders
    if located[1] not in folders:
        return frozenset(), ()
    inner = [folder for folder in folders if folder and folder.rpartition("/")[0] == located[1]]
    return folders[located[1]], tuple(folder.rpartition("/")[2] for folder in inner)


def size_of(path: str | Path) -> int:
    """Bytes of a file on disk or in a store. Raises OSError if there is none."""
    located = locate(path)
    if located is None or not located[1]:
        return os.path.getsize(path)
    return open_store(located[0]).size(_known(located))


def read(path: str | Path) -> bytes | None:
    """The bytes of a file in a store; None for any other path. Raises FileNotFoundError or DataError."""
    located = locate(path)
    if located is None or not located[1]:
        return None
    store, name = open_store(located[0]), _known(located)
    if store.size(name) > MAX_MEMBER:
        raise DataError(str(path), f"claims {store.size(name):,} bytes", f"at most {MAX_MEMBER:,}", "check the file")
    return store.read(name)


def open_binary(path: Path) -> io.BufferedIOBase:
    """A file on disk or in a store, to read. Raises OSError or DataError."""
    content = read(path)
    return open(path, "rb") if content is None else io.BytesIO(content)


def _known(located: tuple[Path, str]) -> str:
    archive, name = located
    folder, _, base = name.rpartition("/")
    if base not in open_store(archive).folders.get(folder, ()):
        raise FileNotFoundError(2, "No such file in the archive", f"{archive}/{name}")
    return name


def members_by_name(path: Path, members: Iterable[tuple[str, T]], are_equal: Callable[[T, T], bool]) -> dict[str, T]:
    """The files of an archive by their plain names; those that lead out of it are passed over.

    Args:
        path: The archive, for messages.
        members: Published name of each file, and where it lies.
        are_equal: Whether two files of one name hold the same bytes, which does no harm.

    Raises:
        DataError: Different files have the same name, as joining archives leaves them: nobody knows which one is meant.
    """
    found: dict[str, T] = {}
    repeated: dict[str, None] = {}
    for published, member in members:
        name = plain_name(published)
        if name and not are_equal(found.setdefault(name, member), member):
            repeated[name] = None
    if repeated:
        shown = ", ".join([*repeated][:3])
        told = f"holds different files of the same name ({len(repeated)} names, e.g. {shown})"
        fix = "download it again, or write it anew with a folder for each of the archives that were joined in it"
        raise DataError(str(path), told, "each name once", fix)
    return found


def plain_name(name: str) -> str | None:
    """A published name of a file in an archive without ``./``; None if it leads out of the archive."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts or "\\" in name or "\0" in name else "/".join(parts)
