"""Fingerprints of images, in a file that a second audit reuses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.atomic_write import require_file
from foundationx.core.device import usable_cores
from foundationx.core.errors import DataError, DiskError
from foundationx.data.pixels.read import decode_grey, read_bytes
from foundationx.datasets.stores import store as stores

SIDE = 128
"""Side of a thumbnail in pixels."""

VERSION = 3
"""Version of the stored fingerprints: increased when the fingerprint of an image changes."""

_BLANK = 2.0
"""Standard deviation of grey values below which a thumbnail has nothing to recognise."""

MARGIN = 0.02
"""Share of height or width up to which a margin is left: registration can deal with it."""

_MARGIN_SIDE, _OUTER = 512, 0.35
"""Longest side at which margins are measured, and largest share of a side that can be one."""

_EVEN, _ALL, _WITH_TEXT = 12, 0.97, 0.7
"""Greatest difference from the margin's grey; share of such pixels in a line of margin, and in one with text."""

_AT_ONCE = 64
"""Images per write to the store: at most these are read again after an interruption."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of one image file.

    Attributes:
        content: SHA-256 of the file's bytes.
        pixels: SHA-256 of size and values of the decoded grey image: equal for lossless copies in other formats.
        thumbnail: Whole image resized without keeping its proportions, (SIDE, SIDE) uint8.
        inner: The same of the image without margins of one grey; None if it has none.
    """

    content: bytes
    pixels: bytes
    thumbnail: np.ndarray
    inner: np.ndarray | None = None

    @property
    def blank(self) -> bool:
        """Whether the image is so uniform that only its hashes can identify it."""
        return float(self.thumbnail.std()) < _BLANK


def fingerprint(path: Path) -> Fingerprint:
    """Reads and hashes one image.

    Raises:
        DataError: The image cannot be read.
    """
    file = read_bytes(path)
    image, content = decode_grey(path, file), hashlib.sha256(file).digest()
    pixels = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()
    inner = without_margins(image)
    return Fingerprint(content, pixels, shrink(image), None if inner is None else shrink(inner))


