"""Decoded once: grey bytes and targets at the training size, stored on disk and mapped into memory.

Images from which self-supervised views are cropped are stored at full size in ``v2-whole``. This folder, and one
``v2-224`` for each size, holds::

    pixels.bin    entries one after another: an image is its bytes row by row, a target is packed by its task
    index.bin     one record per entry: key, offset and length of its bytes, height and width of the source image, and
                  CRC-32 of the bytes and of the record itself
    damaged.bin   offsets of entries that a reader found damaged, if there are any
    lock          held by whoever adds entries; others wait

An entry's key is a digest of what it was made from: path, length and time of change of every file, drawn shapes,
version. A file that changes has another key, so an entry is never stale and never overwritten: the files only grow. A
record is written after its bytes are on the disk; whoever is killed leaves bytes without record, and the next one
writes over them. Reading takes no lock.

The CRC of an entry is checked whenever it is read. A damaged one is passed over, so that its image is decoded again,
and is noted: the next run that fills the cache adds it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from foundationx.core.atomic_write import disk_error, write_atomically
from foundationx.core.shards import Shard
from foundationx.core.types import ReferenceSize, Target
from foundationx.data.pixels.raw_images import files_of
from foundationx.datasets.stores import store as stores
from foundationx.tasks.definition import TaskDefinition

SHARD = "shard-"
"""Beginning of the names of folders that shards fill (``shard-3-of-8``)."""

VERSION = 2
"""Raised whenever decoding or resizing gives other bytes than before."""

RECORD = np.dtype(
    [
        ("key", "u1", 16),
        ("start", "<u8"),
        ("length", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("content", "<u4"),
        ("record", "<u4"),
    ]
)
"""An entry of the index; ``content`` is the CRC-32 of the entry's bytes, ``record`` that of the fields before it."""

_CHECKED = RECORD.itemsize - 4
"""Bytes of a record before its own CRC."""


class Key(bytes):
    """16 bytes that identify what an entry was made from."""


@dataclass(frozen=True)
class Entry:
    """Bytes of one image or target, and the size of the source image in pixels."""

    key: Key
    content: bytes
    height: int
    width: int

    @property
    def size(self) -> int:
        """Bytes that it takes, with its record."""
        return len(self.content) + RECORD.itemsize


def image_key(path: Path) -> Key:
    """Key of an image file, by its absolute path, as it is now. Raises OSError if there is none."""
    return _digest(_state(path))


def target_key(
    image: Key,
    task: TaskDefinition,
    annotation: Any,
    labels: np.ndarray,
    root: Path,
    reference: ReferenceSize | None = None,
) -> Key:
    """Key of an image's target: the image's, and all that it is drawn from. Raises OSError if a file is missing."""
    facts = task.target_facts(annotation, labels, lambda file: _state(root / file))
    return _digest(image.hex(), *facts, *([] if reference is None else [repr(tuple(reference))]))


def _state(path: Path) -> str:
    located = stores.locate(path)
    before = "" if located is None else f"{path}\n"
    states = [(file, file.stat()) for file in (files_of(path) if located is None else located[:1])]
    return before + "\n".join(f"{file}\n{state.st_size}\n{state.st_mtime_ns}" for file, state in states)


def _digest(*facts: str) -> Key:
    return Key(hashlib.blake2b("\n\n".join(facts).encode("utf-8", "surrogateescape"), digest_size=16).digest())


