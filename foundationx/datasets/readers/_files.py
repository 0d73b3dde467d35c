"""Published text files as plain values; whatever is wrong with them is a DataError naming file and place.

How much is read is bounded (``docs/safety.md``): a packed file can hold a thousand times its size.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from foundationx.core.errors import DataError

MAX_LINE = 64 * 2**20
"""Bytes of one line; the longest published ones (reports, run-length masks) have some hundred thousand."""

MAX_TEXT = 256 * 2**20
"""Bytes of a file that is held as a whole (JSON, lists). Tables are read in a stream and may be larger."""

MAX_RATIO, FREE = 200, 64 * 2**20
"""A ``.gz`` may unpack to so many times its size, and to so many bytes in any case. Published tables reach 40 times."""

_BLOCK = 2**18
"""Bytes that are read at once."""


class MissingFileError(DataError):
    """A file that the card or a row names does not exist."""


class _Bounded(io.RawIOBase):
    """The bytes of a file, as long as they keep to the limits.

    Args:
        stream: the file, unpacked.
        name: the file as it is called in messages.
        most: bytes that it may have, None where any number will do.
    """

    def __init__(self, stream: IO[bytes], name: str, most: int | None):
        self._stream, self._name, self._most = stream, name, most
        self._total = self._line = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Raises DataError where a limit is passed."""
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self._total += len(block)
        end = block.rfind(b"\n")
        end = block.rfind(b"\r") if end < 0 else end
        self._line = self._line + len(block) if end < 0 else len(block) - end - 1
        if self._line > MAX_LINE:
            found = f"holds a line of more than {MAX_LINE:,} bytes"
            raise DataError(self._name, found, "lines of a published file", "download it again")
        if self._most is not None and self._total > self._most:
            found = f"holds more than {self._most:,} bytes"
            raise DataError(self._name, found, "the published file", "see the limits in docs/safety.md")
        return len(block)


@contextmanager
def open_text(path: Path, name: str, whole: bool = False) -> Iterator[TextIO]:
    """A text file to read line by line, without a byte order mark; ``.gz`` is unpacked on the way.

    Args:
        path: file to read.
        name: the file as it is called in messages.
        whole: it will be held as a whole, so that ``MAX_TEXT`` binds it.

    Raises:
        DataError: it is missing, or while it is read: it is not UTF-8, its packing is damaged, or it is beyond a limit.
    """
    if not os.path.isfile(path):  # false for a name that is too long, where pathlib raises
        raise MissingFileError(
            name, f"there is no such file ({path})", "the published file", "check root and file of the card"
        )
    packed = path.suffix == ".gz"
    most = max(FREE, MAX_RATIO * path.stat().st_size) if packed else None
    most = min(most or MAX_TEXT, MAX_TEXT) if whole else most
    try:
        with (gzip.open if packed else open)(path, "rb") as stream:
            buffered = io.BufferedReader(_Bounded(stream, name, most), _BLOCK)
            yield io.TextIOWrapper(buffered, encoding="utf-8-sig", newline="")
    except UnicodeDecodeError:
        place = "a byte" if packed else f"byte {_first_bad_byte(path)}"
        raise DataError(name, f"{place} is not UTF-8", "UTF-8 text", "download or convert it again") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(name, f"is no whole gzip file ({error})", "the published file", "download it again") from None
    except PermissionError:
        raise DataError(name, f"may not be read ({path})", "a readable file", "change its permissions") from None


def _first_bad_byte(path: Path) -> int:
    """Where a file stops being UTF-8; the stream that failed knows only the place inside its buffer."""
    decoder, place, kept = codecs.getincrementaldecoder("utf-8")(), 0, 0
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return place - kept + error.start
            place, kept = place + len(block), len(decoder.getstate()[0])
    return place - kept


def read_text(path: Path, name: str) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DataError: it is missing, empty, larger than ``MAX_TEXT`` or not UTF-8.
    """
    with open_text(path, name, whole=True) as stream:
        text = stream.read()
    if not text.strip():
        raise empty(name)
    return text


def read_json(path: Path, name: str) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: it is missing, empty, too large, not JSON, nested absurdly deep, or holds a number of thousands of
            digits.
    """
    try:
        return json.loads(read_text(path, name))
    except json.JSONDecodeError as error:
        where = f"{name} line {error.lineno}"
        raise DataError(where, error.msg, "valid JSON", "the file may be cut off: download it again") from None
    except RecursionError:
        raise DataError(name, "is nested too deeply", "the published format", "download it again") from None
    except ValueError as error:  # of int, which refuses so many digits
        raise DataError(name, f"holds no number that can be read ({error})", "valid JSON", "fix the file") from None


def empty(name: str) -> DataError:
    """The error for a file without content."""
    return DataError(name, "the file is empty", "the published file", "download it again")
