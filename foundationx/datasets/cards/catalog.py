"""The catalog: all cards of the registry's folders, each read on first use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foundationx.core.errors import CardError, nearest
from foundationx.core.resources import resource_folder
from foundationx.datasets.cards.card import Card, load_card
from foundationx.datasets.cards.vocabulary import Vocabulary

ENVIRONMENT = "FOUNDATIONX_REGISTRY"
"""Environment variable with more folders of cards, separated as in PATH."""


def default_folders() -> tuple[Path, ...]:
    """The project's own ``data_registry``, then the folders that ``FOUNDATIONX_REGISTRY`` names."""
    further = [Path(folder) for folder in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if folder]
    return (resource_folder("data_registry"), *further)


class Catalog:
    """Dataset cards by name. To add a dataset, put its card into one of the folders.

    Args:
        folders: Folders of ``*.yaml`` cards; None: the default folders. A card of a later folder replaces a card of the
            same name in an earlier folder.

    Raises:
        CardError: A folder does not exist.
    """

    def __init__(self, folders: Sequence[str | Path] | None = None):
        self._files: dict[str, Path] = {}
        self._cards: dict[str, Card] = {}
        self._folders = tuple(map(Path, default_folders() if folders is None else folders))
        self._vocabulary: Vocabulary | None = None
        for folder in self._folders:
            if not folder.is_dir():
                raise CardError(str(folder), "there is no such folder", "a folder of cards", f"check {ENVIRONMENT}")
            self._files.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})

    @property
    def vocabulary(self) -> Vocabulary:
        """The project's vocabulary and the additions of the folders. Raises CardError if a concept is invalid."""
        if self._vocabulary is None:
            own = default_folders()[0]
            further = [folder for folder in self._folders if folder != own]
            self._vocabulary = Vocabulary.load([own, *further])
        return self._vocabulary

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
