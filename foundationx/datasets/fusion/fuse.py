"""From a recipe to a folder: the four phases of MDFP (``mdfp.md`` A.2), and a configuration that trains."""

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
    """What a recipe makes of the registry and of public tables.

    Attributes:
        recipe: that was followed.
        decisions: one a dataset.
        entries: kept datasets and what of them trains.
        alignment: of the classes that train.
        groups: of the kept datasets.
    """

    recipe: Recipe
    decisions: list[Decision]
    entries: list[Entry]
    alignment: Alignment
    groups: list[Group]

    @property
    def kept(self) -> list[Record]:
        """The datasets that the recipe takes."""
        return [decision.record for decision in self.decisions if decision.kept]

    def kept_by_use(self) -> tuple[list[Record], list[Record]]:
        """Kept datasets that the configuration trains on, and the others."""
        trains = {entry.name for entry in self.entries if entry.tasks}
        training = [record for record in self.kept if record.card in trains]
        return training, [record for record in self.kept if record.card not in trains]


def fuse(recipe: Recipe, catalog: Catalog, tables: Sequence[Path] = (), data_root: Path | None = None) -> Fusion:
    """Decides on every dataset and aligns the classes of those that train. Reads no image and no annotation.

    Raises:
        RecipeError: a table cannot be read, or the recipe names a dataset that there is not.
        CardError: a card is faulty.
    """
    rows = [record for path in tables for record in read_table(path, catalog.vocabulary)]
    cards = [catalog.card(name) for name in catalog.names()]
    decisions = select(harmonise(cards, catalog.vocabulary, rows), recipe, catalog.vocabulary)
    entries = entries_of(decisions, recipe, catalog, data_root)
    training = [(entry.card, entry.tasks) for entry in entries if entry.card is not None and entry.tasks]
    kept = [decision.record for decision in decisions if decision.kept]
    groups = group(kept, recipe.modalities, recipe.task_types)
    return Fusion(recipe, decisions, entries, align(training, catalog.vocabulary), groups)
