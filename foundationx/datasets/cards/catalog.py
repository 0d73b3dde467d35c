"""The catalog: all cards of the registry's folders, each read on first use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foundationx.core.errors import CardError, FoundationXError, nearest
from foundationx.core.resources import resource_folder
from foundationx.datasets.cards.card import Card, load_card
from foundationx.datasets.cards.vocabulary import FOLDER, Vocabulary

ENVIRONMENT = "FOUNDATIONX_REGISTRY"
"""Environment variable with more folders of cards, separated as in PATH."""


def default_folders() -> tuple[Path, ...]:
    """The project's own ``data_registry``, then the folders that ``FOUNDATIONX_REGISTRY`` names."""
    further = [Path(folder) for folder in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if folder]
    return (resource_folder("data_registry"), *further)


SUFFIXES = (".yaml", ".yml")
"""Suffixes of cards."""


class Catalog:
    """Dataset cards by name. To add a dataset, put its card into one of the folders.

    A card that is invalid spoils nothing but itself: :meth:`valid` passes over it, :meth:`faults` names it, and only
    :meth:`card` of its name raises its error.

    Args:
        folders: Folders of cards (YAML); None: the default folders. A card of a later folder replaces a card of the
            same name in an earlier folder, even if it is invalid.

    Raises:
        CardError: A folder does not exist.
    """

    def __init__(self, folders: Sequence[str | Path] | None = None):
        self._files: dict[str, Path] = {}
        self._cards: dict[str, Card] = {}
        self._faults: dict[str, FoundationXError | OSError] = {}
        self._folders = tuple(map(Path, default_folders() if folders is None else folders))
        self._vocabulary: Vocabulary | None = None
        for folder in self._folders:
            if not folder.is_dir():
                raise CardError(str(folder), "there is no such folder", "a folder of cards", f"check {ENVIRONMENT}")
            cards = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
            self._files.update({path.stem: path for path in cards})

    @property
    def vocabulary(self) -> Vocabulary:
        """The project's vocabulary and the additions of the folders, without those that are invalid."""
        if self._vocabulary is None:
            used = [default_folders()[0]]
            self._vocabulary = Vocabulary.load(used)
            for folder in self._folders:
                if folder not in used:
                    self._add_concepts(folder, used)
        return self._vocabulary

    def _add_concepts(self, folder: Path, used: list[Path]) -> None:
        """Adds the concepts of a folder to the vocabulary and the folder to ``used``, or notes why it cannot."""
        try:
            self._vocabulary = Vocabulary.load([*used, folder])
            used.append(folder)
        except CardError as error:
            self._faults[f"{folder.name}/{FOLDER}"] = error

    def valid(self) -> dict[str, Card]:
        """All cards that can be used, by name, in alphabetical order."""
        cards: dict[str, Card] = {}
        for name in self.names():
            try:
                cards[name] = self.card(name)
            except (FoundationXError, OSError) as error:
                self._faults[name] = error
        return cards

    def faults(self) -> dict[str, FoundationXError | OSError]:
        """What is wrong with the cards (and vocabularies) that :meth:`valid` passes over, by name."""
        self.valid()
        return dict(self._faults)

    def names(self) -> tuple[str, ...]:
        """Names of all cards, in alphabetical order."""
        return tuple(sorted(self._files))

    def card(self, name: str) -> Card:
        """The card of that name, parsed on first use.

        Raises:
            CardError: There is no such card, or it is invalid.
        """
        if name not in self._cards:
            if name not in self._files:
                raise CardError(
                    f"card {name!r}", "is not in the registry", nearest(name, self._files), "correct the name"
                )
            card = load_card(self._files[name])
            self.vocabulary.check(card)
            self._cards[name] = card
        return self._cards[name]
