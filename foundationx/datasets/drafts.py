"""Drafts of dataset cards: what is known of a dataset as YAML, and comments where somebody has to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from foundationx.core.types import annotated_tasks

FILL_IN = {
    "title": "fill in: full name",
    "licence": "fill in",
    "access": "fill in: open, registration, credentialed or generated",
    "root": "the dataset's folder under the data root",
    "tasks": "fill in: reader, files and classes (foundationx data readers)",
}
"""Comments of the keys that every card needs, by key."""

_ORDER = ("name", "title", "home", "licence", "access", "citation", "notes", "root", "survey", "expected", "unverified")


def label_task() -> str:
    """Name of the task that learns from image labels alone."""
    return next(task.value for task in annotated_tasks() if task.facts.part == "labels")


_LICENCE = {"name": "not stated", "redistribution": "unknown", "commercial": "unknown"}

_TASKS = {label_task(): {"reader": "label_columns_csv", "file": "labels.csv", "images": ["images"], "classes": ["A"]}}


def draft_text(values: Mapping[str, Any], origin: str) -> str:
    """A card's YAML, which loads as it is.

    Args:
        values: Known keys of the card; ``name`` is among them.
        origin: What the draft was made from, for the first line.
    """
    name = str(values["name"])
    complete = {"title": name, "licence": _LICENCE, "access": "open", "root": name, "tasks": _TASKS} | dict(values)
    complete["unverified"] = [key for key in ("home", "licence", "citation", "survey", "tasks") if key in values]
    keys = [key for key in _ORDER if key in complete] + [key for key in complete if key not in _ORDER]
    lines = [f"# Draft of a card, made from {origin}; check it with: foundationx data check {name} --registry FOLDER"]
    for key in keys:
        if complete[key] in ([], {}, None):
            continue
        text = yaml.safe_dump({key: complete[key]}, sort_keys=False, allow_unicode=True, width=118).rstrip()
        if key in FILL_IN and key not in values:
            first, newline, rest = text.partition("\n")
            text = f"{first}  # {FILL_IN[key]}{newline}{rest}"
        lines.append(text)
    return "\n".join(lines) + "\n"
