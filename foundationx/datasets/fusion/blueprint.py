"""Phase 3 of MDFP made executable (``mdfp.md`` A.5): the kept cards that can train, as a configuration of a run."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundationx.core.config.load import parse_config
from foundationx.core.errors import RecipeError
from foundationx.core.resources import resource_folder
from foundationx.core.types import Task, all_tasks
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.select import Decision

BASE = ("swin_base.py", "schedule.py", "views.py")
"""Configuration files of the project that a recipe builds on where it names none."""


@dataclass(frozen=True)
class Entry:
    """One kept dataset in the blueprint.

    Attributes:
        name: of the dataset.
        card: its card, None where only a table lists it.
        tasks: that are trained, in the order of a dataset's turn; empty where it cannot train.
        obstacle: why nothing of it is trained, or why a task is not; empty where all is.
    """

    name: str
    card: Card | None
    tasks: tuple[Task, ...]
    obstacle: str = ""


def wanted_tasks(recipe: Recipe) -> tuple[Task, ...]:
    """Tasks of the recipe that there are heads for; all where the recipe names none."""
    return tuple(task for task in all_tasks() if not recipe.task_types or task.value in recipe.task_types)


def entries_of(
    decisions: Sequence[Decision], recipe: Recipe, catalog: Catalog, data_root: Path | None = None
) -> list[Entry]:
    """What of every kept dataset can be trained.

    Args:
        decisions: of ``select``.
        recipe: names the tasks.
        catalog: of the cards.
        data_root: where it is given, a task whose annotation files are not there is left out.
    """
    entries = []
    for decision in decisions:
        if not decision.kept:
            continue
        if decision.record.card is None:
            entries.append(Entry(decision.record.name, None, (), "no card describes its files"))
            continue
        card = catalog.card(decision.record.card)
        tasks = [task for task in wanted_tasks(recipe) if task in card.tasks]
        absent = {task: _absent(card, task, data_root) for task in tasks} if data_root is not None else {}
        obstacles = dict.fromkeys(path for path in absent.values() if path)
        text = f"{', '.join(obstacles)}: not there" if obstacles else "" if tasks else "no task that has a head"
        entries.append(Entry(card.name, card, tuple(task for task in tasks if not absent.get(task)), text))
    return entries


def run_values(recipe: Recipe, entries: Sequence[Entry]) -> dict[str, Any]:
    """The values of the run's configuration, complete in themselves: base files, datasets, sampling, further options.

    Raises:
        RecipeError: no dataset can be trained, or a base file is missing.
        ConfigError: base and recipe do not make a valid configuration; names the key.
    """
    datasets = [{"card": entry.name, "tasks": [task.value for task in entry.tasks]} for entry in entries if entry.tasks]
    if not datasets:
        found = "no dataset of the selection can be trained"
        raise RecipeError(str(recipe.file), found, "at least one card with files", "see audit.csv")
    schedule = {"cycles": recipe.run.cycles, **recipe.sampling.model_dump(exclude_none=True)}
    if recipe.sampling.order != "temperature":
        schedule.pop("temperature")
    values = {"name": recipe.name, "image_size": recipe.run.image_size, "datasets": datasets, "schedule": schedule}
    if recipe.exclude is not None:
        values["exclude"] = str((recipe.file.parent / recipe.exclude).resolve())
    merged = _merged([*_base_values(recipe), values, recipe.run.options])
    parse_config(merged, f"{recipe.file}: run")
    return merged


def config_text(values: dict[str, Any], recipe: Recipe) -> str:
    """The configuration file: one assignment a key, in the order in which a reader looks for them."""
    lines = [f"# Written from the recipe {recipe.file.name}; see audit.csv for why each dataset is or is not here."]
    first = ("name", "image_size", "datasets", "schedule")
    for key in (*first, *(key for key in values if key not in first)):
        value = pprint.pformat(values[key], width=100, sort_dicts=False)
        lines.append(f"{key} = {value}".replace("\n", "\n" + " " * len(f"{key} = ")))
    return "\n".join(lines) + "\n"


def _absent(card: Card, task: Task, data_root: Path) -> str | None:
    """The first annotation file (or folder, where the task has no file) that is not there."""
    folder = data_root / card.root
    for part in card.tasks[task].files:
        path = folder / part.file
        if not path.exists():
            return str(path)
    return None


def _base_values(recipe: Recipe) -> list[dict[str, Any]]:
    from foundationx.core import compat  # noqa: F401  (silences mm* start-up noise; must come before mmengine)

    # isort: split
    from mmengine.config import Config

    if recipe.run.base is None:
        folder = resource_folder("configs") / "_base_"
        paths = [folder / name for name in BASE]
    else:
        paths = [recipe.file.parent / name for name in recipe.run.base]
    found = []
    for path in paths:
        if not path.is_file():
            expected = "configuration files, relative to the recipe"
            raise RecipeError(f"{recipe.file}: run.base", f"there is no file {path}", expected, "correct the path")
        values = Config.fromfile(str(path)).to_dict()
        found.append({key: value for key, value in values.items() if not key.startswith("_")})
    return found


def _merged(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Dictionaries laid over each other, key by key at every depth; lists are replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            under = merged.get(key)
            both = isinstance(under, dict) and isinstance(value, dict)
            merged[key] = _merged([under, value]) if both else value
    return merged
