"""Everything that the package writes to disk is written here: a file is complete or absent, never half of one.

A file is written under another name (``.partial``) in its own folder, flushed to the disk and renamed. Its mode is that
of the umask. Tables are made harmless for spreadsheets, JSON is strict, and the same content gives the same bytes.

Checkpoints are moreover read back and compared with what was meant to be written before they are renamed. Their SHA-256
is stored beside them in the form of ``sha256sum``, so that a later reader finds a flipped bit too, which torch does not
look for.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.errors import CheckpointError, DiskError
from foundationx.core.strict_json import to_json

BLOCK = 1 << 20
"""Bytes read at a time."""

PARTIAL = ".partial"
CHECKSUM = ".sha256"

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula and runs it."""

FIX = "free disk space, make it writable or choose another path; the same command goes on with a run"


def disk_error(path: Path, error: OSError, fix: str = FIX) -> DiskError:
    """The error of a file or folder that cannot be written."""
    return DiskError(str(path), f"cannot be written: {error.strerror or error}", "a path that can be written", fix)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives another path to write to; what was written replaces ``path`` at the end, or is removed after an exception.

    Args:
        path: File; its folder is made.
        durable: Flush the file to the disk before it is renamed: it then survives a power loss too.

    Raises:
        DiskError: The file cannot be written; an older one stays.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # of a process that was killed; a link in its place is not followed
        yield partial
        if durable:
            with open(partial, "rb+") as stream:
                os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Writes a file so that a reader sees the old one or the new one, never half of it.

    Args:
        path: File; its folder is made.
        content: Bytes, or text to encode as UTF-8; names that are no UTF-8 appear in it as ``\\udcff``.
        durable: As in :func:`replacing`.

    Raises:
        DiskError: The file cannot be written; an older one stays.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path, durable=durable) as partial, open(partial, "xb") as stream:
        stream.write(data)


def write_json(path: Path, value: Any, *, indent: int | None = 1, ascii_only: bool = True) -> None:
    """Writes strict JSON and a line break. Raises DiskError."""
    write_atomically(path, to_json(value, indent, ascii_only=ascii_only) + "\n")


def write_json_lines(path: Path, rows: Iterable[Any], *, ascii_only: bool = True) -> None:
    """Writes one JSON value per line. Raises DiskError."""
    write_atomically(path, "".join(to_json(row, ascii_only=ascii_only) + "\n" for row in rows))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a ``.npz``, array by array; nothing is pickled. Raises DiskError; ValueError: an array holds objects."""
    with replacing(path) as partial, zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
    """Writes a table that a spreadsheet can open without harm, see :func:`csv_text`. Raises DiskError."""
    write_atomically(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> str:
    """A table as CSV; None is an empty cell, and text that begins like a formula is made harmless.

    Args:
        header: Names of the columns; without any, the text is empty.
        rows: Cells in the order of the columns, or by their names.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([harmless(name) for name in header])
    for row in rows:
        cells = [row[name] for name in header] if isinstance(row, Mapping) else row
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return stream.getvalue() if header else ""


def harmless(text: str) -> str:
    """Text for a cell of a CSV file: an apostrophe before what a spreadsheet would take for a formula and run."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def as_written(cell: str) -> str:
    """The text of which :func:`harmless` made a cell."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def require_folder(folder: Path) -> None:
    """Tries whether files can be written below a folder, before anything is computed for them; nothing is made.

    Args:
        folder: Folder; it need not exist.

    Raises:
        DiskError: Nothing can be written there.
    """
    try:
        there = folder.absolute()
        folder.exists()  # a name that is too long is refused here
        while not os.path.lexists(there):
            there = there.parent
        probe = there / f".probe.{os.getpid()}{PARTIAL}"  # ranks try the same folder at the same time
        probe.unlink(missing_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise disk_error(folder, error) from error


def require_file(path: Path) -> None:
    """As :func:`require_folder`, for a file that will be written.

    Raises:
        DiskError: It cannot be written, or there is a folder in its place.
    """
    try:
        is_folder = path.is_dir()
        if not is_folder:
            path.with_name(path.name + PARTIAL).exists()  # a name that is too long is refused here
    except OSError as error:
        raise disk_error(path, error) from error
    if is_folder:
        raise DiskError(str(path), "is a folder", "the path of a file", "choose another path")
    require_folder(path.parent)


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
        fix = "free disk space and start the same command again; what was saved before is untouched"
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
