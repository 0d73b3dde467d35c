"""Training from a configuration: data, model, plan, loop, and everything that watches it."""

from __future__ import annotations

import contextlib
import datetime
import functools
import pprint
import shlex
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from foundationx import __version__
from foundationx.apps.run.compile import compile_trainer
from foundationx.apps.run.data_notes import data_notes, with_applied_audit
from foundationx.apps.run.federated import EvaluateFederated, ExportClients
from foundationx.apps.run.filled import WriteFilled
from foundationx.apps.run.hooks import Display, EvaluateAndReport, ExportAtEnd
from foundationx.apps.run.provenance import provenance
from foundationx.apps.trackers import CloseTrackers, open_trackers
from foundationx.core import distributed
from foundationx.core.atomic_write import require_folder, write_atomically
from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device, set_cuda_arithmetic, use_machine
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.memory import is_freed_memory_kept
from foundationx.core.progress import print_tenths
from foundationx.core.strict_json import to_json
from foundationx.core.types import PhaseName, Split, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.balance import label_weights
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.loader import PlanSampler, SamplerSegment, make_loader
from foundationx.data.patient_splits import EARLIER, SPLITS, read_record
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import Checkpoint, checkpoints_in, newest_good_checkpoint
from foundationx.engine.federated import FederatedTrainer
from foundationx.engine.filling import Filling
from foundationx.engine.hooks import Hook, Incident
from foundationx.engine.logs import JsonLog
from foundationx.engine.progress import Progress
from foundationx.engine.resume import Change, Resume, taken_changes
from foundationx.engine.schedule.plan import Plan, build_plan
from foundationx.engine.trainer import Trainer
from foundationx.evaluation.trivial import learn_trivial
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import group_sizes
from foundationx.tasks.base import Head
from foundationx.weights.exports.backbone import load_backbone
from foundationx.weights.imports.continual import load_run
from foundationx.weights.imports.imported import HEADS, load_heads

PATIENCE = 30.0
"""Seconds that a run waits for another one in its work directory, which may be about to stop."""


def build_model(config: RunConfig, data_module: DataModule, device: torch.device | str) -> FoundationModel:
    """The student, seeded, with the weights that the configuration names."""
    torch.manual_seed(config.runtime.seed)
    model = FoundationModel(config.model, data_module.classes)
    begin_heads(model, data_module)
    load_initial_weights(model)
    return model.to(device)


def begin_heads(model: FoundationModel, data_module: DataModule, keys: Collection[TaskKey] | None = None) -> None:
    """Heads begin where the annotations of their training images say: priors of classes, weights of losses, poses.

    Args:
        model: As it was made; loaded weights come after.
        data_module: Datasets of heads of the model.
        keys: Heads that begin; all of the datasets by default.
    """
    annotated = [key for key in data_module.annotations if key.task.facts.needs_annotations]
    chosen = [key for key in annotated if keys is None or key in keys]
    if not chosen:
        return
    _show_labels(model, data_module, chosen)
    _show_trivial(model, data_module, [key for key in chosen if model.head(key).begins_at_trivial])


