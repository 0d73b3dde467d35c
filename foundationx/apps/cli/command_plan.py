"""``foundationx plan``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from foundationx.apps.cli.options import add_config, parse_options, wide_console

if TYPE_CHECKING:  # the help must not load them
    from foundationx.core.config.run import RunConfig
    from foundationx.core.types import PhaseName, TaskKey
    from foundationx.data.datamodule import DataModule
    from foundationx.engine.schedule.plan import Phase, Plan
    from foundationx.models.foundation_model import FoundationModel

HELP = "print the plan of visits of a configuration; trains nothing"
EXAMPLE = "foundationx plan quickstart/phantom --data-root data/phantoms"

TEXTS = ("head", "phase", "trains")
COLUMNS = ("visit", "head", "phase", "images", "steps", "reads", "trains", "consistency", "teacher")
"""Columns of the table; ``TEXTS`` are those that hold no numbers. With ``--parameters`` there is one more."""

SUMMARY = ("task", "heads", "training images", "images looked at", "steps", "share of steps", "fewest steps of a head")
"""Columns of the table of the whole run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_config(parser)
    parser.add_argument("--all", action="store_true", help="show every cycle, not only the first")
    text = "count the parameters that each phase trains, too: builds the network, which takes seconds"
    parser.add_argument("--parameters", action="store_true", help=text)


def run(options: argparse.Namespace) -> None:
    """Prints the plan."""
    from foundationx.apps.run.data_notes import data_notes, with_applied_audit
    from foundationx.core.config.load import load_config
    from foundationx.core.types import Split
    from foundationx.data.datamodule import open_datasets
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.engine.schedule.need import more_steps, short_heads
    from foundationx.engine.schedule.plan import build_plan
    from foundationx.models.parameter_groups import group_sizes

    config = load_config(options.config, parse_options(options.cfg_options))
    data_module = open_datasets(with_applied_audit(config, options.data_root), options.data_root)
    notes = data_notes(data_module, Catalog())
    plan = build_plan(config, data_module.sizes(Split.TRAIN))
    reused = any(phase.uses > 1 for phase in plan.phases)
    model = _network(config, data_module) if options.parameters or reused else None
    by_group = group_sizes(model) if model is not None and options.parameters else None
    table = _table(plan, config, by_group, every_cycle=options.all)
    console = wide_console()
    console.print(table)
    console.print(_summary(plan, config, data_module.sizes(Split.TRAIN)))
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for key, found in short_heads(plan):
        fix = more_steps(config.schedule, plan)
        console.print(f"[bold red]too few steps[/]: {key}: {found}; {fix}", highlight=False, soft_wrap=True)
    if not options.all and config.schedule.cycles > 1:
        console.print(f"cycle 1 of {config.schedule.cycles}; --all prints every cycle")
    if by_group is not None:
        console.print(f"parameters: {sum(by_group.values()):,}")
    if model is not None and reused:
        for line in _reuse(config, model, plan):
            console.print(line)


def _network(config: RunConfig, data_module: DataModule) -> FoundationModel:
    """The network, with random weights: only what needs it waits for torch and the backbone's library."""
    from foundationx.models.foundation_model import FoundationModel

    return FoundationModel(config.model, data_module.classes)


def _reuse(config: RunConfig, model: FoundationModel, plan: Plan) -> Iterator[str]:
    """What lock phases keep of the frozen part, by looking at an image with the network."""
    from foundationx.data.normalise import Normaliser
    from foundationx.engine.feature_cache import FeatureCache

    return FeatureCache(config, model, Normaliser(config.model, "cpu")).describe(plan)


def _table(plan: Plan, config: RunConfig, by_group: Mapping[str, int] | None, every_cycle: bool) -> Table:
    """One row per head and kind of phase in a cycle: how many images and steps in how many visits, what is trained."""
    table = Table(title=f"{config.name}: {plan.total_visits} visits, {plan.total_steps:,} steps")
    for column in COLUMNS if by_group is None else (*COLUMNS, "parameters"):
        table.add_column(column, justify="left" if column in TEXTS else "right", no_wrap=column != "trains")
    for phases in _alike(plan, every_cycle):
        phase, visits = phases[0], dict.fromkeys(str(one.visit) for one in phases)
        steps, reads = sum(one.steps for one in phases), sum(one.reads for one in phases)
        table.add_row(
            next(iter(visits)) if len(visits) == 1 else f"{next(iter(visits))}, ... ({len(visits)} turns)",
            str(phase.key),
            phase.name.value,
            f"{steps * config.runtime.batch_size:,}",
            f"{steps:,}",
            f"{reads:,}",
            ", ".join("head" if group.startswith("head.") else group for group in phase.trainable),
            f"{phase.consistency:.3f}",
            "-" if phase.momentum is None else f"m={phase.momentum:.3f}",
            *([] if by_group is None else [f"{sum(by_group.get(group, 0) for group in phase.trainable):,}"]),
            end_section=phase.closes_visit,
        )
    return table


def _summary(plan: Plan, config: RunConfig, sizes: Mapping[TaskKey, int]) -> Table:
    """One row per task for all cycles, and one for all tasks.

    Args:
        plan: What is trained when.
        config: Configuration of the run.
        sizes: Training images of each head.
    """
    steps = dict.fromkeys(sizes, 0)
    for phase in plan.phases:
        steps[phase.key] += phase.steps
    table = Table(title=f"the whole run: {len(sizes):,} heads of {len({key.dataset for key in sizes}):,} datasets")
    for column in SUMMARY:
        table.add_column(column, justify="left" if column == "task" else "right")
    tasks = dict.fromkeys(key.task for key in sizes)
    rows = {task.value: [key for key in sizes if key.task is task] for task in tasks} | {"all": list(sizes)}
    for name, keys in rows.items():
        own = sum(steps[key] for key in keys)
        images, looked_at = sum(sizes[key] for key in keys), own * config.runtime.batch_size
        share = f"{own / max(plan.total_steps, 1):.1%}"
        numbers = (f"{images:,}", f"{looked_at:,}", f"{own:,}", share, f"{min(steps[key] for key in keys):,}")
        table.add_row(name, f"{len(keys):,}", *numbers, style="bold" if name == "all" else None)
    return table


def _alike(plan: Plan, every_cycle: bool) -> list[list[Phase]]:
    """Phases of one head, kind and cycle together, in the order of their first ones."""
    groups: dict[tuple[int, TaskKey, PhaseName], list[Phase]] = {}
    for phase in plan.phases:
        if phase.cycle == 1 or every_cycle:
            groups.setdefault((phase.cycle, phase.key, phase.name), []).append(phase)
    return list(groups.values())
