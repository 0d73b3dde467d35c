"""What the JSON files of a work directory hold, and their reading: what does not fit is passed over, and named.

The files may be cut, emptied or changed by anything: a reader gets the entries that make sense, never an exception.
"""

from __future__ import annotations

import datetime
import functools
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from foundationx.core.geometry.run_lengths import unpacked_counts
from foundationx.core.strict_json import read_json
from foundationx.core.types import Split, Task, TaskKey

MOST_NAMES = 4096
"""Names whose check is remembered: a table of metrics names the same few heads in every row."""

MOST_FAULTS = 256
"""Files of which it is remembered whether anything is wrong with them."""

_State = tuple[int, int, int, int] | None


def _iso(text: str | None) -> str | None:
    if text is not None:
        datetime.datetime.fromisoformat(text)
    return text


@functools.lru_cache(MOST_NAMES)
def _task(name: str) -> str:
    return Task(name).value


@functools.lru_cache(MOST_NAMES)
def _split(name: str) -> str:
    return Split(name).value


@functools.lru_cache(MOST_NAMES)
def _dataset(name: str) -> str:
    if name in (".", "..") or "/" in name or "\0" in name or not 0 < len(os.fsencode(name)) <= LONGEST_NAME:
        raise ValueError(f"{name[:50]!r} is no name of a dataset: files are named after it")
    return name


@functools.lru_cache(MOST_NAMES)
def _head(name: str) -> str:
    _dataset(TaskKey.parse(name).dataset)
    return name


LONGEST_NAME = 200
"""Bytes of a dataset's name; names of files bear it, and a task's and a split's beside it."""

MOST_MASK_SIDE = 8192
"""Pixels along a side of a mask that a run keeps."""

MOST = 10**15
"""Largest number of anything that a run counts."""

