"""The runs below the work directories: which there are, what they do now, what they have learned."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil

from foundationx.apps.portal.jobs import Job, Jobs
from foundationx.apps.portal.place import NAME, BusyError, Place
from foundationx.apps.portal.run_log import RunLog
from foundationx.core.errors import DiskError
from foundationx.core.run_files import read_checked, read_checked_lines
from foundationx.core.types import MetricRow, Task, TaskKey
from foundationx.core.workdir import WorkDir

T = TypeVar("T")

State = Literal["starting", "running", "finished", "stopped", "failed"]

STOPPED = 130
"""Exit code of training that was asked to stop."""

MOST_FOLDERS, MOST_DEPTH = 5000, 4
"""Folders that are looked into for runs, and how deep below the work directories."""

MOST_FILE = 64 * 2**20
"""Bytes of a file of a run that is read for the page."""

SLOWEST, LARGEST_BATCH = 1e-6, 10**6
"""Images per second and images of a batch beyond which no time is told: somebody else has written the numbers."""


@dataclass(frozen=True)
class Headline:
    """The newest value of a head's headline metric.

    Attributes:
        head: Dataset and task.
        metric: Name of the metric.
        split: Split that it was measured on.
        model: Student or teacher.
        value: Mean over classes, None if it is not defined.
        trivial: The best answer that looks at no image.
        is_low: Whether the value is no better than that.
    """

    head: str
    metric: str
    split: str
    model: str
    value: float | None
    trivial: float | None
    is_low: bool


class Runs:
    """All runs of the work directories.

    Args:
        place: Folders of the portal.
        jobs: Commands that were started.
    """

    def __init__(self, place: Place, jobs: Jobs):
        self.place, self.jobs = place, jobs
        self._logs: dict[Path, RunLog] = {}
        self._files: dict[tuple[Path, str], tuple[tuple[int, int], Any]] = {}
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """Every run, by the path of its folder below the work directories."""
        launched = {job.about for job in self.jobs.all() if job.kind == "train"}
        found = {folder.relative_to(self.place.work_dirs).as_posix() for folder in self._folders()}
        return sorted(found | {name for name in launched if (self.place.work_dirs / name).is_dir()})

    def _folders(self) -> Iterator[Path]:
        """Folders that hold a run; links are not followed."""
        level, seen = [self.place.work_dirs], 0
        for _ in range(MOST_DEPTH):
            below: list[Path] = []
            for folder in level:
                for path in _subfolders(folder):
                    seen += 1
                    if seen > MOST_FOLDERS:
                        return
                    if WorkDir(path).is_begun:
                        yield path
                    else:
                        below.append(path)
            level = below

    def launched(self, name: str) -> Job | None:
        """The command that the portal has started for a run, if it has."""
        return self.jobs.find(job_name(name))

    def state(self, name: str) -> State:
        """What a run does now."""
        folder, job = WorkDir(self.place.work_dirs / name), self.launched(name)
        if folder.holder() is not None:
            return "running"
        if job is not None and not job.ended:
            return "starting"
        if (self._json(folder.root, "run.json", {}) or {}).get("complete") is True:
            return "finished"
        return "failed" if job is not None and job.code not in (None, 0, STOPPED) else "stopped"

    def stop(self, name: str) -> None:
        """Asks a run to save and stop (SIGTERM): the process that holds its folder, or that we have just started.

        Raises:
            BusyError: Nothing trains there.
            DiskError: The process belongs to another user.
        """
        process, job = WorkDir(self.place.run_folder(name)).holder(), self.launched(name)
        if process is not None:
            _ask_to_stop(name, process)
        elif job is not None and job.is_alive:
            self.jobs.stop(job)
        else:
            raise BusyError(name, "nothing trains there now", "a run that goes on", "look at its state")

    def summary(self, name: str) -> dict[str, Any]:
        """A run in the list of all."""
        folder = self.place.work_dirs / name
        log, run = self.log(folder), self._json(folder, "run.json", {}) or {}
        total = (self._json(folder, "plan.json", {}) or {}).get("total_steps")
        return {
            "name": name,
            "state": self.state(name),
            "started": run.get("started"),
            "finished": run.get("finished"),
            "step": log.last["step"] if log.last else 0,
            "total_steps": total,
            "headlines": [vars(row) for row in self.headlines(folder)],
            "report": (folder / "report.html").is_file(),
        }

    def log(self, folder: Path) -> RunLog:
        """The log of a run, with all that it holds now."""
        with self._lock:
            log = self._logs.setdefault(folder, RunLog(folder / "log.jsonl"))
            log.update()
            return log

    def detail(self, name: str) -> dict[str, Any]:
        """A run for its page."""
        folder = self.place.run_folder(name)
        with self._lock:
            log = self.log(folder)
            curves = {head: curve.points for head, curve in log.curves.items()}
        config = self._json(folder, "config.json", {}) or {}
        job = self.launched(name)
        run = self._json(folder, "run.json", {}) or {}
        incidents, fault = self._cached(folder, "incidents.jsonl", lambda path: read_checked_lines(path)) or ([], None)
        return {
            **self.summary(name),
            "now": _now(log, config, self._json(folder, "plan.json", {}) or {}),
            "curves": curves,
            "incidents": incidents[-50:][::-1],
            "incident_count": len(incidents),
            "output": self.jobs.output(job) if job is not None else "",
            "command": job.command if job is not None else None,
            "code": job.code if job is not None else None,
            "facts": {key: run.get(key) for key in ("version", "device", "parameters", "machine") if key in run},
            "faults": self._faults(folder, log, fault),
            "quiet_seconds": _age(folder / "log.jsonl"),
        }

    def bands(self, name: str) -> dict[str, list[list[int]]]:
        """First and last step of every lock phase, by head."""
        plan = self._json(self.place.run_folder(name), "plan.json", {}) or {}
        bands: dict[str, list[list[int]]] = {}
        for visit in plan.get("visits", []):
            of_head = bands.setdefault(f"{visit['dataset']}/{visit['task']}", [])
            of_head += [
                [phase["first_step"], phase["first_step"] + phase["steps"]]
                for phase in visit["phases"]
                if phase["name"] == "lock"
            ]
        return bands

    def headlines(self, folder: Path) -> list[Headline]:
        """The newest headline value of every head, with the trivial answer beside it."""
        rows: list[Headline] | None = self._cached(folder, "metrics.json", lambda path: headlines_of(path.parent))
        return rows or []

    def _faults(self, folder: Path, log: RunLog, incidents: str | None) -> dict[str, str]:
        """One line for every damaged file that the page reads."""
        found: dict[str, str | None] = {"log.jsonl": log.fault, "incidents.jsonl": incidents}
        for name in ("run.json", "plan.json", "metrics.json", "config.json"):
            path = folder / name
            found[name] = _not_read(path) or self._cached(folder, f"{name} ", lambda path: read_checked(path)[1])
        return {name: text for name, text in found.items() if text}

    def _json(self, folder: Path, name: str, default: Any) -> Any:
        return self._cached(folder, name, lambda path: read_checked(path, default)[0])

    def _cached(self, folder: Path, name: str, read: Callable[[Path], T]) -> T | None:
        """What ``read`` makes of a file, anew only if the file has changed; None if there is no such file.

        Args:
            folder: Folder of a run.
            name: Name of the file; spaces behind it tell two ways of reading one file apart.
            read: Reads the file.
        """
        path = folder / name.rstrip()
        try:
            status = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_FILE:
            return None  # a link may lead anywhere, a pipe never ends
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._files.get((folder, name))
            if known is None or known[0] != stamp:
                known = self._files[folder, name] = (stamp, read(path))
            value: T = known[1]
            return value


def job_name(run: str) -> str:
    """Name of the record of a run's command; empty for runs of names that the portal gives none."""
    return f"train-{run}" if NAME.fullmatch(run) else ""


