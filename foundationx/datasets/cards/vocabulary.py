"""The common vocabulary: a hierarchy of concepts to which the classes of different datasets refer.

A card names the concept of a class, and the vocabulary has its path, such as *lung disease > pneumonia > COVID-19*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, ValidationError

from foundationx.core.errors import CardError, nearest
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import Part
from foundationx.datasets.cards.strict_yaml import read_yaml

FOLDER = "vocabulary"
"""Name of the folder of concepts in a registry."""


class Concept(Part):
    """One concept."""

    title: str
    kind: Literal["state", "finding", "disease", "anatomy", "device"]
    parent: str | None = Field(None, description="the broader concept")
    synonyms: tuple[str, ...] = ()


@lru_cache
def _concepts(path: Path, state: tuple[int, ...]) -> Mapping[str, Concept]:
    """Concepts of a file by name; it is read again when its ``state`` has changed. Raises CardError."""
    concepts = {}
    for name, values in read_yaml(path).items():
        try:
            concepts[str(name)] = Concept.model_validate(values)
        except ValidationError as error:
            raise validation_error(error, Concept, str(path), CardError, str(name)) from None
    return MappingProxyType(concepts)


class Vocabulary:
    """Concepts by name.

    Args:
        concepts: Concepts by name, including every parent.

    Raises:
        CardError: A parent is missing, or a concept is its own ancestor.
    """

    def __init__(self, concepts: Mapping[str, Concept]):
        self._concepts = dict(concepts)
        for name in self._concepts:
            self._path(name)

    @classmethod
    def load(cls, registries: Sequence[Path]) -> Vocabulary:
        """The concepts in the vocabulary folders of all registries; a later one replaces a concept of the same name.

        Raises:
            CardError: A file is not YAML or a concept is wrong; names file and concept.
        """
        concepts: dict[str, Concept] = {}
        for registry in registries:
            for path in sorted((registry / FOLDER).glob("*.yaml")):
                state = path.stat()
                concepts |= _concepts(path, (state.st_ino, state.st_size, state.st_mtime_ns))
        return cls(concepts)

    def __contains__(self, name: object) -> bool:
        return name in self._concepts

    def __getitem__(self, name: str) -> Concept:
        return self._concepts[name]

    def names(self) -> tuple[str, ...]:
        """Names of all concepts, in the order of the files."""
        return tuple(self._concepts)

    def path(self, name: str) -> tuple[str, ...]:
        """The concept and all broader ones, the broadest first: ``(lung_disease, pneumonia, covid_19)``."""
        return self._path(name)

    def within(self, name: str, broader: str) -> bool:
        """Whether ``name`` is ``broader`` or a kind of it."""
        return broader in self._path(name)

    def find(self, text: str) -> str | None:
        """The concept whose name, title or synonym is ``text``, ignoring case and ``_-``; None if there is none."""
        plain = _plain(text)
        for name, concept in self._concepts.items():
            if plain in map(_plain, (name, concept.title, *concept.synonyms)):
                return name
        return None

    def check(self, card: Card) -> None:
        """Raises CardError if a card names an unknown concept."""
        concepts = [
            (f"tasks.{task.value}.classes[{index}].canonical", item.canonical)
            for task, spec in card.tasks.items()
            for index, item in enumerate(spec.classes)
            if item.canonical
        ]
        concepts += [("survey.anatomy", name) for name in card.survey.anatomy]
        concepts += [("survey.diseases", name) for name in card.survey.diseases]
        for key, name in concepts:
            if name not in self._concepts:
                expected = nearest(name, self._concepts)
                fix = f"correct it, or add the concept in a {FOLDER} folder beside your cards"
                raise CardError(f"{card.file}: {key}", f"{name!r} is not in the vocabulary", expected, fix)

    def _path(self, name: str) -> tuple[str, ...]:
        path: list[str] = []
        current: str | None = name
        while current is not None:
            if current in path or current not in self._concepts:
                found = "is its own ancestor" if current in path else f"has the unknown parent {current!r}"
                raise CardError(f"vocabulary: {name}", found, "a hierarchy of concepts", "correct the parent")
            path.append(current)
            current = self._concepts[current].parent
        return tuple(reversed(path))


def _plain(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ").strip()
