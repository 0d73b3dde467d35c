"""Published text files as plain values; every problem is a DataError that names file and line.

The amount of data is limited (``docs/safety.md``): a compressed file can expand to a thousand times its size.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from foundationx.core.errors import DataError
from foundationx.core.failed_downloads import LOOKED_AT, check_download
from foundationx.datasets.stores import store as stores

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_LINE = 64 * 2**20
"""Maximum bytes per line; the longest published ones (reports, run-length masks) have some hundred thousand."""

MAX_TEXT = 256 * 2**20
"""Maximum bytes of a file that is read as a whole (JSON, lists). Tables are streamed and may be larger."""

MAX_RATIO, ALWAYS_ALLOWED = 200, 64 * 2**20
"""Maximum ratio of unpacked to packed size of a ``.gz`` (published tables reach 40), and bytes always allowed."""

_BLOCK = 2**18
"""Bytes per read."""


class MissingFileError(DataError):
    """A file named by the card or a row does not exist."""


class _LimitedStream(io.RawIOBase):
    """A stream of bytes that raises if a limit is exceeded.

    Args:
        stream: The unpacked file.
        name: Name of the file in messages.
        limit: Maximum size in bytes; None: unlimited.
    """

    def __init__(self, stream: io.BufferedIOBase, name: str, limit: int | None):
        self._stream, self._name, self._limit = stream, name, limit
        self._total = self._line = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer and returns the number of bytes. Raises DataError if a limit is exceeded."""
        view = memoryview(buffer)
        block = self._stream.read(len(view))
        view[: len(block)] = block
        self._total += len(block)
        end = block.rfind(b"\n")
        end = block.rfind(b"\r") if end < 0 else end
        self._line = self._line + len(block) if end < 0 else len(block) - end - 1
        if self._line > MAX_LINE:
            found = f"contains a line of more than {MAX_LINE:,} bytes"
            raise DataError(self._name, found, "lines of a published file", "download it again")
        if self._limit is not None and self._total > self._limit:
            found = f"contains more than {self._limit:,} bytes"
            raise DataError(self._name, found, "the published file", "see the limits in docs/safety.md")
        return len(block)


class _Utf16Stream(io.RawIOBase):
    """UTF-16 text, as spreadsheets export it, as UTF-8 without a byte order mark.

    Args:
        stream: The text with its byte order mark.
        name: Name of the file in messages.
    """

    def __init__(self, stream: io.BufferedReader, name: str):
        self._stream, self._name = stream, name
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._pending = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer and returns the number of bytes. Raises DataError if the text is not UTF-16."""
        view = memoryview(buffer)
        while not self._pending:
            block = self._stream.read(_BLOCK)
            try:
                self._pending = self._decoder.decode(block, final=not block).encode()
            except UnicodeError:
                found = "begins like UTF-16 text, but is none"
                raise DataError(self._name, found, "UTF-8 or UTF-16 text", "download or convert it again") from None
            if not block:
                break
        part, self._pending = self._pending[: len(view)], self._pending[len(view) :]
        view[: len(part)] = part
        return len(part)


@contextmanager
def open_bytes(path: Path, name: str, whole: bool = False) -> Iterator[io.BufferedReader]:
    """A file to read in blocks or lines of bytes; ``.gz`` is unpacked.

    Args:
        path: File to read.
        name: Name of the file in messages.
        whole: Whether the file will be read as a whole, so that ``MAX_TEXT`` applies.

    Raises:
        DataError: The file is missing, damaged or exceeds a limit, or what is read is decoded and is not UTF-8.
    """
    if not stores.is_file(path):  # false for a name that is too long, where pathlib raises
        raise MissingFileError(
            name, f"there is no such file ({path})", "the published file", "check root and file of the card"
        )
    packed = path.suffix == ".gz"
    limit = max(ALWAYS_ALLOWED, MAX_RATIO * stores.size_of(path)) if packed else None
    limit = min(limit or MAX_TEXT, MAX_TEXT) if whole else limit
    try:
        with stores.open_binary(path) as file, gzip.GzipFile(fileobj=file) if packed else file as stream:
            limited: io.BufferedReader = io.BufferedReader(_LimitedStream(stream, name, limit), _BLOCK)
            begin = limited.peek(LOOKED_AT)
            check_download(name, begin, "the published file")
            is_utf16 = begin[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            yield io.BufferedReader(_Utf16Stream(limited, name), _BLOCK) if is_utf16 else limited
    except UnicodeDecodeError:
        position = "a byte" if packed else f"byte {_first_bad_byte(path)}"
        found = f"{position} is not UTF-8"
        raise DataError(name, found, "UTF-8 text", "download or convert it again") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            name, f"is not a complete gzip file ({error})", "the published file", "download it again"
        ) from None
    except PermissionError:
        raise DataError(
            name, f"cannot be read: permission denied ({path})", "a readable file", "change its permissions"
        ) from None


@contextmanager
def open_text(path: Path, name: str, whole: bool = False) -> Iterator[TextIO]:
    """A text file to read line by line, without a byte order mark. Arguments and errors as :func:`open_bytes`."""
    with open_bytes(path, name, whole) as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _first_bad_byte(path: Path) -> int:
    """Position at which a file stops being UTF-8; the failed stream knows only the position inside its buffer."""
    decoder, position, pending = codecs.getincrementaldecoder("utf-8")(), 0, 0
    with stores.open_binary(path) as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return position - pending + error.start
            position, pending = position + len(block), len(decoder.getstate()[0])
    return position - pending


def read_text(path: Path, name: str) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DataError: The file is missing, empty, larger than ``MAX_TEXT`` or not UTF-8.
    """
    with open_text(path, name, whole=True) as stream:
        text = stream.read()
    if not text.strip():
        raise empty(name)
    return text


def read_json(path: Path, name: str) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: The file is missing, empty, too large, not JSON, nested too deeply, or contains a number with
            thousands of digits.
    """
    try:
        return json.loads(read_text(path, name))
    except json.JSONDecodeError as error:
        where = f"{name} line {error.lineno}"
        raise DataError(where, error.msg, "valid JSON", "the file may be cut off: download it again") from None
    except RecursionError:
        raise DataError(name, "is nested too deeply", "the published format", "download it again") from None
    except ValueError as error:  # int() rejects numbers with that many digits
        raise DataError(name, f"contains an unreadable number ({error})", "valid JSON", "fix the file") from None


def empty(name: str) -> DataError:
    """The error for a file without content."""
    return DataError(name, "the file is empty", "the published file", "download it again")
