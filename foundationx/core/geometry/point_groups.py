"""Points that belong together: those of one class of the card, such as the outline of a lung or a line.

A card's class with points is one class for each of them, named ``GROUP/POINT`` (``Right Lung/apex``, ``Tube/1``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OTHERS = "points"
"""Name of the group of all points that belong to none."""


@dataclass(frozen=True)
class Group:
    """Points of one object.

    Attributes:
        name: Name of the card's class.
        indices: Indices of the points among all of the task, in the card's order.
        is_line: Whether they are numbered: consecutive ones are neighbours on a line or an outline.
    """

    name: str
    indices: tuple[int, ...]
    is_line: bool


def group_of(name: str) -> str:
    """The group of a point: what stands before the last slash of its name; empty if it has none."""
    return name.rpartition("/")[0]


def groups_of(classes: Sequence[str]) -> list[Group]:
    """The groups of named points in their order; points of no group are one together."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(classes):
        found.setdefault(group_of(name) or OTHERS, []).append(index)
    return [
        Group(name, tuple(indices), all(classes[k].rpartition("/")[2].isdecimal() for k in indices))
        for name, indices in found.items()
    ]
