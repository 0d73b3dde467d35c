"""The work directory: the files of a run. Everything that shows a run reads them.

config.py, config.json    the whole configuration, as Python and as JSON: either resumes the run
plan.json                 the phases of every visit, with their first step and number of steps
datasets.json             images, patients and positives of each class, by dataset, task and split
splits.json               the split of every patient
splits_before.json        splits of patients that only runs have which this one goes on from
log.jsonl                 one row per ``log_every`` steps: losses, learning rate, speed
incidents.jsonl           skipped steps, loss jumps, files that could not be written or read
metrics.json              rows {dataset, task, metric, class, value, n, model, visit, split}
best.json                 best validation of each head, and the step of the checkpoint that is stored for it
curves.json               ROC curves of the last evaluation
predictions/              predictions of every image in the last evaluation, one .npz per head, model and split
trivial.json              what the training annotations say of an image that nobody looks at, by head and class
thresholds.json           thresholds of image labels, by head, model and class: chosen on validation
subgroups.json            the headline metric by sex, age, view and so on, where a card names them
examples/                 images with truth and prediction, one .npz per head
bad_samples.json          images that were skipped, and why
filled.json, filled/      what the teacher filled in place of annotations, by dataset, head and class; examples
origin.json               how well an image's dataset can be told from the backbone (`eval --protocol origin`)
ledger.json               what joint training did to each head (`foundationx ledger`)
checkpoints/              checkpoints, from which training resumes
report.html               the report
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from foundationx.core.archives import read_npz
from foundationx.core.atomic_write import disk_error, write_arrays, write_atomically, write_json, write_json_lines
from foundationx.core.errors import DiskError
from foundationx.core.run_files import LINES, NAMES, fault_of, read_checked, read_checked_lines, unread
from foundationx.core.strict_json import to_json
from foundationx.core.types import Example, MetricRow, TaskKey

_FLOCK = struct.Struct("hhqqi4x")
"""``struct flock`` of Linux with 64 bits: type, whence, start, length, process."""


def write_metrics(path: Path, rows: Iterable[MetricRow]) -> None:
    """Writes metric rows as a JSON list, one line per row; ``class_name`` is called ``class`` there."""
    as_json = [{("class" if k == "class_name" else k): v for k, v in asdict(row).items()} for row in rows]
    write_atomically(path, "[\n" + ",\n".join(to_json(row) for row in as_json) + "\n]\n")


class WorkDir:
    """Paths of one run, and their formats.

    Args:
        root: Folder; it need not exist.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)

    @contextlib.contextmanager
    def claimed(self, patience: float = 0.0) -> Iterator[None]:
        """Prevents other processes from training here meanwhile; the lock ends with the process, however it ends.

        Args:
            patience: Seconds to wait for another process that trains here, such as one that is being stopped.

        Raises:
            DiskError: Another process trains here, or nothing can be written here.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = open(self.root / ".lock", "ab")  # noqa: SIM115  (closed below)
        except OSError as error:
            raise disk_error(self.root, error) from error
        with stream:
            self._lock(stream, time.monotonic() + patience)
            yield

    def _lock(self, stream: BinaryIO, until: float) -> None:
        """Locks a file. Raises DiskError if another process holds the lock at a time of the monotonic clock."""
        while True:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by workers
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() >= until:
                    found, fix = "another process trains here", "wait for it, or choose another --work-dir"
                    raise DiskError(str(self.root), found, fix=fix) from error
                time.sleep(0.2)
            except OSError:  # a file system without locks
                return
            else:
                return

    def holder(self) -> int | None:
        """The process that trains here, on this machine; None if there is none, or none can be known.

        Asks the system who holds the lock of :meth:`claimed`, and takes no lock itself. Elsewhere than on Linux, whose
        form of the answer is known, nothing is asked.
        """
        if sys.platform != "linux":
            return None
        try:
            with open(os.open(self.root / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
                question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(stream, fcntl.F_GETLK, question))
        except OSError:
            return None
        return process if kind != fcntl.F_UNLCK and process > 0 else None

    @property
    def is_begun(self) -> bool:
        """Whether a run has begun here."""
        return self.log.exists() or (self.root / "config.json").exists()

    @property
    def log(self) -> Path:
        """Training log, one JSON object per line."""
        return self.root / "log.jsonl"

    @property
    def incidents(self) -> Path:
        """Incidents: what went wrong without ending the run, one JSON object per line."""
        return self.root / "incidents.jsonl"

    @property
    def metrics(self) -> Path:
        """All metric rows of the run."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def spill(self) -> Path:
        """Folder of predictions while an evaluation runs."""
        return self.root / "predictions.partial"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.root / "checkpoints"

    def write_json(self, name: str, value: Any) -> None:
        """Writes ``value`` as JSON under ``name``, atomically."""
        write_json(self.root / name, value)

    def read_json(self, name: str, default: Any = None) -> Any:
        """What of ``name`` makes sense, or ``default`` if nothing does or there is no such file."""
        return read_checked(self.root / name, default)[0]

    def read_log(self) -> list[dict[str, Any]]:
        """All rows of the training log that make sense."""
        return read_checked_lines(self.log)[0]

    def read_incidents(self) -> list[dict[str, Any]]:
        """All rows of ``incidents.jsonl`` that make sense."""
        return read_checked_lines(self.incidents)[0]

    def faults(self) -> dict[str, str]:
        """What is wrong with the JSON files, by name; readers pass over it."""
        found = {}
        for name in NAMES:
            fault = fault_of(self.root / name)
            if fault is not None:
                found[name] = fault
        return found

    def unread_arrays(self) -> dict[str, str]:
        """Folders and files of examples and predictions that the report does not open, by name, and why."""
        found: dict[str, str] = {}
        for pattern in ("examples", "filled", "filled/examples", "predictions", "predictions/*"):
            for folder in sorted(self.root.glob(pattern)):
                if folder.parent.relative_to(self.root).as_posix() in found:  # what lies behind a link is not listed
                    continue
                leads_out = not folder.resolve().is_relative_to(self.root.resolve())
                for path in [folder] if leads_out else sorted(folder.glob("*.npz")):
                    if fault := unread(path, self.root):
                        found[path.relative_to(self.root).as_posix()] = fault
        return found

    def set_faults_aside(self) -> dict[str, str]:
        """Moves each file of :meth:`faults` to ``NAME.damaged`` and leaves what makes sense of it in its place."""
        faults = self.faults()
        for name in faults:
            path = self.root / name
            rows = read_checked_lines(path)[0] if name in LINES else []
            value = None if name in LINES else read_checked(path)[0]
            os.replace(path, path.with_name(f"{name}.damaged"))
            if rows:
                write_json_lines(path, rows)
            elif value is not None:
                self.write_json(name, value)
        return faults

    def add_metrics(self, rows: Iterable[MetricRow]) -> None:
        """Adds rows to ``metrics.json``; a row of the same head, metric, class, model, visit and split is replaced."""
        table = {_identity(row): row for row in self.read_metrics()}
        table.update({_identity(row): row for row in rows})
        write_metrics(self.metrics, table.values())

    def keep_metrics(self, visit: int) -> None:
        """Removes rows of visits after ``visit``: a run that resumes there evaluates them again."""
        rows = self.read_metrics()
        if any(row.visit > visit for row in rows):
            write_metrics(self.metrics, [row for row in rows if row.visit <= visit])

    def read_metrics(self) -> list[MetricRow]:
        """All metric rows of the run."""
        rows = self.read_json("metrics.json", [])
        return [MetricRow(class_name=row.pop("class"), **row) for row in rows]

    def write_examples(self, key: TaskKey, classes: tuple[str, ...], model: str, examples: list[Example]) -> None:
        """Stores a head's examples in one ``.npz`` (arrays only, nothing pickled)."""
        arrays: dict[str, np.ndarray] = {"classes": np.array(classes), "model": np.array(model)}
        for index, example in enumerate(examples):
            for item in fields(example):
                value = getattr(example, item.name)
                if value is not None:
                    arrays[f"{index}.{item.name}"] = np.asarray(value)
        path = self.root / "examples" / f"{key.dataset}.{key.task.value}.npz"
        write_arrays(path, arrays)

    def read_examples(self, below: str = "") -> dict[TaskKey, tuple[tuple[str, ...], str, list[Example]]]:
        """Examples of every head: class names, which model (student or teacher), examples.

        Args:
            below: Folder of the work directory that ``examples`` lies in.
        """
        examples = {}
        for path in sorted((self.root / below / "examples").glob("*.npz")):
            dataset, _, task = path.stem.rpartition(".")
            try:
                if unread(path, self.root):
                    continue
                key = TaskKey.parse(f"{dataset}/{task}")
                examples[key] = _unpack(path, key.task.facts.example_class())
            except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
                continue  # a damaged file: the report shows the other heads
        return examples


def _identity(row: MetricRow) -> tuple[str | int, ...]:
    return (row.dataset, row.task, row.metric, row.class_name, row.model, row.visit, row.split)


def _unpack(path: Path, kind: type[Example]) -> tuple[tuple[str, ...], str, list[Example]]:
    stored = read_npz(path)
    count = 1 + max((int(name.split(".")[0]) for name in stored if name[:1].isdigit()), default=-1)
    examples = []
    for index in range(count):
        values: dict[str, Any] = {n.split(".", 1)[1]: stored[n] for n in stored if n.startswith(f"{index}.")}
        values["name"] = str(values["name"])
        examples.append(kind(**values))
    classes, model = stored["classes"], stored["model"]
    if classes.ndim != 1 or model.ndim != 0:
        raise ValueError("the names of classes or of the model are missing")
    for example in examples:
        example.check(len(classes))
    return tuple(str(name) for name in classes), str(model), examples