Count = Annotated[int, Field(ge=0, le=MOST)]
DatasetName = Annotated[str, AfterValidator(_dataset)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
TaskName = Annotated[str, AfterValidator(_task)]
SplitName = Annotated[str, AfterValidator(_split)]
HeadName = Annotated[str, AfterValidator(_head)]
Time = Annotated[str | None, AfterValidator(_iso)]


class _Entry(BaseModel):
    """An entry of a file: the keys that readers rely on, of exactly these types; others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True)


class _LogRow(_Entry):
    step: Count
    visit: Count
    dataset: DatasetName
    task: TaskName
    losses: dict[str, Finite]
    images_per_second: Finite = 0.0


class _IncidentRow(_Entry):
    step: Count
    kind: str
    message: str
    dataset: str  # empty if it concerns no head
    task: str
    images: list[str]


class _Metric(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: DatasetName
    task: TaskName
    metric: str
    class_name: str = Field(alias="class")
    value: Finite | None
    n: Count
    model: str
    visit: Count
    split: SplitName


class _Phase(_Entry):
    name: str
    first_step: Count
    steps: Count


class _Visit(_Entry):
    index: Count
    cycle: Count
    dataset: DatasetName
    task: TaskName
    phases: list[_Phase]


class _Plan(_Entry):
    visits: list[_Visit]
    total_steps: Count


class _ClassCount(_Entry):
    name: str
    positive: Count
    negative: Count


class _DatasetRow(_Entry):
    dataset: DatasetName
    task: TaskName
    split: SplitName
    images: Count
    patients: Count
    excluded: Count = 0
    classes: list[_ClassCount]


class _RunCard(_Entry):
    title: str
    licence: str
    redistribution: str
    commercial: str
    access: str
    home: str | None
    file: str


class _Run(_Entry):
    name: str
    started: Time
    finished: Time
    version: str
    device: str
    parameters: dict[str, Count]
    commit: str = ""
    seed: int | None = None
    machine: str = ""
    packages: dict[str, str] = {}
    cards: dict[str, _RunCard] = {}


class _Roc(_Entry):
    auroc: Finite
    fpr: list[Finite]
    tpr: list[Finite]

    @model_validator(mode="after")
    def _as_many(self) -> _Roc:
        if len(self.fpr) != len(self.tpr):
            raise ValueError("fpr and tpr differ in length")
        return self


class _Curves(_Entry):
    model: str
    split: str
    classes: dict[str, _Roc]


class _Group(_Entry):
    dataset: DatasetName
    task: TaskName
    model: str
    split: SplitName
    visit: Count
    attribute: str
    group: str
    images: Count
    patients: Count
    value: Finite | None
    low: Finite | None
    high: Finite | None


class _BadSample(_Entry):
    dataset: DatasetName
    task: str
    file: str
    row: str
    reason: str


class _Best(_Entry):
    step: Count


class _Prior(_Entry):
    prior: Share


class _Looked(_Entry):
    """How many training images were to be looked at and how many could not be read, if there were any."""

    images: Count = 0
    unreadable: Count = 0


class _MeanBox(_Looked):
    box: Annotated[list[Finite], Field(min_length=4, max_length=4)]
    score: Share


class _MeanMask(_Looked):
    size: Annotated[list[Annotated[int, Field(ge=1, le=MOST_MASK_SIDE)]], Field(min_length=2, max_length=2)]
    counts: str

    @model_validator(mode="after")
    def _fills_its_size(self) -> _MeanMask:
        counts = unpacked_counts(self.counts.encode("ascii", "replace"))
        if (counts < 0).any() or counts.sum() != self.size[0] * self.size[1]:
            raise ValueError("the runs do not fill the size")
        return self


class _OfAnotherTask(_Entry):
    """What a task of an extension has learned; what ours have must be as above."""

    @model_validator(mode="before")
    @classmethod
    def _is_none_of_ours(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value or value.keys() & {"prior", "box", "counts"}:
            raise ValueError("is nothing that a task has learned")
        return value


class _Anatomy(_Entry):
    title: str
    notes: list[str]
    rows: list[dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_table(self) -> _Anatomy:
        if any(row.keys() != self.rows[0].keys() for row in self.rows):
            raise ValueError("rows have different columns")
        return self


class _Ledger(_Anatomy):
    note: str
    verdicts: dict[HeadName, str]
    summary: list[dict[str, str]]


class _FilledRow(_Entry):
    dataset: DatasetName
    head: HeadName
    class_name: str = Field(alias="class")
    present: Count
    absent: Count
    unknown: Count


class _FilledLimit(_Entry):
    head: HeadName
    class_name: str = Field(alias="class")
    present: Finite | None
    absent: Finite


class _Filled(_Entry):
    cycle: Count
    precision: Finite
    limits: list[_FilledLimit]
    rows: list[_FilledRow]


LOG_ROW: TypeAdapter[Any] = TypeAdapter(_LogRow)
INCIDENT_ROW: TypeAdapter[Any] = TypeAdapter(_IncidentRow)

ROWS: dict[str, TypeAdapter[Any]] = {
    "metrics.json": TypeAdapter(_Metric),
    "datasets.json": TypeAdapter(_DatasetRow),
    "bad_samples.json": TypeAdapter(_BadSample),
    "subgroups.json": TypeAdapter(_Group),
}
"""Files that hold a list: what a row is."""

ENTRIES: dict[str, TypeAdapter[Any]] = {
    "curves.json": TypeAdapter(dict[HeadName, _Curves]),
    "best.json": TypeAdapter(dict[HeadName, _Best]),
    "splits.json": TypeAdapter(dict[str, SplitName]),
    "splits_before.json": TypeAdapter(dict[str, SplitName]),
    "trivial.json": TypeAdapter(dict[HeadName, dict[str, _Prior | _MeanBox | _MeanMask | _OfAnotherTask]]),
    "thresholds.json": TypeAdapter(dict[HeadName, dict[str, dict[str, dict[str, Any]]]]),
}
"""Files that hold a mapping: what it is; each entry is good or bad by itself."""

WHOLE: dict[str, TypeAdapter[Any]] = {
    "run.json": TypeAdapter(_Run),
    "plan.json": TypeAdapter(_Plan),
    "anatomy.json": TypeAdapter(_Anatomy),
    "origin.json": TypeAdapter(_Anatomy),
    "filled.json": TypeAdapter(_Filled),
    "ledger.json": TypeAdapter(_Ledger),
    "config.json": TypeAdapter(dict[str, Any]),
}
"""Files that are good or bad as a whole."""

LINES: dict[str, TypeAdapter[Any]] = {"log.jsonl": LOG_ROW, "incidents.jsonl": INCIDENT_ROW}
"""Files with a row on each line."""

NAMES = (*LINES, *ROWS, *ENTRIES, *WHOLE)
"""Every file that is checked when it is read."""


def unread(path: Path, root: Path) -> str | None:
    """Why a file of a work directory is not opened; None if it may be, or if there is none.

    Links out of it would show its reader's own files to whom the report is sent; a pipe would never end.

    Args:
        path: File below the work directory.
        root: Work directory; it may be a link itself.
    """
    if not path.exists():
        return None
    if not path.resolve().is_relative_to(root.resolve()):
        return "is a link that leads out of the work directory, or lies behind one"
    return None if path.is_file() else "is no file"


def fits(schema: TypeAdapter[Any], value: Any) -> bool:
    """Whether a value is what the schema describes."""
    try:
        schema.validate_python(value)
    except (ValidationError, RecursionError):
        return False
    return True


def fault_of(path: Path) -> str | None:
    """What is wrong with one of :data:`NAMES`; None: nothing, or there is no such file.

    A file that has been read and not been changed since is not read again.
    """
    known = _FAULTS.get(path)
    if known is not None and known[0] == _state(path):
        return known[1]
    return (read_checked_lines(path) if path.name in LINES else read_checked(path))[1]


_FAULTS: dict[Path, tuple[_State, str | None]] = {}
"""Files that were read: their state before that, and what was found wrong with them."""


def _state(path: Path) -> _State:
    """Tells a file from what it was before: writers replace it by another one; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _noted(path: Path, state: _State, fault: str | None) -> None:
    """Keeps what is wrong with a file, of the newest files that were read."""
    _FAULTS.pop(path, None)
    _FAULTS[path] = (state, fault)
    if len(_FAULTS) > MOST_FAULTS:
        del _FAULTS[next(iter(_FAULTS))]


def read_checked(path: Path, default: Any = None) -> tuple[Any, str | None]:
    """What of a JSON file can be used, and what is wrong with it.

    Args:
        path: File in a work directory; it need not exist.
        default: Value if there is no such file or nothing of it can be used.

    Returns:
        Value, and what was passed over (None: nothing).
    """
    state = _state(path)
    value, fault = _read_checked(path, default)
    _noted(path, state, fault)
    return value, fault


def _read_checked(path: Path, default: Any) -> tuple[Any, str | None]:
    if not path.exists():
        return default, None
    if fault := unread(path, path.parent):
        return default, fault
    try:
        value = read_json(path.read_bytes())
    except (ValueError, OSError) as error:
        return default, f"cannot be read ({type(error).__name__}: {error})"
    kind = list if path.name in ROWS else dict if path.name in (*ENTRIES, *WHOLE) else type(default)
    if (kind is not type(None)) and not isinstance(value, kind):
        return default, f"holds a {type(value).__name__}, not a {kind.__name__}"
    return _usable(path.name, value, default)


def _usable(name: str, value: Any, default: Any) -> tuple[Any, str | None]:
    """The entries of a file's content that make sense, and how many do not."""
    if name in ROWS:
        good: Any = [row for row in value if fits(ROWS[name], row)]
    elif name in ENTRIES:
        good = {key: item for key, item in value.items() if fits(ENTRIES[name], {key: item})}
    elif name in WHOLE:
        return (value, None) if fits(WHOLE[name], value) else (default, "lacks entries, or has some of another type")
    else:
        return value, None
    missing = len(value) - len(good)
    return good, f"{missing} of {len(value)} entries make no sense" if missing else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a file with one JSON object per line; none if there is no such file.

    Lines that are no JSON object are dropped, as is an incomplete last one, left by a run that was killed while
    writing.
    """
    return _read_lines(path)[0]


def read_checked_lines(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Rows that make sense of a file of :data:`LINES`, and what is wrong with it."""
    state = _state(path)
    rows, lines, fault = _read_lines(path)
    good = [row for row in rows if fits(LINES[path.name], row)]
    if fault is None and lines > len(good):
        fault = f"{lines - len(good)} of {lines} lines make no sense"
    _noted(path, state, fault)
    return good, fault


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], int, str | None]:
    """Rows, number of complete lines, and why the file cannot be read."""
    if not path.exists():
        return [], 0, None
    if fault := unread(path, path.parent):
        return [], 0, fault
    try:
        *complete, _rest = path.read_bytes().split(b"\n")  # _rest: b"" or an incomplete line
    except OSError as error:
        return [], 0, f"cannot be read ({error.strerror})"
    rows = []
    for line in complete:
        try:
            row = read_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows, len(complete), None
