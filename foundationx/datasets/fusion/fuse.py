"""Applies a recipe to the registry and to public tables: the four phases of MDFP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.align import Alignment, align
from foundationx.datasets.fusion.blueprint import Entry, entries_of
from foundationx.datasets.fusion.grouping import Group, group
from foundationx.datasets.fusion.harmonise import harmonise
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.record import Record
from foundationx.datasets.fusion.select import Decision, select
from foundationx.datasets.fusion.tables import read_table


@dataclass(frozen=True)
class Fusion:
    """The result of a recipe.

    Attributes:
        recipe: The recipe.
        decisions: Decisions, one per dataset.
        entries: Selected datasets and their tasks to train.
        alignment: Alignment of the classes to train.
        groups: Groups of the selected datasets.
    """

    recipe: Recipe
    decisions: list[Decision]
    entries: list[Entry]
    alignment: Alignment
    groups: list[Group]

    @property
    def kept(self) -> list[Record]:
        """Records of the selected datasets."""
        return [decision.record for decision in self.decisions if decision.kept]

    def kept_by_use(self) -> tuple[list[Record], list[Record]]:
        """Selected datasets that the configuration trains on, and the others."""
        trains = {entry.name for entry in self.entries if entry.tasks}
        training = [record for record in self.kept if record.card in trains]
        return training, [record for record in self.kept if record.card not in trains]


def fuse(recipe: Recipe, catalog: Catalog, tables: Sequence[Path] = (), data_root: Path | None = None) -> Fusion:
    """Decides on every dataset and aligns the classes to train. Reads no images and no annotations.

    Args:
        recipe: Recipe to follow.
        catalog: Catalog of the cards.
        tables: Public tables of datasets.
        data_root: Folder of all datasets; if given, tasks with missing annotation files are left out.

    Raises:
        RecipeError: A table cannot be read, or the recipe names an unknown dataset.
    """
    rows = [record for path in tables for record in read_table(path, catalog.vocabulary)]
    cards = list(catalog.valid().values())
    decisions = select(harmonise(cards, catalog.vocabulary, rows), recipe, catalog.vocabulary)
    entries = entries_of(decisions, recipe, catalog, data_root)
    training = [(entry.card, entry.tasks) for entry in entries if entry.card is not None and entry.tasks]
    kept = [decision.record for decision in decisions if decision.kept]
    groups = group(kept, recipe.modalities, recipe.task_types)
    return Fusion(recipe, decisions, entries, align(training, catalog.vocabulary), groups)
