"""Which classes of a task a published name stands for: its own, those that share it, and those above it in a tree."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from foundationx.datasets.cards.label_tree import LabelTree
from foundationx.datasets.cards.tasks import TaskSource


class ClassNames:
    """Indices of the classes of a task by published name.

    Args:
        spec: The task.
    """

    def __init__(self, spec: TaskSource):
        self._tree = LabelTree(spec.tree)
        own: dict[str, set[int]] = {}
        for index, item in enumerate(spec.classes):
            for name in item.published:
                own.setdefault(name, set()).add(index)
        self._indices = {
            name: tuple(sorted(own.get(name, set()).union(*(own.get(above, ()) for above in self._tree.above(name)))))
            for name in dict.fromkeys([*own, *self._tree])
        }
        self._has_kinds = {name for name in self._tree if any(own.get(low) for low in self._tree.below(name))}

    def __contains__(self, name: object) -> bool:
        return name in self._indices

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def indices(self, name: str) -> tuple[int, ...]:
        """Classes that a published name makes present; none if it is a label of the tree without a class.

        Raises:
            KeyError: The name is neither a class nor a label of the tree.
        """
        return self._indices[name]

    def undecided(self, names: Collection[str]) -> set[int]:
        """Classes that ``names`` leave unknown: kinds of a label that is named without any of its kinds."""
        named = set(names)
        open_labels = [name for name in named & self._has_kinds if not named & self._tree.below(name)]
        below = {index for name in open_labels for low in self._tree.below(name) for index in self._indices[low]}
        return below - {index for name in named & self._indices.keys() for index in self._indices[name]}
