"""Profile of a configuration: a few steps of the first phase of each kind, a table, and a trace of each."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from foundationx.apps.run.train import build_model, plan_loader
from foundationx.core.atomic_write import write_json
from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device, use_machine
from foundationx.core.types import PhaseName, Split, Task
from foundationx.data.datamodule import open_datasets
from foundationx.engine.profile import PARTS, STEPS, PhaseProfile, profile_phases
from foundationx.engine.progress import Progress
from foundationx.engine.schedule.plan import Plan, build_plan
from foundationx.engine.trainer import Trainer

FILE = "profile.json"


def profile_run(config: RunConfig, data_root: Path, folder: Path) -> list[PhaseProfile]:
    """Profiles training by a configuration; prints a table and writes ``profile.json`` and traces into ``folder``.

    Raises:
        FoundationXError: anything that the user can fix.
    """
    device = pick_device(config.runtime.device)
    use_machine(config.runtime.workers)
    data_module = open_datasets(config, data_root)
    data_module.fill_cache()
    plan = short_plan(build_plan(config, data_module.sizes(Split.TRAIN)))
    loader = functools.partial(plan_loader, config, data_module, plan, device)
    trainer = Trainer(config, build_model(config, data_module, device), plan, loader, folder)
    with Progress() as progress:
        profiles = []
        for profile in profile_phases(trainer, folder):
            profiles.append(profile)
            progress.message(f"profiled {profile.name}: {profile.milliseconds:.0f} ms per step")
        write_json(folder / FILE, [asdict(profile) for profile in profiles])
        progress.table("milliseconds of a step (median)", *table(profiles))
        progress.message(f"traces and {FILE}: {folder}")
    return profiles


def short_plan(plan: Plan) -> Plan:
    """The first lock and the first release phase of each task, every one of ``STEPS`` steps."""
    first: dict[tuple[Task, PhaseName], int] = {}
    for index, phase in enumerate(plan.phases):
        first.setdefault((phase.key.task, phase.name), index)
    chosen = [plan.phases[index] for index in sorted(first.values())]
    return Plan(
        tuple(
            replace(phase, first_step=number * STEPS, steps=STEPS, closes_visit=False, closes_cycle=False)
            for number, phase in enumerate(chosen)
        )
    )


def table(profiles: Iterable[PhaseProfile]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: one row a phase."""
    columns = ["phase", "step", *PARTS, "host syncs", "GFLOP", "floor", "of floor"]
    rows = [
        [
            profile.name,
            f"{profile.milliseconds:.1f}",
            *(f"{profile.parts[name]:.1f}" for name in PARTS),
            str(profile.host_syncs),
            f"{profile.gflop:.1f}",
            f"{profile.floor:.1f}",
            f"{profile.floor / profile.milliseconds:.0%}",
        ]
        for profile in profiles
    ]
    return columns, rows
