"""The split of every patient of a run: official, by a list, as an earlier run had it, or by hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foundationx.core.config.run import RunConfig, SplitConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split
from foundationx.core.workdir import WorkDir
from foundationx.datasets.exclusion import without_allowed_tests
from foundationx.datasets.split_lists import read_split_list
from foundationx.datasets.splits import STRICTEST, assign_splits, official_splits

SPLITS, EARLIER = "splits.json", "splits_before.json"
"""Files of a work directory: the split of every patient of the run, and of those of runs that it went on from."""

_SHOWN = 3
"""Names of patients in a message."""


@dataclass(frozen=True)
class SplitRecord:
    """The splits of an earlier run.

    Attributes:
        splits: Split of every patient of the run and of those that it went on from.
        where: The run, for messages.
    """

    splits: dict[str, Split] = field(default_factory=dict)
    where: str = ""

    def __or__(self, other: SplitRecord) -> SplitRecord:
        """Both; a patient of both has the split of ``other``."""
        return SplitRecord(self.splits | other.splits, other.where or self.where)


def run_folder(path: Path) -> Path:
    """The folder of a run, which is a work directory, a checkpoint in it, or a file beside them."""
    return path if path.is_dir() else path.parent.parent if path.parent.name == "checkpoints" else path.parent


def read_record(path: Path) -> SplitRecord:
    """The splits of a run; empty if there are none.

    Args:
        path: Work directory, a checkpoint in it, or its ``splits.json``.
    """
    folder = run_folder(path)
    work = WorkDir(folder)
    stored = work.read_json(EARLIER, {}) | work.read_json(SPLITS, {})
    return SplitRecord({patient: Split(split) for patient, split in stored.items()}, str(folder) if stored else "")


def named_record(config: RunConfig) -> SplitRecord:
    """The splits of the runs that a configuration names: ``model.init_run``, then ``split.record``.

    Raises:
        ConfigError: ``split.record`` holds none.
    """
    record = read_record(config.model.init_run) if config.model.init_run is not None else SplitRecord()
    if config.split.record is None:
        return record
    named = read_record(config.split.record)
    if not named.splits:
        found, expected = "holds no splits.json", "the work directory of a run"
        raise ConfigError(f"split.record: {config.split.record}", found, expected, "correct or remove split.record")
    return record | named


def split_patients(
    config: RunConfig, tables: Sequence[Annotations], data_root: Path, record: SplitRecord
) -> dict[str, Split]:
    """The split of every patient of a run.

    Args:
        config: Configuration of the run.
        tables: All tasks of all datasets.
        data_root: Folder of all datasets; ``split.file`` may be relative to it.
        record: Splits of the run that is continued or evaluated.

    Raises:
        ConfigError: The list is wrong or frees held-out patients, or patients would change their split.
    """
    official = without_allowed_tests(tables, config.allow_test)
    listed: dict[str, Split] = {}
    if config.split.file is not None:
        listed = read_split_list(_list_path(config.split.file, data_root), tables)
        _check_list(listed, official_splits(official))
    assigned = assign_splits(official, config.split.fractions(), config.split.seed, listed)
    return _settled(assigned, record, config.split, official_splits(official))


def _list_path(file: Path, data_root: Path) -> Path:
    """The list under the data root, or else in the working directory. Raises ConfigError: it is in neither."""
    for path in (data_root / file, file):
        if path.is_file():
            return path
    found, expected = f"there is no {file}", f"a file in {data_root} or in the working directory"
    raise ConfigError("split.file", found, expected, "correct or remove split.file")


def _check_list(listed: Mapping[str, Split], official: Mapping[str, Split]) -> None:
    """Raises ConfigError if the list trains on patients, or validates on some, whom a publisher holds out."""
    freed = [p for p, split in listed.items() if STRICTEST.index(split) > STRICTEST.index(official.get(p, Split.TRAIN))]
    if freed:
        found = f"{_counted((official[p], listed[p]) for p in freed)} against the official split, {_some(freed)}"
        raise ConfigError("split.file", found, "official splits, or stricter ones", "remove the patients from the list")


def _settled(
    assigned: dict[str, Split], record: SplitRecord, config: SplitConfig, official: Mapping[str, Split]
) -> dict[str, Split]:
    """The assigned splits, as far as the record allows."""
    moved = [patient for patient, split in assigned.items() if record.splits.get(patient, split) is not split]
    if not moved or config.changes == "apply":
        return assigned
    if config.changes == "keep":
        return assigned | {patient: record.splits[patient] for patient in moved}
    by_list = sum(patient in official for patient in moved)
    counted = _counted((record.splits[patient], assigned[patient]) for patient in moved)
    found = f"{len(moved):,} patients would change their split since {record.where}: {counted} ({_some(moved)})"
    fix = (
        f"split.changes='keep' leaves them as that run had them, 'apply' moves them ({by_list:,} have an official "
        "split now); who was trained on is no fair test"
    )
    raise ConfigError("split", found, "every patient in the split that the earlier run had", fix)


def _counted(moves: Iterable[tuple[Split, Split]]) -> str:
    """``12 train -> test, 3 val -> train``."""
    counts = Counter(moves)
    return ", ".join(f"{count:,} {before.value} -> {now.value}" for (before, now), count in sorted(counts.items()))


def _some(patients: Sequence[str]) -> str:
    return ", ".join(patients[:_SHOWN]) + (", ..." if len(patients) > _SHOWN else "")
