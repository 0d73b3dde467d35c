"""A publisher's tree of labels: which published label is a kind of which, and what that says about the classes.

A label that is a kind of another one makes the other one present. A label that is named without any of its kinds does
not say which kind it is, so the classes of its kinds are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from foundationx.datasets.cards.schema import Part

CODES = {"umls": r"C\d{7}", "radlex": r"RID\d+"}
"""Systems of codes, and the form of their codes: concepts of UMLS (CUI) and of RadLex."""


def _listed(value: Any) -> Any:
    """Accepts a single text without a list."""
    return (value,) if isinstance(value, str) else value


def _well_formed(codes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for system, values in codes.items():
        for code in values:
            if not re.fullmatch(CODES[system], code):
                raise ValueError(f"{code!r} is no code of {system}; expected {CODES[system]}")
    return codes


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=tuple[str, ...] | str)]
Codes = Annotated[dict[Literal["umls", "radlex"], Texts], AfterValidator(_well_formed)]


class TreeLabel(Part):
    """One published label of a tree."""

    parents: Texts = Field((), description="the labels that it is a kind of")
    codes: Codes = Field(default_factory=dict, description="codes that the publisher gives: umls, radlex")


def _parents_alone(value: Any) -> Any:
    """Accepts a label given by its parents alone."""
    return {"parents": value} if isinstance(value, str | list | tuple) else value


Label = Annotated[TreeLabel, BeforeValidator(_parents_alone, json_schema_input_type=TreeLabel | list[str] | str)]


class LabelTree:
    """Labels by name, with what is above and below each.

    Args:
        labels: Labels by name. A parent that is no label itself is a label without parents.

    Raises:
        ValueError: A label is its own ancestor.
    """

    def __init__(self, labels: Mapping[str, TreeLabel]):
        self._parents: dict[str, tuple[str, ...]] = {
            parent: () for label in labels.values() for parent in label.parents
        }
        self._parents |= {name: label.parents for name, label in labels.items()}
        self._above = {name: self._find_above(name) for name in self._parents}

    def __contains__(self, name: object) -> bool:
        return name in self._parents

    def __iter__(self) -> Iterator[str]:
        return iter(self._parents)

    def above(self, name: str) -> frozenset[str]:
        """All labels that ``name`` is a kind of, directly or not; none if the tree does not have it."""
        return self._above.get(name, frozenset())

    def below(self, name: str) -> frozenset[str]:
        """All labels that are a kind of ``name``, directly or not."""
        return self._below.get(name, frozenset())

    @cached_property
    def _below(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(low for low, above in self._above.items() if name in above) for name in self._parents}

    def _find_above(self, name: str) -> frozenset[str]:
        above: set[str] = set()
        waiting = [*self._parents[name]]
        while waiting:
            parent = waiting.pop()
            if parent not in above:
                above.add(parent)
                waiting += self._parents[parent]
        if name in above:
            raise ValueError(f"the label {name!r} is its own ancestor")
        return frozenset(above)
