"""Kills ranks, workers and the launcher of a small training at random moments; nobody helps it afterwards.

A run of 1, 2 or 3 ranks is started by torchrun's agent (``elastic_launch``, its processes forked from this one, where
torch is loaded). The agent restarts its ranks if one ends; if the agent itself ends, the same command is started
again, as a scheduler would. When the run has come to its end it is compared, bit for bit, with one of as many ranks
that nobody disturbed.

    python benchmarks/kill_ranks.py [--kills 60] [--seed 0] [--minutes 30]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import killing
from killing import CONFIG, differences, exit_code, printed_by, table, wait_for_partial
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from foundationx.apps.cli.main import main as command
from foundationx.core.workdir import WorkDir
from foundationx.phantoms.write import write_phantom_datasets

OPTIONS = ["schedule.cycles=4", "evaluate.every=1", "evaluate.final=[val]", "evaluate.models=[teacher]"]
OPTIONS += ["evaluate.examples=1", "runtime.checkpoint_every=2", "runtime.log_every=3", "runtime.workers=1"]
OPTIONS += ["runtime.batch_size=6"]
VICTIMS = {
    "first rank": signal.SIGKILL,
    "another rank": signal.SIGKILL,
    "worker that reads data": signal.SIGKILL,
    "launcher": signal.SIGKILL,
    "launcher, SIGTERM": signal.SIGTERM,
    "a rank, SIGUSR1": signal.SIGUSR1,
}
MOMENTS = ("any", "checkpoint", "evaluation", "report")
LONGEST = 900.0
"""Seconds after which a run that has not ended is taken to hang."""


@dataclass
class Tally:
    """What has been killed, when, and what was wrong afterwards."""

    kills: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    runs: int = 0
    starts: int = 0
    faults: list[str] = field(default_factory=list)


def _rank(arguments: list[str], folder: Path) -> None:
    """One rank: notes its process number and runs the command."""
    rank = os.environ["RANK"]
    (folder.parent / f"{folder.name}.rank{rank}.json").write_text(json.dumps(os.getpid()))
    code = exit_code(lambda: command(arguments), printed_by(folder), append=True)
    if code:
        sys.stdout.flush()
        os._exit(code)


def _launcher(ranks: int, arguments: list[str], folder: Path) -> None:
    """The agent of torchrun."""
    descriptor = os.open(folder.parent / f"{folder.name}.launcher.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.setsid()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"{folder.name}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=20,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(config, _rank)(arguments, folder)


def start(ranks: int, data: Path, folder: Path) -> BaseProcess:
    """Starts the one command."""
    arguments = ["train", str(CONFIG), "--data-root", str(data), "--work-dir", str(folder), "--cfg-options", *OPTIONS]
    process = multiprocessing.get_context("fork").Process(target=_launcher, args=(ranks, arguments, folder))
    process.start()
    return process


def wait_for(moment: str, running: BaseProcess, folder: Path, draw: random.Random, seconds: float) -> None:
    """Returns at a moment of a run, or when that does not come."""
    until = time.monotonic() + seconds
    if moment == "any":
        while running.is_alive() and time.monotonic() < until - draw.uniform(0, seconds):
            time.sleep(0.01)
    elif moment == "checkpoint":
        wait_for_partial(running, folder, until)
    else:
        metrics = folder / "metrics.json"
        before = metrics.stat().st_mtime_ns if metrics.exists() else 0
        while running.is_alive() and time.monotonic() < until:
            if moment == "evaluation" and WorkDir(folder).spill.exists():
                time.sleep(draw.uniform(0, 0.3))
                return
            if moment == "report" and metrics.exists() and metrics.stat().st_mtime_ns != before:
                time.sleep(draw.uniform(0, 0.5))
                return
            time.sleep(0.002)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def find(victim: str, running: BaseProcess, folder: Path, ranks: int, draw: random.Random) -> int | None:
    """The process to kill; None if there is none just now."""
    assert running.pid is not None
    if victim.startswith("launcher"):
        return running.pid
    number = 0 if victim == "first rank" else draw.randrange(ranks)
    if victim == "another rank":
        number = draw.randrange(1, ranks) if ranks > 1 else 0
    try:
        pid = json.loads((folder.parent / f"{folder.name}.rank{number}.json").read_text())
    except (OSError, ValueError):
        return None
    if pid not in children(running.pid):
        return None
    if victim == "worker that reads data":
        workers = children(pid)
        return draw.choice(workers) if workers else None
    return int(pid)


def kill_once(victim: str, moment: str, running: BaseProcess, folder: Path, ranks: int, draw: random.Random) -> bool:
    """Kills once; False if the moment or the victim did not come."""
    wait_for(moment, running, folder, draw, 12.0)
    pid = find(victim, running, folder, ranks, draw)
    if pid is None or not running.is_alive():
        return False
    try:
        os.kill(pid, VICTIMS[victim])
    except ProcessLookupError:
        return False
    return True


def disturbed_run(
    ranks: int, data: Path, folder: Path, plan: list[tuple[str, str]], draw: random.Random, tally: Tally
) -> None:
    """One run with a few kills; started again whenever its launcher ends with anything but success."""
    running, begun = start(ranks, data, folder), time.monotonic()
    tally.starts += 1
    while True:
        if plan and running.is_alive():
            victim, moment = plan[-1]
            if kill_once(victim, moment, running, folder, ranks, draw):
                plan.pop()
                tally.kills[victim, moment, ranks] += 1
                begun = time.monotonic()
        else:
            running.join(timeout=1.0)
        if running.exitcode is None:
            if time.monotonic() - begun > LONGEST:
                tally.faults.append(f"{folder.name} of {ranks} ranks hangs")
                running.kill()
                return
            continue
        if running.exitcode == 0:
            return
        running = start(ranks, data, folder)
        tally.starts += 1


def run(options: argparse.Namespace, folder: Path) -> bool:
    """Kills and prints the tables. Returns whether nothing differs."""
    data, draw, tally = folder / "data", random.Random(options.seed), Tally()
    write_phantom_datasets(data, 14, size=64, processes=1)
    combinations = [(victim, moment) for moment in MOMENTS for victim in VICTIMS]
    wanted = [combinations[number % len(combinations)] for number in range(options.kills)]
    draw.shuffle(wanted)
    until, whole = time.monotonic() + 60 * options.minutes, {}
    while wanted and time.monotonic() < until:
        ranks = 1 + tally.runs % 3
        if ranks not in whole:
            whole[ranks] = folder / f"undisturbed{ranks}"
            running = start(ranks, data, whole[ranks])
            running.join()
            assert running.exitcode == 0, printed_by(whole[ranks]).read_text()
        tally.runs += 1
        disturbed, count = folder / f"run{tally.runs}", min(len(wanted), draw.randint(3, 6))
        plan, wanted = wanted[:count], wanted[count:]
        disturbed_run(ranks, data, disturbed, plan, draw, tally)
        wanted += plan
        if not any(disturbed.name in fault for fault in tally.faults):  # else it hangs
            faults = faults_of(whole[ranks], disturbed)
            tally.faults += [f"{disturbed.name} of {ranks} ranks: {fault}" for fault in faults]
        print(f"\r{sum(tally.kills.values())} kills, {tally.runs} runs, {tally.faults}", end="", file=sys.stderr)
    print(file=sys.stderr)
    rows: list[list[object]] = []
    for victim in VICTIMS:
        at = [sum(n for (v, m, _), n in tally.kills.items() if (v, m) == (victim, moment)) for moment in MOMENTS]
        by_ranks = [sum(n for (v, _, r), n in tally.kills.items() if (v, r) == (victim, ranks)) for ranks in (1, 2, 3)]
        rows.append([victim, *at, *by_ranks])
    table(
        ["killed", "at any time", *(f"during {moment}" for moment in MOMENTS[1:]), *(f"{n} ranks" for n in (1, 2, 3))],
        rows,
    )
    print(f"\n{sum(tally.kills.values())} kills in {tally.runs} runs, whose command was started {tally.starts} times.")
    print(f"Differences, runs that hang, stack traces, left files: {'; '.join(tally.faults) or 'none'}.")
    return not tally.faults


def faults_of(undisturbed: Path, disturbed: Path) -> list[str]:
    """What is wrong with the end of a disturbed run."""
    faults = differences(undisturbed, disturbed)
    faults += [f"{path.name} is left" for path in disturbed.rglob("*.partial") if path.is_file()]
    printed = printed_by(disturbed).read_text()
    return faults + (["a stack trace: " + printed.partition("Traceback")[2][-600:]] if "Traceback" in printed else [])


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, 60, run, ("--minutes", 30.0)))
