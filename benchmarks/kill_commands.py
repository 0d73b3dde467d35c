"""Kills evaluation, report, filling of the cache, export and import at random moments, and runs the command again.

After each kill the same command runs to its end. What it then has written is compared byte for byte with what an
undisturbed one writes, no temporary file may be left, and nothing that was printed may hold a stack trace.
``kill_and_resume.py`` does the same to training. Prints a markdown table; the exit code is 1 if anything differs.

    python benchmarks/kill_commands.py [--kills 140] [--seed 0]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import killing
from killing import CONFIG, exit_code, printed_by, table, wait_for_processor_time

from foundationx.apps.cli.main import STOPPED
from foundationx.apps.cli.main import main as command
from foundationx.core.atomic_write import PARTIAL
from foundationx.core.config.load import load_config
from foundationx.core.signals import interruptible
from foundationx.data.datamodule import open_datasets
from foundationx.phantoms.write import write_phantom_datasets

SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL")
SHARES = {"evaluation": 8, "report": 7, "filling of the cache": 5, "export": 4, "import": 4}
"""How the kills are shared out."""


@dataclass
class Tally:
    """Kills of one command by signal, those after which files were there already, and what was wrong."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIGNALS, 0))
    with_files: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class World:
    """A trained run with its datasets, and what the commands write about it.

    Attributes:
        folder: Folder of everything.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.data, self.run = self.folder / "data", self.folder / "run"
        write_phantom_datasets(self.data, 14, size=96, processes=1)
        options = ["schedule.max_steps=2", "evaluate.examples=1", "evaluate.final=[val]"]
        arguments = ["train", str(CONFIG), "--data-root", str(self.data), "--work-dir", str(self.run)]
        assert command([*arguments, "--cfg-options", *options]) == 0
        self.timm = self.folder / "timm.safetensors"
        assert command(["export", str(self.run), "--to", "timm", "--out", str(self.timm)]) == 0

    def calls(self, out: Path) -> dict[str, Callable[[], int]]:
        """Every command, writing to a folder; each gives its exit code."""
        run, data = str(self.run), ["--data-root", str(self.data)]
        return {
            "evaluation": lambda: command(["eval", run, *data, "--out", str(out)]),
            "report": lambda: command(["report", str(out)]),
            "filling of the cache": lambda: self.fill(out),
            "export": lambda: command(["export", run, "--out", str(out / "backbone.safetensors")]),
            "import": lambda: command(["import", str(self.timm), "--out", str(out)]),
        }

    def fill(self, out: Path) -> int:
        """Fills the cache of all datasets as a run does before it trains."""
        with interruptible():
            open_datasets(load_config(CONFIG, {"runtime.cache": str(out)}), self.data).fill_cache()
        return 0

    def prepare(self, name: str, out: Path) -> None:
        """What the command needs in its folder."""
        shutil.rmtree(out, ignore_errors=True)
        if name == "report":
            shutil.copytree(self.run, out)
            (out / "report.html").unlink()
        else:
            out.mkdir()

    def start(self, name: str, out: Path) -> multiprocessing.Process:
        """The command in a process of its own, forked from this one, where torch is loaded already."""
        process = multiprocessing.get_context("fork").Process(
            target=_child, args=(self.calls(out)[name], printed_by(out))
        )
        process.start()
        return process


def _child(call: Callable[[], int], printed: Path) -> None:
    sys.exit(exit_code(call, printed, append=True))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but locks."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "lock" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def kill_once(world: World, name: str, way: str, seconds: float, expected: dict[str, bytes], tally: Tally) -> bool:
    """Starts a command, kills it, runs it again and compares. Returns False if it had come to its end before."""
    out = world.folder / "out"
    printed_by(out).unlink(missing_ok=True)
    world.prepare(name, out)
    before = len(contents(out))
    running = world.start(name, out)
    wait_for_processor_time(running, seconds)
    if running.is_alive():
        os.kill(running.pid, signal.Signals[way])
    running.join()
    if running.exitcode == 0:
        return False
    tally.kills[way] += 1
    tally.with_files += len(contents(out)) > before
    if running.exitcode not in (STOPPED, -signal.Signals[way]):
        tally.faults.append(f"exit code {running.exitcode} after {way}")
    again = world.start(name, out)
    again.join()
    if again.exitcode:
        tally.faults.append(f"exit code {again.exitcode} of the command that ran again")
    if "Traceback" in printed_by(out).read_text():
        tally.faults.append(f"a stack trace: {printed_by(out).read_text()[-500:]}")
    result = contents(out)
    names = {file for file in expected | result if expected.get(file) != result.get(file)}
    tally.faults += sorted(f"{file} differs" for file in names)
    tally.faults += [f"{file} is left" for file in result if file.endswith(PARTIAL)]
    return True


def processor_time(process: multiprocessing.Process) -> float:
    """Seconds that a process has computed when it ends."""
    before = os.times()
    process.join()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def run(kills: int, seed: int, folder: Path) -> dict[str, Tally]:
    """Kills as often as asked; gives tallies by command."""
    world, draw, tallies = World(folder), random.Random(seed), {}
    for name, share in SHARES.items():
        tally = tallies[name] = Tally()
        undisturbed = folder / "out"
        world.prepare(name, undisturbed)
        process = world.start(name, undisturbed)
        seconds = processor_time(process)
        assert process.exitcode == 0, printed_by(undisturbed).read_text()
        expected = contents(undisturbed)
        wanted = max(1, round(kills * share / sum(SHARES.values())))
        while sum(tally.kills.values()) < wanted:
            way = SIGNALS[sum(tally.kills.values()) % len(SIGNALS)]
            kill_once(world, name, way, draw.uniform(0, seconds), expected, tally)
        print(f"{name}: {wanted} kills", file=sys.stderr, flush=True)
    return tallies


def show(options: argparse.Namespace, folder: Path) -> bool:
    """Kills and prints the table. Returns whether nothing differs."""
    tallies = run(options.kills, options.seed, folder)
    rows: list[list[object]] = []
    for name, tally in tallies.items():
        faults = "; ".join(dict.fromkeys(tally.faults)) or "none"
        rows.append([name, *tally.kills.values(), tally.with_files, faults])
    table(["command", *SIGNALS, "files were there already", "differences, stack traces, left files"], rows)
    return not any(tally.faults for tally in tallies.values())


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, 140, show))
