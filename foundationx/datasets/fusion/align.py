"""Alignment of classes: which classes of the selected datasets mean the same (phase 2 of MDFP).

Each dataset and task keeps its own head, so nothing is pooled in training. The alignment states which heads may be
averaged or compared by name, and which may not, and why. A class that a dataset does not have is unknown, not negative.
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
    """One class of one head, and the target that it may share.

    Attributes:
        concept: Concept of the vocabulary; empty if the card names none.
        head: Dataset and task.
        name: Name of the class in its card.
        relation: Relation to the concept, by the card.
        polarity: Whether a positive label means presence or absence of the concept.
        shares: Name of the target that it may share (``nodule/detection/presence``); empty if none.
        why: Reason for sharing none.
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
        members: Classes by concept, in the order of the vocabulary; classes without a concept last.
        heads: All heads.
        vocabulary: Vocabulary of the concepts.
    """

    members: tuple[Member, ...]
    heads: tuple[TaskKey, ...]
    vocabulary: Vocabulary

    def targets(self) -> dict[str, list[Member]]:
        """Classes that may share a target, by its name; each target has classes of at least two heads."""
        targets: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            if member.shares:
                targets[member.shares].append(member)
        return dict(targets)

    def concepts(self) -> dict[str, list[Member]]:
        """Classes by concept."""
        concepts: dict[str, list[Member]] = defaultdict(list)
        for member in self.members:
            if member.concept:
                concepts[member.concept].append(member)
        return dict(concepts)

    def unknown_for(self, concept: str) -> list[TaskKey]:
        """Heads without a class of the concept."""
        known = {member.head for member in self.members if member.concept == concept}
        return [head for head in self.heads if head not in known]

    def related(self, concept: str) -> list[Member]:
        """Classes of broader and narrower concepts: close in meaning, but not the same."""
        within = self.vocabulary.within
        return [
            member
            for member in self.members
            if member.concept and member.concept != concept
            if within(member.concept, concept) or within(concept, member.concept)
        ]


def align(cards: Iterable[tuple[Card, Sequence[Task]]], vocabulary: Vocabulary) -> Alignment:
    """Aligns the classes of the cards' heads.

    Classes may share a target if their relation to one concept is ``exact`` and their task and polarity are the same.

    Args:
        cards: Cards with the tasks to train; the other tasks of a card have no head.
        vocabulary: Vocabulary of the concepts.
    """
    heads = [(TaskKey(card.name, task), card.tasks[task].classes) for card, tasks in cards for task in tasks]
    classes = [(head, spec) for head, specs in heads for spec in specs]
    exact: dict[str, set[TaskKey]] = defaultdict(set)
    for head, spec in classes:
        if spec.canonical and spec.relation == "exact":
            exact[_target(head, spec)].add(head)
    members = [_member(head, spec, classes, exact) for head, spec in classes]
    order = {name: index for index, name in enumerate(vocabulary.names())}
    members.sort(key=lambda member: order.get(member.concept, len(order)))
    return Alignment(tuple(members), tuple(head for head, _ in heads), vocabulary)


def _target(head: TaskKey, spec: ClassSpec) -> str:
    return f"{spec.canonical}/{head.task.value}/{spec.polarity}"


def _member(
    head: TaskKey, spec: ClassSpec, classes: list[tuple[TaskKey, ClassSpec]], exact: Mapping[str, set[TaskKey]]
) -> Member:
    values = (head, spec.name, spec.relation, spec.polarity)
    if spec.canonical is None:
        return Member("", *values, "", "its card names no concept, so its meaning is unknown")
    if spec.relation == "exact" and len(exact[_target(head, spec)]) > 1:
        return Member(spec.canonical, *values, _target(head, spec), "")
    if spec.relation != "exact":
        meaning = {
            "narrower": "it is a kind of the concept: a negative label does not rule out the other kinds",
            "broader": "it includes more than the concept: a positive label may mean something else",
            "related": "it is related to the concept, not the same",
        }
        return Member(spec.canonical, *values, "", f"{spec.relation}: {meaning[spec.relation]}")
    return Member(spec.canonical, *values, "", _why_alone(head, spec, classes))


def _why_alone(head: TaskKey, spec: ClassSpec, classes: list[tuple[TaskKey, ClassSpec]]) -> str:
    """Why no other class of the concept has the same meaning: they differ in relation, polarity or task."""
    others = [
        (key, other) for key, other in classes if other.canonical == spec.canonical and (key, other) != (head, spec)
    ]
    if not others:
        return "no other head has the concept"
    differences = []
    for key, other in others:
        parts = [
            text
            for text, differs in (
                (f"relation {other.relation}", other.relation != "exact"),
                (f"opposite polarity ({other.polarity})", other.polarity != spec.polarity),
                (f"task {key.task.value}", key.task != head.task),
            )
            if differs
        ]
        differences.append(f"{key} {other.name!r}: {', '.join(parts)}")
    return "; ".join(differences)
