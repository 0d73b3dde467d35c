"""What may spoil a run, found before it starts: the machine's limits, and a trial of every phase of the plan.

The trial is a training of two steps a phase by the loop itself, in a temporary folder; the second step is timed.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from platform import python_version

import torch
from packaging.requirements import Requirement

from foundationx.apps.run.compile import compile_trainer
from foundationx.apps.run.data_notes import data_notes, with_applied_audit
from foundationx.apps.run.precision import WORTH_IT, bf16_gain
from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.config.run import RunConfig
from foundationx.core.device import computes_in_bf16, gpus, pick_device, usable_cores, use_machine
from foundationx.core.distribution import DISTRIBUTION, install_hint
from foundationx.core.errors import FoundationXError
from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import PhaseName, Split, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.schedule.need import more_steps, short_heads
from foundationx.engine.schedule.plan import Phase, Plan, build_plan
from foundationx.engine.trainer import Trainer

GIGABYTE = 1e9
LEAST_DISK, LEAST_SHARED, LEAST_FILES = 5 * GIGABYTE, 1 * GIGABYTE, 1024
"""What a machine should have free: bytes on the disk, bytes in /dev/shm, files that may be open."""

CAREFUL_SHARE = 0.9
"""Share of a memory above which a run may fail later, when a batch with more boxes comes."""

TRIAL_STEPS = 2
"""The first step of a phase makes buffers and is slow; the last one is timed."""


class Level(StrEnum):
    """How much a finding matters: not at all, perhaps, or the run will not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One line of the doctor: what was looked at, what was found, what can be done."""

    level: Level
    topic: str
    found: str
    fix: str = ""


def examine_machine(work_dir: Path) -> Iterator[Check]:
    """Versions, devices, cores, memory, disk, shared memory and open files."""
    yield from _versions()
    yield _devices()
    cores, threads = usable_cores(), os.environ.get("OMP_NUM_THREADS")
    yield Check(Level.OK, "cores", f"{cores}, OMP_NUM_THREADS {threads or 'not set'}")
    freed = "stays with a run (glibc)" if keep_freed_memory() else "goes back to the system: steps may take longer"
    yield Check(Level.OK, "freed memory", freed)
    yield _precision()
    folder = next(path for path in (work_dir.absolute(), *work_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    yield _enough("disk", free, LEAST_DISK, f"free in {folder}", "free disk space, or choose another --work-dir")
    if Path("/dev/shm").is_dir():
        shared = shutil.disk_usage("/dev/shm").free
        fix = "give the container more (docker run --shm-size=8g), or set runtime.workers=0"
        yield _enough("/dev/shm", shared, LEAST_SHARED, "free; workers hand batches over there", fix)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    level = Level.OK if files >= LEAST_FILES else Level.WARN
    yield Check(level, "open files", f"{files:,} allowed", "" if level is Level.OK else f"ulimit -n {LEAST_FILES}")


def _versions() -> Iterator[Check]:
    """Our own version and that of torch, and every package that we need and that is not there as we ask for it."""
    try:
        needed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield Check(Level.WARN, "versions", f"{DISTRIBUTION} is not installed: needs are not known", install_hint())
        return
    yield Check(Level.OK, "versions", f"{DISTRIBUTION} {version}, torch {torch.__version__}, Python {python_version()}")
    faults = list(package_faults([package for package in needed if not package.marker or package.marker.evaluate()]))
    yield from faults or [Check(Level.OK, "packages", "all are there as asked for")]


def package_faults(needed: Iterable[Requirement]) -> Iterator[Check]:
    """Packages that are missing or have a version that is not asked for."""
    for package in needed:
        try:
            version = metadata.version(package.name)
        except metadata.PackageNotFoundError:
            yield Check(Level.FAIL, package.name, "is not installed", f"pip install '{package}'")
            continue
        if not package.specifier.contains(version, prereleases=True):
            yield Check(Level.FAIL, package.name, f"version {version}", f"pip install '{package}'")


def _devices() -> Check:
    found = ", ".join(f"{gpu.name} with {gpu.total_memory / GIGABYTE:.0f} GB" for gpu in gpus())
    if not found:
        return Check(Level.WARN, "devices", "no CUDA: training on the CPU is for trials")
    return Check(Level.OK, "devices", found)


def _precision() -> Check:
    """What bf16 would bring on the device that a run takes by default."""
    device = pick_device("auto")
    gain = bf16_gain(device)
    found = f"a small step on {device.type} is {gain:.2f} times as fast as in fp32"
    if computes_in_bf16("auto", device):
        return Check(Level.OK, "bf16", f"{found}; runs take it by default")
    advice = "runtime.precision=bf16 saves time" if gain >= WORTH_IT else "runtime.precision=fp32 is as good"
    return Check(Level.OK, "bf16", f"{found}: {advice}")


def _enough(topic: str, free: float, least: float, words: str, fix: str) -> Check:
    level = Level.OK if free >= least else Level.WARN
    return Check(level, topic, f"{free / GIGABYTE:,.1f} GB {words}", "" if level is Level.OK else fix)


@dataclass(frozen=True)
class Timing:
    """Seconds of one step: computing, and reading its images by one process."""

    computing: float
    reading: float

    def per_step(self, workers: int) -> float:
        """Seconds of a step while ``workers`` processes read; without any, reading and computing take turns."""
        return max(self.computing, self.reading / workers) if workers else self.computing + self.reading


class _Stopwatch(Hook):
    """Keeps the last step's time of every head's lock and release phase, its loss, and what went wrong."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.timings: dict[tuple[TaskKey, PhaseName], Timing] = {}
        self.losses: dict[tuple[TaskKey, PhaseName], float] = {}
        self.incidents: list[Incident] = []

    def on_log(self, record: LogRecord) -> None:
        """After every step."""
        seconds = self.batch_size / record.images_per_second
        reading = record.data_wait * seconds
        self.timings[record.phase.key, record.phase.name] = Timing(seconds - reading, reading)
        self.losses[record.phase.key, record.phase.name] = record.losses["task"]

    def on_incident(self, incident: Incident) -> None:
        """A step that was left out, or a checkpoint that was not written."""
        self.incidents.append(incident)


