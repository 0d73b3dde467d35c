"""The common vocabulary: concepts that classes of different datasets stand for, as a hierarchy.

Phase 1 of MDFP (``mdfp.md`` A.2) maps free text to a path such as *lung disease > pneumonia > COVID-19*. Here a card
names the concept and the vocabulary holds the path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from foundationx.core.errors import CardError, nearest
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import Part
from foundationx.datasets.cards.strict_yaml import read_yaml

FOLDER = "vocabulary"
"""Folder of concepts beside the cards of a registry."""


class Concept(Part):
    """One meaning."""

    title: str
    kind: Literal["state", "finding", "disease", "anatomy", "device"]
    parent: str | None = Field(None, description="the wider concept")
    synonyms: tuple[str, ...] = ()


class Vocabulary:
    """Concepts by name.

    Args:
        concepts: by name; every parent is among them.

    Raises:
        CardError: a parent is missing or leads back to its own concept.
    """

    def __init__(self, concepts: Mapping[str, Concept]):
        self._concepts = dict(concepts)
        for name in self._concepts:
            self._path(name)

    @classmethod
    def load(cls, registries: Sequence[Path]) -> Vocabulary:
        """The concepts in the vocabulary folders of all registries; a later one replaces a concept of the same name.

        Raises:
            CardError: a file is not YAML or a concept is wrong; names file and concept.
        """
        concepts: dict[str, Concept] = {}
        for registry in registries:
            for path in sorted((registry / FOLDER).glob("*.yaml")):
                for name, values in read_yaml(path).items():
                    try:
                        concepts[str(name)] = Concept.model_validate(values)
                    except ValidationError as error:
                        raise validation_error(error, Concept, str(path), CardError, str(name)) from None
        return cls(concepts)

    def __contains__(self, name: object) -> bool:
        return name in self._concepts

    def __getitem__(self, name: str) -> Concept:
        return self._concepts[name]

    def names(self) -> tuple[str, ...]:
        """All concepts, in the order of the files."""
        return tuple(self._concepts)

    def path(self, name: str) -> tuple[str, ...]:
        """The concept with all wider ones, the widest first: ``(lung_disease, pneumonia, covid_19)``."""
        return self._path(name)

    def within(self, name: str, wider: str) -> bool:
        """Whether ``name`` is ``wider`` or a kind of it."""
        return wider in self._path(name)

    def find(self, text: str) -> str | None:
        """The concept that a free text names: by its name, title or a synonym; capitals and ``_-`` do not matter."""
        wanted = _plain(text)
        for name, concept in self._concepts.items():
            if wanted in map(_plain, (name, concept.title, *concept.synonyms)):
                return name
        return None

    def check(self, card: Card) -> None:
        """Raises CardError where a card names a concept that there is not."""
        named = [
            (f"tasks.{task.value}.classes[{k}].canonical", item.canonical)
            for task, spec in card.tasks.items()
            for k, item in enumerate(spec.classes)
            if item.canonical
        ]
        named += [("survey.anatomy", name) for name in card.survey.anatomy]
        named += [("survey.diseases", name) for name in card.survey.diseases]
        for key, name in named:
            if name not in self._concepts:
                expected = nearest(name, self._concepts)
                fix = f"correct it, or add the concept in a {FOLDER} folder beside your cards"
                raise CardError(f"{card.file}: {key}", f"{name!r} is not in the vocabulary", expected, fix)

    def _path(self, name: str) -> tuple[str, ...]:
        path: list[str] = []
        current: str | None = name
        while current is not None:
            if current in path or current not in self._concepts:
                found = "leads back to itself" if current in path else f"has the parent {current!r}, which there is not"
                raise CardError(f"vocabulary: {name}", found, "a hierarchy", "correct parent")
            path.append(current)
            current = self._concepts[current].parent
        return tuple(reversed(path))


def _plain(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ").strip()