class Store:
    """The entries of one size.

    Args:
        folder: Folder that holds the sizes.
        size: Side of the square images in pixels; None stores images as large as they are.
    """

    def __init__(self, folder: Path, size: int | None):
        self.folder, self.size = folder / f"v{VERSION}-{size or 'whole'}", size
        self.pixels, self.index = self.folder / "pixels.bin", self.folder / "index.bin"
        self.damaged = self.folder / "damaged.bin"

    def records(self) -> np.ndarray:
        """Records (N,) that are intact, whose bytes are there and were not found damaged."""
        content = self.index.read_bytes() if self.index.is_file() else b""
        records = np.frombuffer(content, RECORD, count=len(content) // RECORD.itemsize)
        starts = range(0, len(records) * RECORD.itemsize, RECORD.itemsize)
        sums = np.fromiter((zlib.crc32(content[start : start + _CHECKED]) for start in starts), np.uint32, len(records))
        there = self.pixels.stat().st_size if self.pixels.exists() else 0
        intact = (records["record"] == sums) & (records["start"] + records["length"] <= there)
        return records[intact & ~np.isin(records["start"], self._starts_of_damaged())]

    def _starts_of_damaged(self) -> np.ndarray:
        content = self.damaged.read_bytes() if self.damaged.is_file() else b""
        return np.frombuffer(content[: len(content) // 8 * 8], "<u8")

    def find(self, keys: Iterable[Key | None]) -> np.ndarray:
        """The record of each key, in order; its length is 0 if there is none."""
        records = self.records()
        _mapped.cache_clear()  # the files may have grown since
        index = {key.tobytes(): number for number, key in enumerate(records["key"])}
        keys = list(keys)
        matching = np.zeros(len(keys), RECORD)
        for number, key in enumerate(keys):
            if key in index:
                matching[number] = records[index[key]]
        return matching

    def entry(self, record: np.void) -> Entry | None:
        """An entry with its bytes; None if it is damaged."""
        content, key = self.read(record), Key(record["key"].tobytes())
        return None if content is None else Entry(key, content.tobytes(), int(record["height"]), int(record["width"]))

    def of_shard(self, shard: Shard) -> Store:
        """The entries that one shard adds, until they are joined to these."""
        return Store(self.folder.parent / f"{SHARD}{shard}", self.size)

    def shards(self) -> list[Store]:
        """The entries of shards that were not joined yet, in the order of their names."""
        folders = sorted(self.folder.parent.glob(f"{SHARD}*/{self.folder.name}"))
        return [Store(folder.parent, self.size) for folder in folders]

    def remove(self) -> None:
        """Removes all entries."""
        _mapped.cache_clear()
        shutil.rmtree(self.folder)
        with contextlib.suppress(OSError):  # the shard's entries of another size may be there
            self.folder.parent.rmdir()

    def bytes_used(self) -> int:
        """Of both files."""
        return sum(path.stat().st_size for path in (self.pixels, self.index) if path.exists())

    def read(self, record: np.void) -> np.ndarray | None:
        """An entry's bytes, (length,) uint8, a view of the mapped file: not to be written to. None if it is damaged."""
        start, length = int(record["start"]), int(record["length"])
        content = _mapped(self.pixels)[start : start + length]
        if zlib.crc32(content.data) != int(record["content"]):
            self._note_damage(start)
            return None
        return content

    def _note_damage(self, start: int) -> None:
        """Notes a damaged entry; the first one is said. A folder that cannot be written keeps no note."""
        first = not self.damaged.exists()
        with contextlib.suppress(OSError), open(self.damaged, "ab") as stream:
            stream.write(start.to_bytes(8, "little"))
        if first:
            text = f"{self.pixels}: an entry does not have its checksum; such images are decoded again"
            warnings.warn(text, stacklevel=4)

    @contextlib.contextmanager
    def adding(self) -> Iterator[Adder]:
        """Holds the lock, which others wait for. Raises DiskError if the folder cannot be written."""
        with self.adding_if_free(wait=True) as adder:
            yield cast(Adder, adder)

    @contextlib.contextmanager
    def adding_if_free(self, wait: bool = False) -> Iterator[Adder | None]:
        """As :meth:`adding`, but gives None if another process holds the lock, unless that is waited for."""
        with _as_disk_error(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "lock", "w") as lock:
                try:  # the system lets go of the lock when the process ends, however it does
                    fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield None
                    return
                yield Adder(self)


class Adder:
    """Appends entries; made by ``Store.adding``."""

    def __init__(self, store: Store):
        self.store = store
        records = store.records()
        self._end = int((records["start"] + records["length"]).max(initial=0))
        before = store.index.stat().st_size if store.index.exists() else -1
        store.pixels.touch()
        if len(records) < before // RECORD.itemsize:  # others may be reading what is damaged: its bytes stay
            self._end = store.pixels.stat().st_size
        if before != len(records) * RECORD.itemsize:
            write_atomically(store.index, records.tobytes())
        store.damaged.unlink(missing_ok=True)
        os.truncate(store.pixels, self._end)  # what someone who was killed has left behind

    def add(self, entries: Sequence[Entry]) -> None:
        """Bytes first, then the records."""
        records = np.zeros(len(entries), RECORD)
        for record, entry in zip(records, entries, strict=True):
            record["key"] = np.frombuffer(entry.key, np.uint8)
            record["start"], record["length"] = self._end, len(entry.content)
            record["height"], record["width"] = entry.height, entry.width
            record["content"] = zlib.crc32(entry.content)
            record["record"] = zlib.crc32(record.tobytes()[:_CHECKED])
            self._end += len(entry.content)
        _append(self.store.pixels, b"".join(entry.content for entry in entries))
        _append(self.store.index, records.tobytes())


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@functools.lru_cache(maxsize=8)
def _mapped(path: Path) -> np.ndarray:
    """The file's bytes; cached here, not in the store, so that nothing of it is sent to workers."""
    return np.asarray(np.memmap(path, np.uint8, mode="r"))  # slices of a plain array are made quicker


@contextlib.contextmanager
def _as_disk_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "free disk space, choose another folder for runtime.cache, or leave it out"
        raise disk_error(folder, error, fix) from error


@dataclass(frozen=True)
class Cached:
    """An image (S, S) uint8 and its target, as resizing the decoded file gives them, or a full-size image.

    Read from the cache, the image cannot be written to: nothing is copied before samples are put into a batch.
    ``height`` and ``width`` are those of the source image in pixels.
    """

    image: np.ndarray
    target: Target | None
    height: int
    width: int


@dataclass(frozen=True)
class TaskCache:
    """What is cached of one task of one dataset.

    Attributes:
        task: The task.
        store: Entries of the dataset's size.
        images: A record per image.
        targets: A record per target; None if the task's targets are not cached.
    """

    task: TaskDefinition
    store: Store
    images: np.ndarray
    targets: np.ndarray | None

    def read(self, index: int) -> Cached | None:
        """Image ``index`` with its target; None if one of them is not cached or damaged."""
        record, size = self.images[index], self.store.size
        if not record["length"] or (self.targets is not None and not self.targets[index]["length"]):
            return None
        source = (int(record["height"]), int(record["width"]))
        pixels = self.store.read(record)
        packed = None if self.targets is None else self.store.read(self.targets[index])
        if pixels is None or (packed is None and self.targets is not None):
            return None
        image = pixels.reshape((size, size) if size else source)
        return Cached(image, None if packed is None or size is None else self.task.unpack(packed, size), *source)
