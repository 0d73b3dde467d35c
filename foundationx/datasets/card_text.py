"""The YAML of a drafted card, with comments on what was guessed and what has to be decided."""

from __future__ import annotations

from typing import Any

import yaml

from foundationx.datasets.folder_draft import Draft

LICENCE = {
    "name": "not stated",
    "spdx": "LicenseRef-not-stated",
    "redistribution": "unknown",
    "commercial": "unknown",
}
"""Nothing is known of a licence."""

WIDTH = 110
"""Columns of a comment."""


def card_text(draft: Draft, name: str, root: str, origin: str) -> str:
    """A card's YAML, which loads as it is.

    Args:
        draft: What was found in the folder.
        name: Name of the card.
        root: Folder of the dataset under the data root.
        origin: What the draft was made from, for the first line.
    """
    lines = [
        f"# Draft of a card, made from {origin}.",
        "# Comments say what was guessed and what is to be decided; then check it:",
        f"# foundationx data check {name} --data-root FOLDER --registry FOLDER_OF_THIS_FILE",
        *_key("name", name),
        *_key("title", name, "decide: the full name"),
        *_key("licence", LICENCE, "decide: what the licence permits"),
        *_key("access", "private", "private: the card joins a recipe only if that names it"),
        *_key("root", root, "the dataset's folder under the data root"),
    ]
    for key, value in (("patient", draft.patient), ("splits", draft.splits)):
        lines += _key(key, value, draft.comments.get(key, "")) if value else _comment(draft.comments.get(key, ""))
    lines += ["tasks:"]
    for task in draft.tasks:
        lines += [*_comment(task.comments.get("", ""), "  "), f"  {task.name}:"]
        for key, value in task.values.items():
            lines += _task_key(key, value, task.comments)
    if draft.unused:
        lines += ["# not used: " + "; ".join(draft.unused)]
    return "\n".join(lines) + "\n"


def _task_key(key: str, value: Any, comments: dict[str, str]) -> list[str]:
    """A key of a task; options are written one below the other, each with its comment."""
    if key != "options":
        return _key(key, value, comments.get(key, ""), "    ")
    lines = ["    options:"]
    for option, given in value.items():
        lines += _key(option, given, comments.get(option, ""), "      ")
    return lines


def _key(key: str, value: Any, comment: str = "", indent: str = "") -> list[str]:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=None)
    first, *rest = text.removesuffix("...\n").rstrip().split("\n")
    is_block = isinstance(value, list | dict) and not first.startswith(("[", "{"))
    lines = [f"{key}:", f"  {first}"] if is_block else [f"{key}: {first}"]
    return [*_comment(comment, indent), *(indent + line for line in [*lines, *(f"  {line}" for line in rest)])]


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {line}" for line in text.split("\n")] if text else []
