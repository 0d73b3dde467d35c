"""Zero-shot: a head of the model, named, answers for a class of a dataset that it was not trained on.

Which head answers is decided before test is seen: by name, or because exactly one class of the model means the same in
the vocabulary. (As published, the head was chosen after several had been scored on test.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.apps.protocols.embedding import apply_to_all, predictions_of, probabilities_of
from foundationx.apps.protocols.linear import interval_rows
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.predictions import Predictions

USE = "--with use"

Answer = tuple[TaskKey, int]
"""A head and one of its classes."""


class Options(Section):
    """Which class of the model answers for which class of the dataset."""

    use: dict[str, str] = Field(
        default_factory=dict, description="e.g. {'Pneumothorax': 'chexpert/classification:Pneumothorax'}"
    )


def run(request: Request, options: Options) -> Result:
    """The answers on test, for every class of the dataset that some head of the model can answer for.

    Raises:
        ConfigError: ``use`` names something unknown, several heads could answer and none is named, or none can.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    subject.need(key, (Split.TEST,))
    classes = subject.data_module.classes[key]
    chosen = _named(options.use, classes, subject)
    for name in classes:
        if name not in chosen and (answer := _same_meaning(request.card, name, subject)) is not None:
            chosen[name] = answer
    if not chosen:
        known = ", ".join(map(str, _heads(subject)))
        raise ConfigError(USE, f"no class of the model means one of {', '.join(classes)}", f"a class of {known}")
    predictions = _answers(subject, key, chosen)
    title = f"zero-shot answers of {request.checkpoint} ({subject.name}) on {key}, test"
    notes = [f"{name}: {head}, {subject.model.classes[head][column]}" for name, (head, column) in chosen.items()]
    left = [name for name in classes if name not in chosen]
    notes += [f"no head answers for {', '.join(left)}"] * bool(left)
    return Result(
        title, ("metric", "class", "n", "value", "95 % interval"), interval_rows(predictions), notes, [predictions]
    )


def _heads(subject: Subject) -> list[TaskKey]:
    return [key for key in subject.model.classes if key.task is LABELS]


def _named(use: Mapping[str, str], classes: Sequence[str], subject: Subject) -> dict[str, Answer]:
    """What the user has named."""
    chosen: dict[str, Answer] = {}
    heads = {str(key): key for key in _heads(subject)}
    for name, answer in use.items():
        head, colon, other = answer.partition(":")
        if not colon:
            raise ConfigError(USE, f"found {answer!r}", "DATASET/classification:CLASS")
        if name not in classes:
            raise ConfigError(USE, f"{name!r} is no class of the dataset", nearest(name, classes))
        if head not in heads:
            raise ConfigError(USE, f"{head!r} is no head of the model", nearest(head, heads))
        own = subject.model.classes[heads[head]]
        if other not in own:
            raise ConfigError(USE, f"{other!r} is no class of {head}", nearest(other, own))
        chosen[name] = (heads[head], own.index(other))
    return chosen


def _same_meaning(card: str, name: str, subject: Subject) -> Answer | None:
    """The one class of the model that means exactly the same. Raises ConfigError if there are several."""
    catalog = Catalog()
    meanings = {item.name: item for item in catalog.card(card).tasks[LABELS].classes}
    target = meanings[name]
    if target.canonical is None or target.relation != "exact":
        return None
    fitting: list[Answer] = []
    for key in _heads(subject):
        for column, own in enumerate(catalog.card(key.dataset).tasks[key.task].classes):
            if (own.canonical, own.relation, own.polarity) == (target.canonical, "exact", target.polarity):
                fitting.append((key, column))
    if len(fitting) > 1:
        several = ", ".join(f"{key}:{subject.model.classes[key][column]}" for key, column in fitting)
        found = f"several heads can answer for {name!r}: {several}"
        raise ConfigError(USE, found, f"use.{name}=DATASET/classification:CLASS", "choose one, before test is seen")
    return fitting[0] if fitting else None


def _answers(subject: Subject, key: TaskKey, chosen: dict[str, Answer]) -> Predictions:
    """Probabilities of the chosen classes on test, and the truth."""
    columns = [subject.data_module.classes[key].index(name) for name in chosen]

    def answer(inputs: Tensor) -> Tensor:
        predicted = {head: probabilities_of(subject.model, inputs, head) for head in {h for h, _ in chosen.values()}}
        return torch.stack([predicted[head][:, column] for head, column in chosen.values()], dim=1)

    embeddings = apply_to_all(subject, key, subject.data_module.evaluation(Split.TEST), Split.TEST, answer)
    predictions = predictions_of(subject, key, Split.TEST, embeddings, embeddings.features)
    return replace(predictions, classes=tuple(chosen), labels=embeddings.labels[:, columns])
