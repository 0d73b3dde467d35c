"""Kills ranks, workers and launchers of a small training at random moments; nobody helps it afterwards.

A run of 1, 2 or 3 ranks is started by torchrun's agent (``elastic_launch``, its processes forked from this one, where
everything that a run imports is loaded), by submitit's executor ``local``, or by Ray Train with two workers as people
start it. Agent and Ray restart their ranks if one ends; if the launcher itself ends, the same command is started again,
as a scheduler would. A run that has ended is compared, bit for bit, with one of as many ranks that nobody
disturbed.

    python benchmarks/kill_ranks.py [--kills 60] [--submitit 0] [--ray 0] [--seed 0] [--minutes 30]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import killing
import psutil
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
OF_SUBMITIT = {"command": signal.SIGKILL, "command, SIGTERM": signal.SIGTERM, "whole job": signal.SIGKILL}
OF_RAY = {"a worker of Ray": signal.SIGKILL, "Ray with all workers": signal.SIGKILL}
SIGNALS = VICTIMS | OF_SUBMITIT | OF_RAY
ELASTIC, SUBMITIT, RAY = "torchrun", "submitit", "Ray"
RAY_WORKERS = 2
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


def modules_of(folder: Path) -> Path:
    """File with the modules that a run has imported."""
    return folder.parent / f"{folder.name}.modules.json"


def _rank(arguments: list[str], folder: Path) -> None:
    """One rank: notes its process number and runs the command."""
    rank = os.environ["RANK"]
    (folder.parent / f"{folder.name}.rank{rank}.json").write_text(json.dumps(os.getpid()))
    before = set(sys.modules)
    code = exit_code(lambda: command(arguments), printed_by(folder), append=True)
    if code:
        sys.stdout.flush()
        os._exit(code)
    modules_of(folder).write_text(json.dumps([name for name in sys.modules if name not in before]))


def _launcher(ranks: int, arguments: list[str], folder: Path) -> None:
    """The agent of torchrun."""
    _print_to(folder)
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


def _submitit(ranks: int, arguments: list[str], folder: Path) -> None:
    """Submits the command to submitit's executor on this machine, and waits for it."""
    import submitit

    _print_to(folder)
    executor = submitit.LocalExecutor(folder=folder.parent / f"{folder.name}.jobs")
    executor.update_parameters(timeout_min=60)
    command = [sys.executable, "-m", "foundationx.apps.cli.main", *arguments]
    executor.submit(submitit.helpers.CommandFunction(command, verbose=False)).result()


def _ray(ranks: int, arguments: list[str], folder: Path) -> None:
    """Becomes Ray's launcher, as people start it."""
    _print_to(folder)
    words = [sys.executable, "-m", "foundationx.apps.launch.ray_train", "--workers", str(ranks), "--here"]
    words += ["--storage", str(folder.parent / f"{folder.name}.ray"), "--", *arguments[1:]]
    os.execv(sys.executable, words)


