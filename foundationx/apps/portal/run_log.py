"""The training log of a run, read as it grows: only what is new, and no more points than a chart can show."""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from foundationx.core.run_files import LOG_ROW, fits
from foundationx.core.strict_json import read_json

MOST_POINTS = 400
"""Points of one head's curve: with more, every second one is left out."""

MOST_HEADS = 500
"""Heads whose curves are kept."""

READ = 16 * 2**20
"""Bytes that are read at once; the rest of a long log comes with the next question."""

LONGEST_LINE = 2**20
"""Bytes of a line; a damaged file may hold no end of line at all."""

RECENT = 20
"""Rows of which speed and time left are told."""


@dataclass
class Curve:
    """The task loss of one head: ``(step, loss, phase)``, thinned."""

    points: list[tuple[int, float, str]] = field(default_factory=list)
    stride: int = 1
    skipped: int = 0

    def add(self, point: tuple[int, float, str]) -> None:
        """Adds a point, unless it falls between those that are kept; the first one of a phase is always there."""
        self.skipped += 1
        if self.points and self.skipped < self.stride and self.points[-1][2] == point[2]:
            return
        self.skipped = 0
        self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self.stride *= 2


class RunLog:
    """``log.jsonl`` of a run.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._begin(None)

    def _begin(self, inode: int | None) -> None:
        """Forgets everything: the file is another one."""
        self.inode, self.offset = inode, 0
        self.curves: dict[str, Curve] = {}
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self.lines = self.bad = 0
        self.fault: str | None = None
        self.is_whole = True

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest row."""
        return self.recent[-1] if self.recent else None

    def update(self) -> None:
        """Reads what was added since. A file that was replaced or has become shorter is read from its beginning."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    self.fault = "is no regular file; it is not read"
                    return
                if status.st_ino != self.inode or status.st_size < self.offset:
                    self._begin(status.st_ino)
                self._read(stream)
        except FileNotFoundError:
            self._begin(None)
        except OSError as error:
            self.fault = f"cannot be read ({error.strerror})"

    def _read(self, stream: BinaryIO) -> None:
        stream.seek(self.offset)
        data = stream.read(READ)
        self.is_whole = len(data) < READ
        complete, newline, rest = data.rpartition(b"\n")
        if not newline:
            if len(rest) > LONGEST_LINE:  # nothing but a very long line: it is passed over
                self.offset += len(rest)
                self.lines, self.bad = self.lines + 1, self.bad + 1
        else:
            self.offset += len(complete) + 1
            for line in complete.split(b"\n"):
                self._add(line)
        self.fault = f"{self.bad} of {self.lines} lines make no sense" if self.bad else None

    def _add(self, line: bytes) -> None:
        self.lines += 1
        try:
            row = read_json(line) if len(line) <= LONGEST_LINE else None
        except ValueError:
            row = None
        if row is None or not fits(LOG_ROW, row):
            self.bad += 1
            return
        self.recent.append(row)
        head = f"{row['dataset']}/{row['task']}"
        loss = row["losses"].get("task")
        if loss is not None and (head in self.curves or len(self.curves) < MOST_HEADS):
            self.curves.setdefault(head, Curve()).add((row["step"], loss, _text(row.get("phase"))))

    def speed(self) -> float:
        """Images per second over the newest rows; 0 if none is known."""
        speeds = [row["images_per_second"] for row in self.recent if row.get("images_per_second", 0) > 0]
        return len(speeds) / sum(1 / speed for speed in speeds) if speeds else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
