"""What the three benchmarks share that kill this program: processes, moments, comparisons and their command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import torch

from foundationx.apps.cli.main import STOPPED
from foundationx.core.atomic_write import PARTIAL
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.models import foundation_model as model  # noqa: F401  (loaded once, here, for all runs)

CONFIG = Path(__file__).resolve().parents[1] / "tests" / "helpers" / "tiny_config.py"
SPEEDS = ("images_per_second", "data_wait")
"""Of a row of the log; they differ from run to run."""


def printed_by(folder: Path) -> Path:
    """File that a run's output goes to."""
    return folder.with_suffix(".txt")


def exit_code(call: Callable[[], int], printed: Path, append: bool = False) -> int:
    """Calls a command in a forked process, with what it prints in a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin by ignoring it
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        return call()
    except KeyboardInterrupt:
        return STOPPED


def wait_for_partial(running: BaseProcess, folder: Path, until: float = float("inf")) -> bool:
    """Waits until a checkpoint is being written; False if the run has ended before, or the time is over."""
    while running.is_alive() and time.monotonic() < until:
        try:
            if any(entry.name.endswith(PARTIAL) for entry in os.scandir(WorkDir(folder).checkpoints)):
                return True
        except FileNotFoundError:
            time.sleep(0.001)
    return False


def wait_for_processor_time(running: BaseProcess, seconds: float) -> None:
    """Returns when the run has computed so long, or has ended: however busy the machine is, it has come as far."""
    ticks = os.sysconf("SC_CLK_TCK")
    while running.is_alive():
        fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks >= seconds:
            return
        time.sleep(0.002)


def differences(one: Path, two: Path) -> list[str]:
    """What differs between the results of two runs."""
    first, second = load_checkpoint(one), load_checkpoint(two)
    result = [] if first.step == second.step else ["step"]
    for name in ("student", "teacher"):
        ours, theirs = getattr(first, name), getattr(second, name)
        result += [f"{name} {key}" for key in ours if not torch.equal(ours[key], theirs[key])]
    states = first.optimizer["state"], second.optimizer["state"]
    result += [f"optimizer {key} is missing" for key in sorted(states[0].keys() ^ states[1].keys())]
    for key in states[0].keys() & states[1].keys():
        state, theirs = states[0][key], states[1][key]
        result += [f"optimizer {key} {name}" for name in state if not torch.equal(state[name], theirs[name])]
    logs = [[{k: v for k, v in row.items() if k not in SPEEDS} for row in WorkDir(f).read_log()] for f in (one, two)]
    result += ["log.jsonl"] if logs[0] != logs[1] else []
    reported = [[row for row in WorkDir(f).read_incidents() if row["kind"] != "io"] for f in (one, two)]
    result += ["incidents.jsonl"] if reported[0] != reported[1] else []
    for name in ("metrics.json", "curves.json", "best.json"):
        result += [name] if (one / name).read_text() != (two / name).read_text() else []
    return result


def main(text: str, kills: int, run: Callable[[argparse.Namespace, Path], bool], *further: tuple[str, Any]) -> int:
    """The command line of such a benchmark.

    Args:
        text: Its docstring.
        kills: Number of kills by default.
        run: Kills and prints tables, given the options and a folder; returns whether nothing differs.
        further: Names of further options, with their defaults.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and their order")
    for name, default in further:
        parser.add_argument(name, type=type(default), default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return int(not run(options, Path(folder)))


def table(columns: list[str], rows: list[list[object]]) -> None:
    """Prints a markdown table."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    sys.stdout.flush()