def _print_to(folder: Path) -> None:
    """What this process prints goes to the launcher's file."""
    descriptor = os.open(folder.parent / f"{folder.name}.launcher.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


LAUNCHERS = {ELASTIC: _launcher, SUBMITIT: _submitit, RAY: _ray}


def start(ranks: int, data: Path, folder: Path, launcher: str = ELASTIC) -> BaseProcess:
    """Starts the one command."""
    arguments = ["train", str(CONFIG), "--data-root", str(data), "--work-dir", str(folder), "--cfg-options", *OPTIONS]
    process = multiprocessing.get_context("fork").Process(target=LAUNCHERS[launcher], args=(ranks, arguments, folder))
    process.start()
    return process


def load_what_a_run_imports(modules: Path) -> None:
    """Imports here what a run has imported, so that the processes forked from now on need not: half of their time.

    Our own modules come first: they load mmdet and mmseg without the parts that need a compiler, and those
    fail by themselves.
    """
    names = sorted(json.loads(modules.read_text()), key=lambda name: (not name.startswith("foundationx"), name))
    for name in names:
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            importlib.import_module(name)


def wait_for(moment: str, running: BaseProcess, folder: Path, draw: random.Random, seconds: float) -> None:
    """Returns at a moment of a run, or when that does not come."""
    until = time.monotonic() + seconds
    if moment == "any":
        until -= draw.uniform(0, seconds)
        while running.is_alive() and time.monotonic() < until:
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


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def named(pid: int, *words: str) -> list[int]:
    """Processes below a process whose command line holds all words."""
    found = []
    for process in descendants(pid):
        try:
            line = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if all(word in line for word in words):
            found.append(process.pid)
    return found


def find(victim: str, running: BaseProcess, folder: Path, ranks: int, draw: random.Random) -> list[int]:
    """The processes to kill; none if there is none just now."""
    assert running.pid is not None
    if victim in ("whole job", "Ray with all workers"):
        return [running.pid, *(process.pid for process in descendants(running.pid))]
    if victim in OF_SUBMITIT:
        return named(running.pid, "foundationx.apps.cli.main", str(folder))[:1]
    if victim in OF_RAY:
        workers = named(running.pid, "RayTrainWorker")
        return [draw.choice(workers)] if workers else []
    if victim.startswith("launcher"):
        return [running.pid]
    number = 0 if victim == "first rank" else draw.randrange(ranks)
    if victim == "another rank":
        number = draw.randrange(1, ranks) if ranks > 1 else 0
    try:
        pid = json.loads((folder.parent / f"{folder.name}.rank{number}.json").read_text())
    except (OSError, ValueError):
        return []
    if pid not in children(running.pid):
        return []
    if victim == "worker that reads data":
        workers = children(pid)
        return [draw.choice(workers)] if workers else []
    return [int(pid)]


def kill_once(victim: str, moment: str, running: BaseProcess, folder: Path, ranks: int, draw: random.Random) -> bool:
    """Kills once; False if the moment or the victim did not come."""
    wait_for(moment, running, folder, draw, 12.0 if victim in VICTIMS else 60.0)
    pids = find(victim, running, folder, ranks, draw)
    if not pids or not running.is_alive():
        return False
    killed = False
    for pid in pids:
        try:
            os.kill(pid, SIGNALS[victim])
            killed = True
        except ProcessLookupError:
            continue
    return killed


def disturbed_run(
    launcher: str,
    ranks: int,
    data: Path,
    folder: Path,
    plan: list[tuple[str, str]],
    draw: random.Random,
    tally: Tally,
) -> None:
    """One run with a few kills; started again whenever its launcher ends with anything but success."""
    running, begun = start(ranks, data, folder, launcher), time.monotonic()
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
                for pid in [*(process.pid for process in descendants(running.pid or 0)), running.pid or 0]:
                    os.kill(pid, signal.SIGKILL)
                return
            continue
        if running.exitcode == 0:
            return
        running = start(ranks, data, folder, launcher)
        tally.starts += 1


def wanted_kills(options: argparse.Namespace, draw: random.Random) -> dict[str, list[tuple[str, str]]]:
    """Victims and moments by launcher, in the order of the draw."""
    counts = {SUBMITIT: (options.submitit, OF_SUBMITIT), RAY: (options.ray, OF_RAY)}
    counts[ELASTIC] = (options.kills - options.submitit - options.ray, VICTIMS)
    wanted = {}
    for launcher, (count, victims) in counts.items():
        moments = MOMENTS if launcher == ELASTIC else MOMENTS[:3]
        combinations = [(victim, moment) for moment in moments for victim in victims]
        wanted[launcher] = [combinations[number % len(combinations)] for number in range(count)]
        draw.shuffle(wanted[launcher])
    return wanted


def run(options: argparse.Namespace, folder: Path) -> bool:
    """Kills and prints the tables. Returns whether nothing differs."""
    data, draw, tally = folder / "data", random.Random(options.seed), Tally()
    write_phantom_datasets(data, 14, size=64, processes=1)
    wanted = wanted_kills(options, draw)
    until, whole = time.monotonic() + 60 * options.minutes, dict[int, Path]()
    while any(wanted.values()) and time.monotonic() < until:
        launcher = max(wanted, key=lambda name: (len(wanted[name]) and name != ELASTIC, len(wanted[name])))
        ranks = {SUBMITIT: 1, RAY: RAY_WORKERS, ELASTIC: 1 + tally.runs % 3}[launcher]
        if ranks not in whole:
            whole[ranks] = folder / f"undisturbed{ranks}"
            running = start(ranks, data, whole[ranks])
            running.join()
            assert running.exitcode == 0, printed_by(whole[ranks]).read_text()
            load_what_a_run_imports(modules_of(whole[ranks]))
        tally.runs += 1
        kills = wanted[launcher]
        disturbed, count = folder / f"run{tally.runs}", min(len(kills), draw.randint(4, 8))
        plan, wanted[launcher] = kills[:count], kills[count:]
        disturbed_run(launcher, ranks, data, disturbed, plan, draw, tally)
        wanted[launcher] += plan
        if not any(disturbed.name in fault for fault in tally.faults):  # else it hangs
            faults = faults_of(whole[ranks], disturbed)
            tally.faults += [f"{disturbed.name} of {ranks} ranks by {launcher}: {fault}" for fault in faults]
        print(f"\r{sum(tally.kills.values())} kills, {tally.runs} runs, {tally.faults}", end="", file=sys.stderr)
    print(file=sys.stderr)
    print_tally(tally)
    return not tally.faults


def print_tally(tally: Tally) -> None:
    """The table of docs/resilience.md, and what it took."""
    rows: list[list[object]] = []
    for launcher, victims in ((ELASTIC, VICTIMS), (SUBMITIT, OF_SUBMITIT), (RAY, OF_RAY)):
        for victim in victims:
            of_victim = {key[1:]: n for key, n in tally.kills.items() if key[0] == victim}
            at = [sum(n for (moment, _), n in of_victim.items() if moment == wanted) for wanted in MOMENTS]
            by_ranks = [sum(n for (_, ranks), n in of_victim.items() if ranks == wanted) for wanted in (1, 2, 3)]
            rows += [[launcher, victim, *at, *by_ranks]] if of_victim else []
    during = [f"during {moment}" for moment in MOMENTS[1:]]
    table(["started by", "killed", "at any time", *during, "1 rank", "2 ranks", "3 ranks"], rows)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (used.ru_utime + used.ru_stime) / 60
    print(f"\n{sum(tally.kills.values())} kills in {tally.runs} runs, whose command was started {tally.starts} times;")
    print(f"{minutes:.1f} minutes of processor time (without Ray's own processes).")
    print(f"Differences, runs that hang, stack traces, left files: {'; '.join(tally.faults) or 'none'}.")


def faults_of(undisturbed: Path, disturbed: Path) -> list[str]:
    """What is wrong with the end of a disturbed run."""
    faults = differences(undisturbed, disturbed)
    faults += [f"{path.name} is left" for path in disturbed.rglob("*.partial") if path.is_file()]
    printed = printed_by(disturbed).read_text() if printed_by(disturbed).exists() else ""
    return faults + (["a stack trace: " + printed.partition("Traceback")[2][:2000]] if "Traceback" in printed else [])


if __name__ == "__main__":
    sys.exit(killing.main(__doc__, 60, run, ("--submitit", 0), ("--ray", 0), ("--minutes", 30.0)))
