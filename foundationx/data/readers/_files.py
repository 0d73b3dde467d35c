"""Published text files as plain values; whatever is wrong with them is a DataError naming file and place."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from foundationx.errors import DataError


class MissingFileError(DataError):
    """A file that the card or a row names does not exist."""


@contextmanager
def open_text(path: Path, name: str) -> Iterator[TextIO]:
    """A text file to read line by line, without a byte order mark; ``.gz`` is unpacked on the way.

    Args:
        path: file to read.
        name: the file as it is called in messages.

    Raises:
        DataError: it is missing, or while it is read: it is not UTF-8 or its packing is damaged.
    """
    if not path.is_file():
        raise MissingFileError(
            name, f"there is no such file ({path})", "the published file", "check root and file of the card"
        )
    packed = path.suffix == ".gz"
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="") as stream:
            yield stream
    except UnicodeDecodeError:
        place = "a byte" if packed else f"byte {_first_bad_byte(path)}"
        raise DataError(name, f"{place} is not UTF-8", "UTF-8 text", "download or convert it again") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(name, f"is no whole gzip file ({error})", "the published file", "download it again") from None


def _first_bad_byte(path: Path) -> int:
    """Where a file stops being UTF-8; the stream that failed knows only the place inside its buffer."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def read_text(path: Path, name: str) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DataError: it is missing, empty or not UTF-8.
    """
    with open_text(path, name) as stream:
        text = stream.read()
    if not text.strip():
        raise empty(name)
    return text


def read_json(path: Path, name: str) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: it is missing, empty, not JSON or nested absurdly deep.
    """
    try:
        return json.loads(read_text(path, name))
    except json.JSONDecodeError as error:
        where = f"{name} line {error.lineno}"
        raise DataError(where, error.msg, "valid JSON", "the file may be cut off: download it again") from None
    except RecursionError:
        raise DataError(name, "is nested too deeply", "the published format", "download it again") from None


def empty(name: str) -> DataError:
    """The error for a file without content."""
    return DataError(name, "the file is empty", "the published file", "download it again")
