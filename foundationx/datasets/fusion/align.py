"""Phase 2 at the level of classes (``mdfp.md`` A.5): which classes of the kept heads mean the same.

Heads stay one a dataset and task, so nothing is pooled in training; the alignment says which heads may be averaged or
compared by name, and which must not, and why. A class that a dataset does not have is unknown there, never negative.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from foundationx.core.types import Task, TaskKey
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Vocabulary


@dataclass(frozen=True)
class Member:
    """One class of one head and what becomes of it.

    Attributes:
        concept: of the vocabulary; empty where the card names none.
        head: dataset and task.
        name: of the class, in its card.
        relation, polarity: to the concept, by the card.
        shares: name of the target that it may share (``nodule/detection/presence``); empty where it stands alone.
        why: why it shares none.
    """

    concept: str
    head: TaskKey
    name: str
    relation: str
    polarity: str
    shares: str
    why: str


@dataclass(frozen=True)
class Alignment:
    """All classes of the heads.

    Attributes:
        members: by concept, in the order of the vocabulary; classes without a concept last.
        heads: all heads.
        vocabulary: that the concepts are of.
    """

    members: tuple[Member, ...]
    heads: tuple[TaskKey, ...]
    vocabulary: Vocabulary

    def targets(self) -> dict[str, list[Member]]:
        """Classes that may share a target, by its name; each target has classes of at least two heads."""
        found: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            if member.shares:
                found[member.shares].append(member)
        return dict(found)

    def concepts(self) -> dict[str, list[Member]]:
        """Classes of each concept."""
        found: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            if member.concept:
                found[member.concept].append(member)
        return dict(found)

    def unknown_for(self, concept: str) -> list[TaskKey]:
        """Heads that say nothing of a concept."""
        known = {member.head for member in self.members if member.concept == concept}
        return [head for head in self.heads if head not in known]

    def kin_of(self, concept: str) -> list[Member]:
        """Classes of wider and narrower concepts: near in meaning, and not the same."""
        within = self.vocabulary.within
        return [
            member
            for member in self.members
            if member.concept and member.concept != concept
            if within(member.concept, concept) or within(concept, member.concept)
        ]


def align(cards: Iterable[tuple[Card, Sequence[Task]]], vocabulary: Vocabulary) -> Alignment:
    """Aligns the classes of the cards' heads.

    Classes may share a target where their relation to one concept is ``exact`` and task and polarity are the same.

    Args:
        cards: with the tasks that are trained; a card's other tasks have no head.
        vocabulary: of the concepts.
    """
    heads = [(TaskKey(card.name, task), card.tasks[task].classes) for card, tasks in cards for task in tasks]
    classes = [(head, spec) for head, specs in heads for spec in specs]
    exact: dict[str, set[TaskKey]] = defaultdict(set)
    for head, spec in classes:
        if spec.canonical and spec.relation == "exact":
            exact[_target(head, spec)].add(head)
    members = [_member(head, spec, classes, exact) for head, spec in classes]
    place = {name: number for number, name in enumerate(vocabulary.names())}
    members.sort(key=lambda member: place.get(member.concept, len(place)))
    return Alignment(tuple(members), tuple(head for head, _ in heads), vocabulary)


def _target(head: TaskKey, spec: ClassSpec) -> str:
    return f"{spec.canonical}/{head.task.value}/{spec.polarity}"


def _member(
    head: TaskKey, spec: ClassSpec, classes: list[tuple[TaskKey, ClassSpec]], exact: Mapping[str, set[TaskKey]]
) -> Member:
    values = (head, spec.name, spec.relation, spec.polarity)
    if spec.canonical is None:
        return Member("", *values, "", "its card names no concept: what it means is not known")
    if spec.relation == "exact" and len(exact[_target(head, spec)]) > 1:
        return Member(spec.canonical, *values, _target(head, spec), "")
    if spec.relation != "exact":
        meaning = {
            "narrower": "it is a kind of the concept: a negative says nothing of the rest",
            "broader": "it includes more than the concept: a positive may be something else",
            "related": "it is related to the concept, not the same",
        }
        return Member(spec.canonical, *values, "", f"{spec.relation}: {meaning[spec.relation]}")
    return Member(spec.canonical, *values, "", _why_alone(head, spec, classes))


def _why_alone(head: TaskKey, spec: ClassSpec, classes: list[tuple[TaskKey, ClassSpec]]) -> str:
    """Why an exact class finds no partner: the others of its concept differ in relation, polarity or task."""
    others = [
        (key, other) for key, other in classes if other.canonical == spec.canonical and (key, other) != (head, spec)
    ]
    if not others:
        return "no other head has the concept"
    faults = []
    for key, other in others:
        differs = [
            text
            for text, is_so in (
                (f"relation {other.relation}", other.relation != "exact"),
                (f"opposite polarity ({other.polarity})", other.polarity != spec.polarity),
                (f"task {key.task.value}", key.task != head.task),
            )
            if is_so
        ]
        faults.append(f"{key} {other.name!r}: {', '.join(differs)}")
    return "; ".join(faults)
