"""Archives of numbers: a ``.npz`` or ``.pt`` of others unpacks to no more than its size allows."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MAX_RATIO, ALWAYS_ALLOWED = 20, 2**30
"""An archive may unpack to 1 GiB, or to 20 times its size if that is more."""

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
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, _limit(path))
            entries = archive.infolist()
            return {entry.filename.removesuffix(".npy"): _read_array(archive, entry) for entry in entries}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # a damaged header raises anything
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from error


def unpacked_size(path: Path) -> int:
    """Bytes of a weight file once it is read; one that is no archive has its own size.

    Raises:
        ValueError: It is an archive that unpacks to too much. ``torch.save`` packs nothing, but some files are packed
            afterwards.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        return size
    with zipfile.ZipFile(path) as archive:
        check_unpacked(archive, _limit(path))
        return max(size, sum(entry.file_size for entry in archive.infolist()))


def _limit(path: Path) -> int:
    return max(ALWAYS_ALLOWED, MAX_RATIO * path.stat().st_size)


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


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """Raises ValueError if an array's header claims more than its entry holds: numpy would reserve the memory."""
    content = bytearray(archive.read(entry))
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, kind = read(file)
    claimed = math.prod(shape) * kind.itemsize
    if kind.hasobject or not 0 <= claimed <= entry.file_size:
        raise ValueError(f"{entry.filename} claims {claimed:,} bytes and holds {entry.file_size:,}")
    return np.ndarray(shape, kind, content, file.tell(), order="F" if in_columns else "C")
