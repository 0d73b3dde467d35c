"""The training log on disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

from foundationx.core.atomic_write import write_json_lines
from foundationx.core.errors import DiskError
from foundationx.core.strict_json import to_json
from foundationx.core.workdir import WorkDir
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.schedule.plan import Plan

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, or of a quota or limit that is reached."""


class RowFile:
    """A file with one JSON object per line. A row for which the disk has no space is written with the next one.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._waiting: list[str] = []

    def keep(self, rows: Iterable[dict[str, Any]]) -> None:
        """Keeps only these rows."""
        write_json_lines(self.path, rows)

    def add(self, row: dict[str, Any]) -> bool:
        """Adds a row. Returns False if the disk has no space for it: it is then written with a later row."""
        self._waiting.append(to_json(row) + "\n")
        return self.write_waiting()

    def write_waiting(self) -> bool:
        """Writes all rows that wait, or none of them. Returns False if the disk has no space."""
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab", buffering=0) as stream:
                _write_all(stream, "".join(self._waiting).encode())
        except OSError as error:
            if error.errno not in FULL:
                raise
            if self.path.exists():
                os.truncate(self.path, size)
            return False
        self._waiting = []
        return True


def _write_all(stream: FileIO, data: bytes) -> None:
    """Writes to an unbuffered file, which may take less than all at once. Raises OSError."""
    while data:
        data = data[stream.write(data) :]


class JsonLog(Hook):
    """Writes ``log.jsonl`` and ``incidents.jsonl``, a row a record.

    Rows from after the step that a run goes on from are removed first: they will come again. What is said of files does
    not come again and stays.
    """

    def __init__(self, work_dir: WorkDir):
        self.work_dir = work_dir
        self.log, self.incidents = RowFile(work_dir.log), RowFile(work_dir.incidents)

    def on_start(self, plan: Plan, step: int) -> None:
        """Keeps the rows up to ``step``."""
        self.log.keep(row for row in self.work_dir.read_log() if row["step"] <= step)
        rows = self.work_dir.read_incidents()
        self.incidents.keep(row for row in rows if row["step"] <= step or row["kind"] == "io")

    def on_log(self, record: LogRecord) -> None:
        """Adds a row."""
        self.log.add(record.as_json())

    def on_incident(self, incident: Incident) -> None:
        """Adds a row."""
        self.incidents.add(incident.as_json())

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Writes what the disk did not take before.

        Raises:
            DiskError: it does not take it now.
        """
        for rows in (self.log, self.incidents):
            if not rows.write_waiting():
                found, fix = (
                    "the disk is too full for the last rows",
                    "free disk space and start the same command again",
                )
                raise DiskError(str(rows.path), found, fix=fix)
