"""Archives of numbers: a ``.npz`` or ``.pt`` of others unpacks to no more than its size allows."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MAX_RATIO, ALWAYS_ALLOWED = 20, 2**30
"""A ``.npz`` may unpack to 1 GiB, or to 20 times its size if that is more."""

MAX_ENTRIES = 1_000_000
"""Of an archive."""


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a ``.npz`` file, by name; objects are not unpickled.

    Args:
        path: File that `numpy.savez` or `numpy.savez_compressed` wrote.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is no ``.npz`` file, unpacks to too much, or an array is not as large as its header says.
        zipfile.BadZipFile: It is damaged.
        zlib.error: Likewise.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("no .npz file")
    with zipfile.ZipFile(path) as archive:
        check_unpacked(archive, max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size))
        for entry in archive.infolist():
            _check_header(archive, entry)
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def check_stored(path: Path) -> None:
    """Raises ValueError if a file of ``torch.save`` unpacks to more than it holds: its parts are stored as they are.

    Args:
        path: File; one that is no archive passes.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, path.stat().st_size)


def check_unpacked(archive: zipfile.ZipFile, limit: int) -> None:
    """Raises ValueError if the entries of an archive take more than ``limit`` bytes in all, or are too many.

    Args:
        archive: Archive, of which only the directory is read.
        limit: Bytes.
    """
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if size > limit or len(entries) > MAX_ENTRIES:
        raise ValueError(f"unpacks to {size:,} bytes in {len(entries):,} parts; at most {limit:,} are read")


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raises ValueError if an array's header claims more than its entry holds: numpy would reserve the memory."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        claimed = math.prod(shape) * kind.itemsize
    if kind.hasobject or not 0 <= claimed <= entry.file_size:
        raise ValueError(f"{entry.filename} claims {claimed:,} bytes and holds {entry.file_size:,}")
