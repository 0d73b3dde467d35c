"""Commands that the portal starts: each is a process of its own, which goes on if the portal is stopped or killed.

The command is the ordinary one that a person would type. A small record beside its output says what was started, so
that another portal finds it. Records lie in the portal's own folder: a run folder that comes from somebody else
starts and stops nothing.
"""

from __future__ import annotations

import datetime
import re
import secrets
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from foundationx.apps.portal.place import BusyError, UnknownError
from foundationx.core.atomic_write import write_json
from foundationx.core.strict_json import read_json

Kind = Literal["check", "audit", "doctor", "phantoms", "report", "train"]

TAIL = 32 * 1024
"""Bytes of a command's output that are shown: the last ones."""

MOST_JOBS = 200
"""Jobs that are kept beside those of runs; the oldest are forgotten first."""

IDENTIFIER = re.compile(r"[a-z]+-[A-Za-z0-9_-]{1,100}")

_STEP = re.compile(r"^(?P<what>[^\n]{1,200}): (?P<done>\d{1,12}) of (?P<total>\d{1,12})\b", re.MULTILINE)
"""How commands say where they are when there is no terminal: ``fingerprints: 30 of 300``."""


@dataclass
class Job:
    """A command that was started.

    Attributes:
        identifier: Name of its folder.
        kind: What it does.
        about: What it is about: a card, a fusion or a run.
        words: The command.
        started: When, in ISO 8601.
        process: Its process.
        created: When the system made the process, in seconds since 1970: numbers of processes are used again.
        code: Exit code; None while it goes on, or if no portal was there when it ended.
        ended: Whether it has ended.
    """

    identifier: str
    kind: Kind
    about: str
    words: list[str]
    started: str
    process: int
    created: float
    code: int | None = None
    ended: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command as a person types it."""
        return shlex.join(self.words)

    @property
    def is_alive(self) -> bool:
        """Whether the process goes on."""
        if self.ended:
            return False
        try:
            process = psutil.Process(self.process)
            same = abs(process.create_time() - self.created) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


class Jobs:
    """All commands that were started from the work directories' portals.

    Args:
        folder: Folder of the records.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()

    def start(self, kind: Kind, about: str, words: Sequence[str], identifier: str | None = None, **facts: Any) -> Job:
        """Starts a command in a session of its own.

        Args:
            kind: What it does.
            about: What it is about.
            words: The command: ``foundationx`` and its arguments.
            identifier: Name of the record; a new one by default. One that stands is replaced.
            **facts: What else the record holds.

        Raises:
            DiskError: Nothing can be written.
            BusyError: The command of this name goes on.
        """
        with self._lock:
            name = identifier or f"{kind}-{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
            before = self.find(name)
            if before is not None and before.is_alive:
                raise BusyError(about, "is under way", "one at a time", "wait for it, or stop it")
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / "output.txt", "ab") as output:
                if before is not None:
                    output.write(f"\n$ {shlex.join(words)}\n".encode())
                    output.flush()
                child = subprocess.Popen(
                    [sys.executable, "-u", "-m", "foundationx.apps.cli.main", *words[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            job = Job(name, kind, about, list(words), _now(), child.pid, _created(child.pid), facts=facts)
            self._children[name] = child
            self._write(job)
            self._forget()
            return job

    def find(self, identifier: str) -> Job | None:
        """A job by its name, with what is known of it now."""
        if not IDENTIFIER.fullmatch(identifier):
            return None
        with self._lock:
            job = _read(self.folder / identifier / "job.json")
            if job is not None and not job.ended:
                self._update(job)
            return job

    def get(self, identifier: str) -> Job:
        """A job by its name. Raises UnknownError."""
        job = self.find(identifier)
        if job is None:
            raise UnknownError("job", f"there is no {identifier!r:.100}", "a job of this portal", "start it again")
        return job

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        names = [path.parent.name for path in self.folder.glob("*/job.json")]
        jobs = [job for name in names if (job := self.find(name)) is not None]
        return sorted(jobs, key=lambda job: job.started, reverse=True)

    def output(self, job: Job) -> str:
        """The end of what a command has printed."""
        try:
            with open(self.folder / job.identifier / "output.txt", "rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - TAIL))
                return stream.read(TAIL).decode("utf-8", "replace")
        except OSError:
            return ""

    def stop(self, job: Job) -> None:
        """Asks a command to stop, as ``kill`` and schedulers do (SIGTERM). Nothing happens if it has ended."""
        if job.is_alive:
            try:
                psutil.Process(job.process).terminate()
            except psutil.Error:
                return  # it has ended meanwhile

    def _update(self, job: Job) -> None:
        """Notes the end of a command."""
        child = self._children.get(job.identifier)
        if child is not None and child.pid == job.process:
            job.code = child.poll()
            job.ended = job.code is not None
        else:
            job.ended = not job.is_alive
        if job.ended:
            self._write(job)

    def _write(self, job: Job) -> None:
        write_json(self.folder / job.identifier / "job.json", asdict(job))

    def _forget(self) -> None:
        """Removes the records of the oldest jobs that have ended; those of runs stay."""
        import shutil

        jobs = [job for job in self.all() if job.kind != "train"]
        for job in jobs[MOST_JOBS:]:
            if not job.is_alive:
                shutil.rmtree(self.folder / job.identifier, ignore_errors=True)
                self._children.pop(job.identifier, None)


def progress_of(output: str) -> dict[str, Any] | None:
    """How far a command is by the last line of its output that says so; None without one."""
    steps = list(_STEP.finditer(output))
    if not steps or not int(steps[-1]["total"]):
        return None
    last = steps[-1]
    return {"what": last["what"], "done": int(last["done"]), "total": int(last["total"])}


def _read(path: Path) -> Job | None:
    try:
        values = read_json(path.read_bytes())
        return Job(**values)
    except (OSError, ValueError, TypeError):
        return None


def _created(process: int) -> float:
    try:
        return psutil.Process(process).create_time()
    except psutil.Error:
        return 0.0  # it has ended already


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