def headlines_of(folder: Path) -> list[Headline]:
    """The newest headline value of every head: on test, once it was evaluated, and of the teacher, if there is one."""
    from foundationx.evaluation.measure import is_headline
    from foundationx.evaluation.trivial import EMPTY, TRIVIAL, best_trivial, is_low

    every = WorkDir(folder).read_metrics()
    newest: dict[tuple[str, str], MetricRow] = {}
    for row in every:
        if row.model in (TRIVIAL, EMPTY) or not is_headline(row):
            continue
        known = newest.get((row.dataset, row.task))
        if known is None or _rank(row) >= _rank(known):
            newest[row.dataset, row.task] = row
    found = []
    for row in newest.values():
        trivial = best_trivial(every, TaskKey(row.dataset, Task(row.task)), row.split)
        low = row.value is not None and is_low(row.value, [trivial], row.metric)
        head = f"{row.dataset}/{row.task}"
        found.append(Headline(head, row.metric, row.split, row.model, row.value, trivial, low))
    return found


def _rank(row: MetricRow) -> tuple[int, bool, bool]:
    """The newest first, then test before validation, then the teacher."""
    return (row.visit, row.split == "test", row.model == "teacher")


def _now(log: RunLog, config: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """What is trained now, how fast, and how long the steps that are left take at this speed."""
    row = log.last
    if row is None:
        return {}
    speed, runtime = log.speed(), config.get("runtime")
    batch = runtime.get("batch_size") if isinstance(runtime, dict) else None
    left = (plan.get("total_steps") or row["step"]) - row["step"]
    known = speed > SLOWEST and isinstance(batch, int) and batch <= LARGEST_BATCH
    return {
        "head": f"{row['dataset']}/{row['task']}",
        "phase": row.get("phase"),
        "visit": row["visit"],
        "visits": len(plan.get("visits", [])),
        "cycle": row.get("cycle"),
        "images_per_second": round(speed, 1),
        "data_wait": row.get("data_wait"),
        "seconds_left": round(max(0, left) * batch / speed) if known and batch else None,
    }


def _ask_to_stop(name: str, process: int) -> None:
    """Sends SIGTERM to a process that trains. Raises DiskError: It is none of foundationx, or of another user."""
    try:
        is_ours = any("foundationx" in word for word in psutil.Process(process).cmdline())
        if is_ours:
            os.kill(process, signal.SIGTERM)
            return
        found = f"process {process} holds the folder, and its command is none of foundationx"
    except (OSError, psutil.Error) as error:
        found = f"process {process} cannot be asked to stop ({type(error).__name__})"
    raise DiskError(name, found, fix=f"stop it where it was started: kill {process}")


def _subfolders(folder: Path) -> list[Path]:
    """Folders in a folder that are no links and not hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name.isprintable()]


def _not_read(path: Path) -> str | None:
    """Why a file is not looked into; None if it is, or is not there."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return "is a link or no regular file; it is not read"
    return f"has more than {MOST_FILE:,} bytes; it is not read" if status.st_size > MOST_FILE else None


def _age(path: Path) -> float | None:
    try:
        return round(max(0.0, time.time() - path.stat().st_mtime), 1)
    except OSError:
        return None