def _show_labels(model: FoundationModel, data_module: DataModule, keys: Iterable[TaskKey]) -> None:
    """Shows every head the labels of its training images, and how often each is drawn."""
    weights = _weights(data_module.config, data_module)
    shown: dict[Head, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for key in keys:
        labels = data_module.annotations[key].labels[data_module.indices[key][Split.TRAIN]]
        drawn = weights.get(key, np.ones(len(labels)))
        shown.setdefault(model.head(key), []).append((labels, drawn, np.full(len(labels), key.dataset)))
    for head, of_datasets in shown.items():
        head.see_labels(*(np.concatenate(parts) for parts in zip(*of_datasets, strict=True)))


def _show_trivial(model: FoundationModel, data_module: DataModule, keys: Collection[TaskKey]) -> None:
    """Shows heads that begin there what training annotations say of an image that nobody has looked at.

    The first process reads them, so that all begin at the same to the bit.
    """
    if not keys:
        return
    learned = distributed.from_main(learn_trivial(data_module, keys) if distributed.is_main_process() else None)
    for key in keys:
        by_class = learned.get(str(key), {})
        model.head(key).see_trivial([by_class.get(name) for name in model.classes[key]])


def load_initial_weights(model: FoundationModel) -> None:
    """Loads ``model.init``, ``model.init_run`` and ``model.init_heads`` of the model's configuration, if they are set.

    Raises:
        ConfigError: ``init_heads`` is set without ``init``.
    """
    config = model.config
    if config.init is not None:
        load_backbone(model.backbone.net, config.init)
    if config.init_run is not None:
        model.origin = load_run(model, config.init_run)
    if config.init_heads:
        if config.init is None:
            found, expected = "is set, model.init is not", "the backbone that the heads belong to"
            raise ConfigError("model.init_heads", found, expected, "set model.init to the imported backbone")
        load_heads(model, config.init.with_name(HEADS), config.init_heads)


def plan_loader(
    config: RunConfig, data_module: DataModule, plan: Plan, device: torch.device | str, step: int
) -> DataLoader:
    """A loader of the plan's batches from ``step`` on, each as often as it is read."""
    segments = plan_segments(plan)
    indices = {key: splits[Split.TRAIN] for key, splits in data_module.indices.items()}
    batch_size, seed = config.runtime.batch_size, config.runtime.seed
    ranks = (distributed.rank(), distributed.world_size())
    sampler = PlanSampler(segments, indices, batch_size, seed, step, *ranks, weights=_weights(config, data_module))
    on_cuda = torch.device(device).type == "cuda"
    return make_loader(data_module.training(), sampler, config.runtime.workers, pin_memory=on_cuda)


def _weights(config: RunConfig, data_module: DataModule) -> dict[TaskKey, np.ndarray]:
    """How often each training image is drawn, by head; none if images are shuffled."""
    if config.schedule.balance == "none":
        return {}
    return {
        key: label_weights(table.labels[data_module.indices[key][Split.TRAIN]])
        for key, table in data_module.annotations.items()
        if key.task.facts.needs_annotations
    }


def plan_segments(plan: Plan) -> list[SamplerSegment]:
    """What each phase reads. Phases of one head, cycle and name share a pass: together they see an image once."""
    segments: list[SamplerSegment] = []
    passes: dict[tuple[TaskKey, int, PhaseName], tuple[int, int]] = {}
    for number, phase in enumerate(plan.phases):
        stream, used = passes.get((phase.key, phase.cycle, phase.name), (number, 0))
        passes[phase.key, phase.cycle, phase.name] = (stream, used + phase.reads)
        segments.append(SamplerSegment(phase.key, phase.first_step, phase.reads, stream, used))
    return segments


def build_trainer(
    config: RunConfig,
    data_module: DataModule,
    plan: Plan,
    model: FoundationModel,
    folder: WorkDir,
    optimizer: torch.optim.Optimizer | None = None,
) -> Trainer:
    """The loop of a configuration: federated or not, compiled or not; it has no hooks yet.

    Args:
        config: Configuration of the run.
        data_module: Datasets of the run.
        plan: What is trained when.
        model: Student, on its device.
        folder: Work directory; checkpoints go there.
        optimizer: Optimizer of the model's parameters; built by the configuration if it is None.

    Raises:
        ConfigError: The model cannot be compiled here.
    """
    device = next(model.parameters()).device
    set_cuda_arithmetic(config.runtime.cuda, device)
    loader = functools.partial(plan_loader, config, data_module, plan, device)
    kind = FederatedTrainer if config.federation is not None else Trainer
    trainer = kind(config, model, plan, loader, folder.checkpoints, optimizer=optimizer)
    if config.filling is not None:
        trainer.filling = Filling(config.filling, data_module, model)
    compile_trainer(trainer, plan)
    trainer.add_bad_samples(data_module.bad)
    return trainer


@dataclass(frozen=True)
class Start:
    """How a run begins or goes on.

    Attributes:
        data_root: Folder that holds the datasets.
        folder: Work directory.
        config_file: File that the configuration was read from.
        resume: What is done about a run that the work directory holds already.
        more_cycles: Cycles beyond those of the configuration, for a run that has finished.
    """

    data_root: Path
    folder: WorkDir
    config_file: Path | None = None
    resume: Resume = Resume.AUTO
    more_cycles: int = 0

    @property
    def own_command(self) -> str:
        """The command that goes on with the run of the work directory as it is."""
        stored = self.folder.root / "config.json"
        words = ["foundationx", "train", stored, "--data-root", self.data_root, "--work-dir", self.folder.root]
        return shlex.join(map(str, words))


def train(
    config: RunConfig,
    data_root: Path,
    work_dir: Path,
    *,
    config_file: Path | None = None,
    resume: Resume = Resume.AUTO,
    more_cycles: int = 0,
) -> bool:
    """Trains, evaluates, reports and exports; goes on if the work directory holds this very run.

    Args:
        config: Configuration of the run.
        data_root: Folder that holds the datasets.
        work_dir: Folder that the run writes to.
        config_file: File that the configuration was read from, for the record.
        resume: What is done about a run that the work directory holds already: going on is from its newest good
            checkpoint, or from the beginning if it was killed before its first one.
        more_cycles: Cycles beyond those of the configuration, for a run that has finished.

    Returns:
        False if training was asked to stop before its end.

    Raises:
        FoundationXError: Anything that the user can fix.
    """
    if more_cycles:
        longer = config.schedule.model_copy(update={"cycles": config.schedule.cycles + more_cycles})
        config = config.model_copy(update={"schedule": longer})
    start = Start(data_root, WorkDir(work_dir), config_file, resume, more_cycles)
    with distributed.init_process_group():
        _check_ranks_agree(config, work_dir)
        require_folder(work_dir)
        with start.folder.claimed(PATIENCE) if distributed.is_main_process() else contextlib.nullcontext():
            distributed.all_gather_object(None)  # no rank reads before an earlier job's first process has gone
            return _train(config, start)


def _check_ranks_agree(config: RunConfig, work_dir: Path) -> None:
    """Every rank needs images of a batch, and all must do the same run. Raises ConfigError and RankError."""
    _check_share(config)
    runs = distributed.all_gather_object((to_json(config.model_dump(mode="json")), str(work_dir.absolute())))
    for number, of_rank in enumerate(runs):
        if of_rank != runs[0]:
            found = f"process {number} has another configuration or work directory than process 0"
            fix = "start one command in all processes; for runs of their own: srun --ntasks 1"
            raise distributed.RankError(f"{len(runs)} processes", found, "one run", fix)


def _train(config: RunConfig, start: Start) -> bool:
    """As :func:`train`, on one rank of possibly several; the first one writes and talks."""
    folder = start.folder
    if start.resume is Resume.NEVER and folder.log.exists():
        fix = "leave out --resume never to go on, or choose another --work-dir"
        raise CheckpointError(str(folder.root), "holds a run already", "an empty work directory", fix)
    is_resumed = start.resume is not Resume.NEVER and folder.is_begun
    if not is_resumed and (start.resume is Resume.CHANGED or start.more_cycles):
        fix = "look at --work-dir, or leave --resume and --more-cycles out to begin"
        raise CheckpointError(str(folder.root), "holds no run", "a run that was begun", fix)
    device = pick_device(config.runtime.device)
    use_machine(config.runtime.workers)
    config = _with_exclusion(config, start.data_root, folder if is_resumed else None)
    record = read_record(folder.root) if is_resumed else None
    data_module = open_datasets(config, start.data_root, record=record)
    notes = data_notes(data_module, Catalog())
    data_module.fill_cache(print_tenths("cache"))
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    model = build_model(config, data_module, device)
    trainer = build_trainer(config, data_module, plan, model, folder)
    faults = resume_newest(trainer, folder, start) if is_resumed else []
    distributed.all_gather_object(None)  # no rank writes before all have read what is there
    if is_resumed and start.resume is Resume.AUTO and _is_complete(trainer, folder):
        if distributed.is_main_process():
            print(_complete_text(trainer, folder), flush=True)
        return True
    if not distributed.is_main_process():
        trainer.hooks.append(_evaluation(trainer, data_module, folder, Progress(Console(quiet=True))))
        return trainer.train()
    with Progress() as progress:
        for note in notes:
            progress.message(f"note: {note}")
        faults += _set_faults_aside(folder, trainer.step)
        trainer.hooks += _hooks(trainer, data_module, folder, progress)
        _write_facts(start, config, data_module, plan, model, device, is_resumed)
        folder.write_json("bad_samples.json", [asdict(entry) for entry in trainer.bad.values()])
        for fault in faults:
            trainer.report(fault)
        finished = trainer.train()
        if finished:
            folder.write_json("run.json", folder.read_json("run.json", {}) | {"complete": True})
        return finished


def _is_complete(trainer: Trainer, folder: WorkDir) -> bool:
    """Whether nothing is left to do for this very run: it is trained, evaluated, reported and exported."""
    is_trained = trainer.step == trainer.plan.total_steps and folder.read_json("run.json", {}).get("complete") is True
    return is_trained and folder.read_json("config.json") == trainer.config.model_dump(mode="json")


def _complete_text(trainer: Trainer, folder: WorkDir) -> str:
    return (
        f"{folder.root} holds this run, finished at step {trainer.step}: {folder.report}\n"
        f"to train it further: --more-cycles N; to evaluate it again: foundationx eval {folder.root}"
    )


def _with_exclusion(config: RunConfig, data_root: Path, resumed: WorkDir | None) -> RunConfig:
    """The configuration with the exclusion list of the data root's audit; a resumed run keeps the one it began with."""
    if resumed is None or config.exclude is not None:
        return with_applied_audit(config, data_root)
    begun_with = resumed.read_json("config.json", {}).get("exclude")
    is_there = begun_with and Path(begun_with).is_file()
    return config.model_copy(update={"exclude": Path(begun_with)}) if is_there else config


def write_splits(folder: WorkDir, data_module: DataModule) -> None:
    """The split of every patient of the run, and of those of earlier ones, for whatever goes on from it."""
    for name, splits in ((SPLITS, data_module.patients), (EARLIER, data_module.earlier)):
        if splits or (folder.root / name).exists():
            folder.write_json(name, {patient: split.value for patient, split in sorted(splits.items())})


def _hooks(trainer: Trainer, data_module: DataModule, folder: WorkDir, progress: Progress) -> list[Hook]:
    """Hooks of a run, in the order in which they are called."""
    trackers = open_trackers(trainer.config, folder, trainer.report)
    hooks: list[Hook] = [JsonLog(folder), Display(progress), *trackers]
    if trainer.filling is not None:
        hooks.append(WriteFilled(trainer.filling, trainer.model.classes, folder))
    hooks += [_evaluation(trainer, data_module, folder, progress), ExportAtEnd(trainer, folder, progress)]
    if isinstance(trainer, FederatedTrainer):
        hooks.append(ExportClients(trainer, folder, progress))
    return [*hooks, CloseTrackers(trackers)]


def _evaluation(trainer: Trainer, data_module: DataModule, folder: WorkDir, progress: Progress) -> EvaluateAndReport:
    """The hook that evaluates, which every rank has."""
    kind = EvaluateFederated if isinstance(trainer, FederatedTrainer) else EvaluateAndReport
    return kind(trainer, data_module, folder, progress)


def _check_share(config: RunConfig) -> None:
    """Every rank needs images; normalisation over a batch needs two of them. Raises ConfigError."""
    least = 2 * distributed.world_size() if distributed.world_size() > 1 else 1
    if config.runtime.batch_size < least:
        found = f"{config.runtime.batch_size} images for {distributed.world_size()} processes"
        raise ConfigError("runtime.batch_size", found, f"at least {least}", "raise it: it counts all processes' images")


def resume_newest(trainer: Trainer, folder: WorkDir, start: Start | None = None) -> list[Incident]:
    """Loads the newest good checkpoint of a work directory into a trainer.

    Args:
        trainer: Fresh trainer.
        folder: Work directory.
        start: How the run goes on; if None, keys that may change take effect.

    Returns:
        An incident for each newer checkpoint that cannot be read, and for each changed key that takes effect from here.

    Raises:
        CheckpointError: No checkpoint can be read, or it belongs to another configuration or to other data.
    """
    if folder.is_begun and not checkpoints_in(folder.root):
        return [Incident(0, "io", f"{folder.root} holds no checkpoint: the run starts from step 0")]
    taken: list[Change] = []

    def load(checkpoint: Checkpoint) -> None:
        taken[:] = _taken_changes(checkpoint, trainer, folder, start)
        trainer.resume(checkpoint)

    checkpoint, faults = newest_good_checkpoint(folder.root, load)
    used = f"step {checkpoint.step} is used instead"
    incidents = [Incident(checkpoint.step, "io", f"{fault.where}: {fault.found}; {used}") for fault in faults]
    from_here = f"from step {checkpoint.step} on"
    return incidents + [Incident(checkpoint.step, "changed", f"{change} {from_here}") for change in taken]


def _taken_changes(checkpoint: Checkpoint, trainer: Trainer, folder: WorkDir, start: Start | None) -> list[Change]:
    """The changed keys that take effect. Raises CheckpointError: a key was changed that cannot be, or a card."""
    if checkpoint.classes != trainer.model.classes:
        fix = f"resume with the run's own configuration, {folder.root}/config.json, and the same cards"
        raise CheckpointError(
            str(folder.root), "has other heads or classes", "those of the configuration and cards", fix
        )
    before, now, where = checkpoint.config, trainer.config, str(folder.root)
    if start is None:
        return taken_changes(before, now, where)
    more, ends = start.more_cycles > 0, checkpoint.progress.get("phase_ends") or [0]
    if more and before.schedule.cycles != now.schedule.cycles and checkpoint.step != ends[-1]:
        found = f"has done {checkpoint.step} of its {ends[-1]} steps"
        fix = f"finish it first: {start.own_command}; then give --more-cycles"
        raise CheckpointError(where, found, "a finished run, to train it further", fix)
    return taken_changes(before, now, where, resume=start.resume, more_cycles=more, go_on=start.own_command)


def _set_faults_aside(folder: WorkDir, step: int) -> list[Incident]:
    """Keeps damaged files of the work directory under other names; gives an incident for each."""
    faults = folder.set_faults_aside()
    return [Incident(step, "io", f"{name} {fault}: kept as {name}.damaged") for name, fault in faults.items()]


def _write_facts(
    start: Start,
    config: RunConfig,
    data_module: DataModule,
    plan: Plan,
    model: FoundationModel,
    device: torch.device,
    is_resumed: bool,
) -> None:
    """What the run is, before its first step."""
    folder, source = start.folder, start.config_file
    write_atomically(folder.root / "config.py", as_python(config, source))
    folder.write_json("config.json", config.model_dump(mode="json"))
    folder.write_json("plan.json", plan.as_json())
    folder.write_json("datasets.json", data_module.summary())
    write_splits(folder, data_module)
    started = folder.read_json("run.json", {}).get("started") if is_resumed else None
    facts = run_facts(config, model, device, source)
    folder.write_json("run.json", facts | ({"started": started} if started else {}))


def as_python(config: RunConfig, source: Path | None) -> str:
    """A resolved configuration as the text of a configuration file, which needs no other file."""
    values = config.model_dump(mode="json")
    lines = [f"{name} = {pprint.pformat(value, width=110, sort_dicts=False)}" for name, value in values.items()]
    return "\n".join([f"# resolved from {source or 'a configuration in memory'}", *lines, ""])


def run_facts(
    config: RunConfig, model: FoundationModel, device: torch.device, config_file: Path | None
) -> dict[str, Any]:
    """Name, time, device, size and origin of a run."""
    return provenance(config) | {
        "name": config.name,
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
        "finished": None,
        "version": __version__,
        "device": str(device),
        "freed_memory": "kept" if is_freed_memory_kept() else "given back",
        "parameters": group_sizes(model),
        "config_file": str(config_file) if config_file else None,
        "backbone": to_json(config.model.backbone),
        "begins_from": model.origin,
    }