def examine_run(config: RunConfig, data_root: Path, work_dir: Path) -> Iterator[Check]:
    """Data, plan, a trial of every phase, and what the whole plan will take."""
    try:
        device = pick_device(config.runtime.device)
        use_machine(config.runtime.workers)
        data_module = open_datasets(with_applied_audit(config, data_root), data_root)
        notes = data_notes(data_module, Catalog())
        plan = build_plan(config, data_module.sizes(Split.TRAIN))
        model = build_model(config, data_module, device)
    except FoundationXError as error:
        yield _fault("configuration", error)
        return
    yield Check(Level.OK, "plan", f"{plan.total_visits:,} visits, {plan.total_steps:,} steps on {device}")
    yield from (Check(Level.WARN, "data", note) for note in notes)
    yield from (
        Check(Level.WARN, f"{key}", found, more_steps(config.schedule, plan)) for key, found in short_heads(plan)
    )
    trial, short = _trial_config(config), trial_plan(plan)
    watch = _Stopwatch(config.runtime.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            trial,
            model,
            short,
            lambda step: plan_loader(trial, data_module, short, device, step),
            Path(folder),
            [watch],
        )
        try:
            compile_trainer(trainer, short)
            yield from (Check(Level.OK, "re-use", line) for line in list(trainer.features.describe(plan)))
            trainer.train()
        except FoundationXError as error:
            yield _fault("trial", error)
            return
        except torch.OutOfMemoryError as error:
            yield Check(Level.FAIL, "trial", str(error).split(". ")[0], "lower runtime.batch_size or image_size")
            return
        size = sum(path.stat().st_size for path in Path(folder).glob("*.pt"))
    yield from _trial_findings(config, watch)
    yield _time(config, plan, watch)
    yield _memory(device)
    yield _checkpoints(config, size, len(data_module.classes), work_dir)


