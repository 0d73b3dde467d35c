"""Which datasets show the same images, as their cards say it: by their parents, and by the namespaces of patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from foundationx.datasets.cards.card import Card


def share_images(first: Card, second: Card) -> bool:
    """Whether one card is the other's parent, both have one parent, or patients of both may have the same name."""
    parents = first.parent is not None and first.parent == second.parent
    return parents or second.name == first.parent or first.name == second.parent or share_names(first, second)


def share_names(first: Card, second: Card) -> bool:
    """Whether patients of both cards may have the same name, so that the split knows them."""
    return bool(_namespaces(first) & _namespaces(second))


def _namespaces(card: Card) -> set[str]:
    if card.patient is None:
        return {card.name}
    return {card.patient.namespace or card.name} | card.patient.all_namespaces


def matched_groups(cards: Sequence[Card]) -> list[tuple[str, ...]]:
    """Groups of cards that share images and may name their patients alike."""
    return _groups((one, other) for one, other in combinations(cards, 2) if share_names(one, other))


def groups_that_share(cards: Sequence[Card]) -> list[tuple[str, ...]]:
    """Groups of cards that show the same images: by parent or by name of the patients."""
    return _groups((one, other) for one, other in combinations(cards, 2) if share_images(one, other))


def held_out(cards: Sequence[Card]) -> list[tuple[str, str]]:
    """Datasets none of whose images may be trained on beside another one, each with that other one."""
    names = {card.name for card in cards}
    return [(card.name, other) for card in cards for other in card.held_out_by if other in names]


def unmatched_groups(
    cards: Sequence[Card], patients: Mapping[str, Iterable[str]] | None = None, audited: Iterable[str] = ()
) -> list[tuple[str, ...]]:
    """Groups of datasets that share images but no name of a patient, and that were not audited together.

    Args:
        cards: Cards of a run or a selection.
        patients: Patients of each dataset; None if no files were read, then the namespaces decide.
        audited: Datasets that an audit has compared.

    Returns:
        Connected groups, each in alphabetical order.
    """
    names = {name: set(of_dataset) for name, of_dataset in (patients or {}).items()}
    compared = set(audited)

    def unmatched(one: Card, other: Card) -> bool:
        matched = share_names(one, other) if patients is None else bool(names[one.name] & names[other.name])
        return not matched and share_images(one, other) and not {one.name, other.name} <= compared

    return _groups((one, other) for one, other in combinations(cards, 2) if unmatched(one, other))


def _groups(pairs: Iterable[tuple[Card, Card]]) -> list[tuple[str, ...]]:
    """The connected groups of pairs, each in alphabetical order."""
    groups: list[set[str]] = []
    for one, other in pairs:
        joined = [group for group in groups if {one.name, other.name} & group]
        groups = [group for group in groups if group not in joined] + [{one.name, other.name}.union(*joined)]
    return sorted(tuple(sorted(group)) for group in groups)
