"""Kills a small training at random moments and compares what comes out, bit for bit, with a run that nobody disturbed.

Four ways: SIGTERM and SIGINT (the run saves and stops), SIGKILL (nothing can be saved), and SIGKILL at the sight of a
checkpoint's temporary file. After each the same command goes on; when it has come to its end, weights, teacher,
optimizer, log, metrics and best visits are compared, and another run begins until there were enough kills. Prints a
markdown table; the exit code is 1 if anything differs.

    python benchmarks/kill_and_resume.py [--kills 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import killing
from killing import CONFIG, differences, exit_code, printed_by, table, wait_for_partial, wait_for_processor_time

from foundationx.apps.cli.main import STOPPED
from foundationx.apps.cli.main import main as command
from foundationx.core.atomic_write import PARTIAL
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import checkpoints_in, step_of
from foundationx.phantoms.write import write_phantom_datasets

OPTIONS = ["schedule.cycles=4", "evaluate.every=2", "evaluate.final=[val]", "evaluate.models=[teacher]"]
OPTIONS += ["evaluate.examples=0", "runtime.checkpoint_every=2", "runtime.log_every=3"]
WRITING = "SIGKILL while writing a checkpoint"
WAYS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGKILL": signal.SIGKILL, WRITING: signal.SIGKILL}


@dataclass
class Tally:
    """What the kills of one way met."""

    kills: int = 0
    with_rows: int = 0
    lost: list[int] = field(default_factory=list)
    partials: int = 0


@dataclass
class Course:
    """Where runs read and write, and how long one takes.

    Attributes:
        data: folder of phantoms.
        seconds: processor time that the undisturbed run took, from the start of its process.
    """

    data: Path
    seconds: float = 0.0

    def start(self, folder: Path) -> multiprocessing.Process:
        """Starts the run of a work directory, or goes on with it, in a process of its own.

        It is forked from this one, where torch is loaded already: that would take most of its time.
        """
        arguments = ["train", str(CONFIG), "--data-root", str(self.data), "--work-dir", str(folder)]
        arguments += ["--cfg-options", *OPTIONS]
        process = multiprocessing.get_context("fork").Process(target=_train, args=(arguments, printed_by(folder)))
        process.start()
        return process

    def finish(self, folder: Path) -> float:
        """Lets a run come to its end; gives its processor time. Raises RuntimeError where it does not."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = self.start(folder)
        running.join()
        if running.exitcode:
            raise RuntimeError(f"the run ended with {running.exitcode}:\n{printed_by(folder).read_text()}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _train(arguments: list[str], printed: Path) -> None:
    """The command, with what it prints in a file."""
    sys.exit(exit_code(lambda: command(arguments), printed))


def torn_files(folder: Path) -> set[tuple[Path, int]]:
    """Temporary files of checkpoints and when they were written: those of an earlier kill stay until the next save."""
    return {(path, path.stat().st_mtime_ns) for path in folder.glob(f"checkpoints/*{PARTIAL}")}


def kill_once(course: Course, folder: Path, way: str, draw: random.Random, tally: Tally) -> bool:
    """Starts a run and ends it in one way. Returns False where it had come to its end before."""
    rows_before, partials_before = len(WorkDir(folder).read_log()), torn_files(folder)
    running = course.start(folder)
    if way == WRITING:
        wait_for_partial(running, folder)
    else:
        wait_for_processor_time(running, draw.uniform(0, course.seconds / 2))
    if running.is_alive():
        os.kill(running.pid, WAYS[way])
    running.join()
    if running.exitcode == 0:
        return False
    if running.exitcode not in (STOPPED, -WAYS[way]):
        raise RuntimeError(f"{way} ended the run with {running.exitcode}:\n{printed_by(folder).read_text()}")
    rows = WorkDir(folder).read_log()
    tally.kills += 1
    tally.with_rows += len(rows) > rows_before
    tally.partials += bool(torn_files(folder) - partials_before)
    if rows:
        saved = max((step_of(path) for path in checkpoints_in(folder)), default=0)
        tally.lost.append(max(0, rows[-1]["step"] - saved))
    return True


def run(kills: int, seed: int, folder: Path) -> tuple[dict[str, Tally], dict[str, list[str]], dict]:
    """Kills as often as asked; gives tallies by way, differences by run, and facts of the undisturbed run."""
    course = Course(folder / "data")
    write_phantom_datasets(course.data, 14, size=96, processes=1)
    undisturbed = folder / "undisturbed"
    course.seconds = course.finish(undisturbed)
    tallies: dict[str, Tally] = defaultdict(Tally)
    results: dict[str, list[str]] = {}
    draw = random.Random(seed)
    ways = [list(WAYS)[place % len(WAYS)] for place in range(kills)]
    draw.shuffle(ways)
    while ways:
        disturbed = folder / f"run {len(results) + 1}"
        while ways and kill_once(course, disturbed, ways[-1], draw, tallies[ways[-1]]):
            ways.pop()
            print(f"\r{kills - len(ways)} of {kills} kills", end="", file=sys.stderr, flush=True)
        course.finish(disturbed)
        results[disturbed.name] = differences(undisturbed, disturbed)
    print(file=sys.stderr)
    facts = {"steps": WorkDir(undisturbed).read_log()[-1]["step"], "seconds": round(course.seconds, 1)}
    return tallies, results, facts


def show(options: argparse.Namespace, folder: Path) -> bool:
    """Kills and prints the tables. Returns whether nothing differs."""
    tallies, results, facts = run(options.kills, options.seed, folder)
    took = f"{facts['steps']} steps, {facts['seconds']} s of processor time undisturbed"
    print(f"{took}; a checkpoint every 2 steps, a row every 3.\n")
    columns = ["way", "kills", "after new rows", "before", "torn temporary file left"]
    rows: list[list[object]] = []
    for way in WAYS:
        tally = tallies[way]
        lost = sorted(tally.lost) or [0]
        numbers = [tally.kills, tally.with_rows, tally.kills - tally.with_rows, tally.partials]
        rows.append([way, *numbers, f"{lost[len(lost) // 2]}, {lost[-1]}"])
    table([*columns, "steps done again: median, most"], rows)
    print()
    table(["run", "differences from the undisturbed run"], [[n, ", ".join(r) or "none"] for n, r in results.items()])
    return not any(results.values())


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, 50, show))