def _fault(topic: str, error: FoundationXError) -> Check:
    expected = f" (expected: {error.expected})" if error.expected else ""
    return Check(Level.FAIL, topic, f"{error.where}: {error.found}{expected}", error.fix)


def _trial_config(config: RunConfig) -> RunConfig:
    """The same run, read by the main process so that reading can be timed, and logged every step."""
    changed = {"workers": 0, "log_every": 1, "checkpoint_every": None, "checkpoint_minutes": None}
    return config.model_copy(update={"runtime": config.runtime.model_copy(update=changed)})


def trial_plan(plan: Plan) -> Plan:
    """The first lock and the first release phase of every head, two steps each, one after the other; no batch twice."""
    firsts: dict[tuple[TaskKey, PhaseName], Phase] = {}
    for phase in plan.phases:
        firsts.setdefault((phase.key, phase.name), phase)

    def shortened(phase: Phase, position: int) -> Phase:
        first = TRIAL_STEPS * position
        return replace(phase, first_step=first, steps=TRIAL_STEPS, closes_visit=False, closes_cycle=False, uses=1)

    return Plan(tuple(shortened(phase, position) for position, phase in enumerate(firsts.values())))


def _trial_findings(config: RunConfig, watch: _Stopwatch) -> Iterator[Check]:
    """A line a phase, then what went wrong."""
    workers = config.runtime.workers
    for (key, name), timing in watch.timings.items():
        found = (
            f"{timing.computing:.2f} s computing, {timing.reading:.2f} s reading, loss {watch.losses[key, name]:.3f}"
        )
        waits = workers > 0 and timing.reading / workers > timing.computing
        fix = f"the device will wait for {workers} workers: raise runtime.workers" if waits else ""
        yield Check(Level.WARN if waits else Level.OK, f"{key} {name.value}", found, fix)
    for incident in watch.incidents:
        yield Check(Level.FAIL, "trial", str(incident), "look at these images and at optimizer.lr")


def _time(config: RunConfig, plan: Plan, watch: _Stopwatch) -> Check:
    """Time of all training steps, as the trial went."""
    minutes = plan_seconds(plan, watch.timings, config.runtime.workers) / 60
    took = f"about {minutes / 60:,.1f} hours" if minutes >= 60 else f"about {minutes:.1f} minutes"
    return Check(Level.OK, "time", f"{took} for {plan.total_steps:,} steps; evaluation comes on top")


def plan_seconds(plan: Plan, timings: dict[tuple[TaskKey, PhaseName], Timing], workers: int) -> float:
    """Seconds of all steps of a plan; phases without a timing are left out."""
    known = (phase for phase in plan.phases if (phase.key, phase.name) in timings)
    return sum(phase.steps * timings[phase.key, phase.name].per_step(workers) for phase in known)


def _memory(device: torch.device) -> Check:
    """The most memory that the trial took, beside what there is."""
    if device.type == "cuda":
        most, there = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    else:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    level = Level.OK if most < CAREFUL_SHARE * there else Level.WARN
    found = f"{most / GIGABYTE:.1f} of {there / GIGABYTE:.1f} GB on {device.type} at most"
    return Check(level, "memory", found, "" if level is Level.OK else "lower runtime.batch_size")


def _checkpoints(config: RunConfig, size: int, heads: int, work_dir: Path) -> Check:
    """Room for the newest checkpoints, one more while it is written, and at worst one for every head's best."""
    folder = next(path for path in (work_dir.absolute(), *work_dir.absolute().parents) if path.exists())
    free, most = shutil.disk_usage(folder).free, config.runtime.keep_checkpoints + 1 + heads
    least = config.runtime.keep_checkpoints + 1
    level = Level.OK if free >= most * size else Level.WARN if free >= least * size else Level.FAIL
    found = f"{size / 1e6:,.1f} MB each, at most {most} at a time, {free / GIGABYTE:,.1f} GB free"
    return Check(level, "checkpoints", found, "" if level is Level.OK else "free disk space")
