"""Atomic, verified writing of large files: a file is complete or absent, and damage is found.

A file is written under another name (``.partial``), flushed to the disk, read back and compared with what was meant to
be written; only then is it renamed. Its SHA-256 is stored beside it in the form of ``sha256sum``, so that a later
reader finds a flipped bit too, which torch does not look for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from foundationx.core.errors import CheckpointError

BLOCK = 1 << 20
"""Bytes read at a time."""

PARTIAL = ".partial"
CHECKSUM = ".sha256"


class HashingStream:
    """A file to write to, with the hash of all that was written and the first error of the disk.

    torch's writer hides an error of the disk behind one of its own; ``fault`` is the disk's.

    Args:
        descriptor: Descriptor of a file open for writing.
    """

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self.hash = hashlib.sha256()
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        """Writes all of ``data``. Raises OSError if the disk does not take it."""
        rest = memoryview(data).cast("B")
        self.hash.update(rest)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError as error:
            self.fault = self.fault or error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered here."""


def write_verified(path: Path, write: Callable[[HashingStream], object]) -> None:
    """Lets ``write`` fill a stream and replaces ``path`` by the result, with its checksum beside it.

    What was at ``path`` stays until the new file is on the disk and has been verified. Nothing is left behind if that
    fails.

    Raises:
        CheckpointError: The disk is full or broken.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, write)
    except OSError as error:
        found = f"cannot be written: {error.strerror or error} ({free_space(path.parent)})"
        fix = "free disk space and continue with --resume; what was saved before is untouched"
        raise CheckpointError(str(path), found, fix=fix) from error


def _replace(path: Path, write: Callable[[HashingStream], object]) -> None:
    """Writes both files under other names, then renames them. Raises OSError."""
    beside = checksum_file(path)
    partial, note = (file.with_name(file.name + PARTIAL) for file in (path, beside))
    try:
        checksum = _write_and_read_back(partial, write)
        line = f"{checksum}  {path.name}\n".encode()
        _write_and_read_back(note, lambda stream: stream.write(line))
        os.replace(note, beside)
        os.replace(partial, path)
        flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def _write_and_read_back(path: Path, write: Callable[[HashingStream], object]) -> str:
    """Writes, flushes to the disk, reads back; gives the SHA-256. Raises OSError."""
    path.unlink(missing_ok=True)  # a link in its place is not followed
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    stream = HashingStream(descriptor)
    try:
        write(stream)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # so that reading back asks the disk
    except RuntimeError as error:
        if stream.fault is None:
            raise
        raise stream.fault from error
    finally:
        os.close(descriptor)
    if sha256(path) != stream.hash.hexdigest():
        raise OSError("what was read back differs from what was written")
    return stream.hash.hexdigest()


def fault_of(path: Path) -> str | None:
    """What is wrong with a file by its checksum; None if it is intact, or if no checksum is stored beside it."""
    beside = checksum_file(path)
    if not beside.is_file():
        return None
    expected = beside.read_bytes().split(b" ", 1)[0].decode("ascii", "replace")
    return None if sha256(path) == expected else f"does not have the checksum that {beside.name} names"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def checksum_file(path: Path) -> Path:
    """Path of the file that holds the checksum of ``path``."""
    return path.with_suffix(CHECKSUM)


def remove(path: Path) -> None:
    """Removes a file and its checksum, if they are there."""
    path.unlink(missing_ok=True)
    checksum_file(path).unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk: without this a rename may be lost when the power goes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_space(folder: Path) -> str:
    """Free space of the disk that holds ``folder``, for people."""
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free in {folder}"