def shrink(image: np.ndarray) -> np.ndarray:
    """Resizes an (H, W) uint8 image to a (SIDE, SIDE) uint8 thumbnail."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def without_margins(image: np.ndarray) -> np.ndarray | None:
    """The image without padding, frame or letterbox: a margin of one grey, in which text may stand.

    Args:
        image: (H, W) uint8.

    Returns:
        A part of the image, or None if at most MARGIN of its height and width are margin.
    """
    scale = min(1.0, _MARGIN_SIDE / max(image.shape))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    top, bottom, left, right = (_margin(lines) for lines in (small, small[::-1], small.T, small.T[::-1]))
    if top + bottom < MARGIN and left + right < MARGIN:
        return None
    height, width = image.shape
    return image[
        round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
    ]


def _margin(lines: np.ndarray) -> float:
    """The share of the lines that are margin, from the first on; lines further in than _OUTER are never one."""
    outer = lines[: max(1, int(len(lines) * _OUTER))].astype(np.int16)
    alike = (np.abs(outer - np.median(outer[0])) <= _EVEN).mean(axis=1)
    mostly = np.cumsum(alike >= _WITH_TEXT) / np.arange(1, len(outer) + 1)
    last = np.flatnonzero((alike >= _ALL) & (mostly >= _ALL))
    return float(last[-1] + 1) / len(lines) if alike[0] >= _ALL and len(last) else 0.0


class FingerprintStore:
    """Fingerprints in an SQLite file, by path, size and modification time of the image.

    A file of another version or format is replaced. Every row has a checksum: what was altered since, be it one bit of
    a digest, is computed anew. About 10 kB per image.

    Args:
        path: SQLite file.
    """

    def __init__(self, path: Path):
        self.path = path
        require_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_current(path):
            path.unlink(missing_ok=True)
        self._open()

    def _open(self) -> None:
        with _as_disk_error(self.path):
            self._base = sqlite3.connect(self.path)
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS fingerprints "
                "(path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, "
                "content BLOB, pixels BLOB, thumbnail BLOB, trimmed BLOB, checksum BLOB)"
            )
            self._base.execute(f"PRAGMA user_version = {VERSION}")
            self._base.commit()

    def close(self) -> None:
        """Closes the file."""
        self._base.close()

    def get(self, path: Path) -> Fingerprint | None:
        """The stored fingerprint of a file; None if there is none or the file has changed since."""
        try:
            row = self._base.execute(
                "SELECT content, pixels, thumbnail, trimmed, checksum FROM fingerprints "
                "WHERE path = ? AND size = ? AND changed = ?",
                _identity(path),
            ).fetchone()
        except sqlite3.DatabaseError:  # a damaged file: everything is computed anew
            self.close()
            self.path.unlink(missing_ok=True)
            self._open()
            row = None
        if row is None or [type(value) for value in row] != [bytes] * 5 or not row[2]:
            return None
        if row[4] != _checksum((*_identity(path), *row[:4])):
            return None
        thumbnail = _unpacked(row[2])
        inner = _unpacked(row[3]) if row[3] else None
        return None if thumbnail is None else Fingerprint(row[0], row[1], thumbnail, inner)

    def put(self, path: Path, value: Fingerprint) -> None:
        """Adds a fingerprint; the next ``commit`` writes it."""
        inner = b"" if value.inner is None else _packed(value.inner)
        row = (*_identity(path), value.content, value.pixels, _packed(value.thumbnail), inner)
        with _as_disk_error(self.path):
            values = (*row, _checksum(row))
            self._base.execute("INSERT OR REPLACE INTO fingerprints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def join(self, shard: Path) -> None:
        """Adds the fingerprints of another file, unless newer ones are here; one of another version adds none.

        Args:
            shard: SQLite file; it stays as it is.
        """
        if not shard.is_file() or not _is_current(shard):
            return
        with _as_disk_error(shard):
            self._base.execute("ATTACH DATABASE ? AS shard", (str(shard),))
            try:
                self._base.execute(
                    "INSERT OR REPLACE INTO fingerprints SELECT * FROM shard.fingerprints AS other "
                    "WHERE NOT EXISTS (SELECT 1 FROM main.fingerprints AS own "
                    "WHERE own.path = other.path AND own.changed >= other.changed)"
                )
                self._base.commit()
            finally:
                self._base.execute("DETACH DATABASE shard")

    def commit(self) -> None:
        """Writes the added fingerprints."""
        with _as_disk_error(self.path):
            self._base.commit()


def _checksum(row: tuple[object, ...]) -> bytes:
    """Of all other values of a row."""
    return hashlib.blake2b(repr(row).encode(), digest_size=16).digest()


def _packed(thumbnail: np.ndarray) -> bytes:
    return cv2.imencode(".png", thumbnail)[1].tobytes()


def _unpacked(packed: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_GRAYSCALE)


@contextlib.contextmanager
def _as_disk_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        fix = "free disk space, or remove the file: it is made anew"
        raise DiskError(str(path), f"cannot be written: {error}", "a file of fingerprints", fix) from error


def _identity(path: Path) -> tuple[bytes, int, int]:
    """Path, size and modification time of a file; -1 for both of a missing one."""
    located = stores.locate(path)
    try:
        status = path.stat() if located is None else located[0].stat()
    except OSError:
        return os.fsencode(path.resolve()), -1, -1
    return os.fsencode(path.resolve()), status.st_size, status.st_mtime_ns


def _is_current(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        base = sqlite3.connect(path)
        try:
            base.execute("SELECT name FROM sqlite_master").fetchall()  # reads the schema: a damaged one is an error
            return base.execute("PRAGMA user_version").fetchone()[0] == VERSION
        finally:
            base.close()
    except sqlite3.DatabaseError:
        return False


def fingerprint_all(
    paths: Sequence[Path], store: FingerprintStore, advance: Callable[[int], None] = lambda count: None
) -> tuple[list[Fingerprint | None], dict[Path, DataError]]:
    """Fingerprints of many files; those in the store are not read again.

    A call after an interruption continues from there. Cost per image: one decoding (about 20 ms for 2,500 x 2,500
    pixels) on all cores, and SIDE * SIDE bytes of memory.

    Args:
        paths: Image files.
        store: Store that is read and filled.
        advance: Callback with the number of further images done.

    Returns:
        One fingerprint per path, None if the file cannot be read; and the errors by path.
    """
    prints: list[Fingerprint | None] = [store.get(path) for path in paths]
    missing = [index for index, value in enumerate(prints) if value is None]
    advance(len(paths) - len(missing))
    errors: dict[Path, DataError] = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            for index, value in zip(part, pool.map(lambda index: _attempt(paths[index]), part), strict=True):
                if isinstance(value, Fingerprint):
                    prints[index] = value
                    store.put(paths[index], value)
                else:
                    errors[paths[index]] = value
            store.commit()
            advance(len(part))
    return prints, errors


def _attempt(path: Path) -> Fingerprint | DataError:
    """The fingerprint, or the error that prevents it."""
    try:
        return fingerprint(path)
    except DataError as error:
        return error
