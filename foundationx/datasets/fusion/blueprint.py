"""The selected cards that can be trained, as the configuration of a run (phase 3 of MDFP)."""

from __future__ import annotations

import ast
import pprint
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundationx.core.config.load import parse_config
from foundationx.core.errors import RecipeError, nearest
from foundationx.core.resources import base_configs
from foundationx.core.types import Task, all_tasks
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.options import check_backbone, check_options
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.select import Decision
from foundationx.datasets.location import dataset_folder
from foundationx.datasets.readers._files import MissingFileError
from foundationx.datasets.readers._paths import DatasetFolder

BASE = ("_base_/swin_base", "_base_/schedule", "_base_/views")
"""Default presets of a recipe."""


@dataclass(frozen=True)
class Entry:
    """One selected dataset.

    Attributes:
        name: Name of the dataset.
        card: Card of the dataset, None if only a table lists it.
        tasks: Tasks to train, in the order of a visit; empty if it cannot be trained.
        obstacle: Reason why some or all tasks cannot be trained; empty if there is none.
    """

    name: str
    card: Card | None
    tasks: tuple[Task, ...]
    obstacle: str = ""


def requested_tasks(recipe: Recipe) -> tuple[Task, ...]:
    """Tasks of the recipe that have heads; all if the recipe names none."""
    return tuple(task for task in all_tasks() if not recipe.task_types or task.value in recipe.task_types)


def entries_of(
    decisions: Sequence[Decision], recipe: Recipe, catalog: Catalog, data_root: Path | None = None
) -> list[Entry]:
    """The tasks of every selected dataset that can be trained.

    Args:
        decisions: Decisions of ``select``.
        recipe: Recipe, which names the tasks.
        catalog: Catalog of the cards.
        data_root: Folder of all datasets; if given, tasks with missing annotation files are left out.
    """
    entries = []
    for decision in decisions:
        if not decision.kept:
            continue
        if decision.record.card is None:
            entries.append(Entry(decision.record.name, None, (), "no card describes its files"))
            continue
        card = catalog.card(decision.record.card)
        tasks = [task for task in requested_tasks(recipe) if task in card.tasks]
        absent = {task: _absent(card, task, data_root) for task in tasks} if data_root is not None else {}
        obstacles = dict.fromkeys(path for path in absent.values() if path)
        text = f"{', '.join(obstacles)}: missing" if obstacles else "" if tasks else "no task that has a head"
        entries.append(Entry(card.name, card, tuple(task for task in tasks if not absent.get(task)), text))
    return entries


def run_values(recipe: Recipe, entries: Sequence[Entry], *, allow_code: bool = False) -> dict[str, Any]:
    """The complete configuration of the run: presets, datasets, sampling, other options.

    Args:
        recipe: Recipe.
        entries: Selected datasets.
        allow_code: Trust the recipe's source: ``run.base`` may name Python files, which are run, and ``run.options``
            may hold anything.

    Raises:
        RecipeError: No dataset can be trained, there is no such preset, or an option is not plain data.
        ConfigError: Base and recipe do not form a valid configuration; names the key.
    """
    datasets = [{"card": entry.name, "tasks": [task.value for task in entry.tasks]} for entry in entries if entry.tasks]
    if not datasets:
        found = "no dataset of the selection can be trained"
        raise RecipeError(str(recipe.file), found, "at least one card with files", "see the reasons in audit.csv")
    schedule = {"cycles": recipe.run.cycles, **recipe.sampling.model_dump(exclude_none=True)}
    if recipe.sampling.order != "temperature":
        schedule.pop("temperature")
    values = {"name": recipe.name, "image_size": recipe.run.image_size, "datasets": datasets, "schedule": schedule}
    if recipe.exclude is not None:
        values["exclude"] = str((recipe.file.parent / recipe.exclude).resolve())
    where = f"{recipe.file}: run.options"
    if not allow_code:
        check_options(recipe.run.options, where)
    merged = _merged([*_base_values(recipe, allow_code), values, recipe.run.options])
    if not allow_code:
        check_backbone(merged, where)
    parse_config(merged, f"{recipe.file}: run")
    return merged


def config_text(values: dict[str, Any], recipe: Recipe) -> str:
    """Text of the configuration file: one assignment per key, the most important keys first."""
    file = recipe.file.name
    name = file if re.fullmatch(r"[\w. -]+", file) else ascii(file)
    lines = [f"# Written from the recipe {name}; audit.csv gives the reason for each dataset."]
    first = ("name", "image_size", "datasets", "schedule")
    for key in (*first, *(key for key in values if key not in first)):
        value = pprint.pformat(values[key], width=100, sort_dicts=False)
        lines.append(f"{key} = {value}".replace("\n", "\n" + " " * len(f"{key} = ")))
    text = "\n".join(lines).replace("{{", "{\\x7b") + "\n"  # only text holds "{{": mmengine would substitute it
    _check_text(text, values, recipe)
    return text


def _check_text(text: str, values: dict[str, Any], recipe: Recipe) -> None:
    """Raises RecipeError unless the text is assignments of these plain values and nothing else."""
    try:
        assigned = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(text).body}  # type: ignore[attr-defined]  # anything else fails
    except (AttributeError, SyntaxError, ValueError) as error:
        raise RecipeError(
            str(recipe.file), f"a value cannot be written: {error}", "plain values", "correct it"
        ) from None
    if assigned != values:
        raise RecipeError(str(recipe.file), "a value cannot be written as it is", "plain values", "correct it")


def _absent(card: Card, task: Task, data_root: Path) -> str | None:
    """The first missing annotation file (or folder, if the task has no file)."""
    folder = dataset_folder(card, data_root)
    dataset = DatasetFolder(folder, data_root, data_root / card.root)
    for part in card.tasks[task].files:
        try:
            missing = not folder.exists() or (part.file and not dataset.choose(part.file, str(card.file)))
        except MissingFileError:
            missing = True
        if missing:
            return str(folder / part.file)
    return None


def _base_values(recipe: Recipe, allow_code: bool) -> list[dict[str, Any]]:
    from foundationx.core.openmmlab import Config

    layers: list[dict[str, Any]] = []
    for name in BASE if recipe.run.base is None else recipe.run.base:
        path = _base_file(name, recipe, allow_code)
        values = Config.fromfile(str(path)).to_dict()
        layers.append({key: value for key, value in values.items() if not key.startswith("_")})
    return layers


def _base_file(name: str, recipe: Recipe, allow_code: bool) -> Path:
    """The preset of that name, or a file relative to the recipe if code is allowed. Raises RecipeError."""
    presets = base_configs()
    if name in presets:
        return presets[name]
    path, where = recipe.file.parent / name, f"{recipe.file}: run.base"
    if not allow_code:
        fix = "name a preset; if you trust the source of the file, pass --allow-code: it is run as Python"
        raise RecipeError(where, f"{name!r:.200} is no preset", nearest(name[:200], presets), fix)
    if not path.is_file():
        expected = "presets, or configuration files relative to the recipe"
        raise RecipeError(where, f"there is no file {path}", expected, "correct the path")
    return path


def _merged(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merges dictionaries key by key at every depth, later ones over earlier ones; lists are replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            earlier = merged.get(key)
            if isinstance(earlier, dict) and isinstance(value, dict):
                value = _merged([earlier, value])
            merged[key] = value
    return merged
