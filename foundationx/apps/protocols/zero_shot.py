"""Zero-shot: a head of the model, named, answers for a class of a dataset that it was not trained on.

Which head answers is decided before test is seen: by name, or because exactly one class of the model means the same in
the vocabulary. (As published, the head was chosen after several had been scored on test.)

``published`` is the protocol of Ark+: the outputs that it names (``PUBLISHED_ANSWERS``), sigmoid also where classes
exclude each other, every image of the dataset, and 1,000 resamples of images for intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
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
from foundationx.evaluation.ranking import POSITIVE
from foundationx.weights.imports.released import PUBLISHED_ANSWERS

USE = "--with use"

RESAMPLES, SEED = 1000, 233
"""Resamples of images of the published intervals, and the seed of their drawing."""

Answer = tuple[TaskKey, int]
"""A head and one of its classes."""


class Options(Section):
    """Which class of the model answers for which class of the dataset."""

    use: dict[str, str] = Field(
        default_factory=dict, description="e.g. {'Pneumothorax': 'chexpert/classification:Pneumothorax'}"
    )
    images: Literal["test", "all"] = Field(
        "test", description="test: the test split; all: every labelled image, of a dataset that no model has seen"
    )
    published: bool = Field(
        False, description="as Ark+ was evaluated: its outputs for the dataset, sigmoid of each, every image"
    )


def run(request: Request, options: Options) -> Result:
    """The answers on test, for every class of the dataset that some head of the model can answer for.

    Raises:
        ConfigError: ``use`` names something unknown, several heads could answer and none is named, none can, or
            nothing was published for the dataset.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    if options.images == "all" or options.published:
        subject.data_module = subject.data_module.as_test()
    subject.need(key, (Split.TEST,))
    classes = subject.data_module.classes[key]
    chosen = _named(_published(request.card) | options.use if options.published else options.use, classes, subject)
    for name in () if options.published else classes:
        if name not in chosen and (answer := _same_meaning(request.card, name, subject)) is not None:
            chosen[name] = answer
    if not chosen:
        known = ", ".join(map(str, _heads(subject)))
        raise ConfigError(USE, f"no class of the model means one of {', '.join(classes)}", f"a class of {known}")
    if options.published:
        _make_independent(subject, chosen)
    predictions = _answers(subject, key, chosen)
    part = "all images" if options.images == "all" or options.published else "test"
    title = f"zero-shot answers of {request.checkpoint} ({subject.name}) on {key}, {part}"
    notes = [f"{name}: {head}, {subject.model.classes[head][column]}" for name, (head, column) in chosen.items()]
    left = [name for name in classes if name not in chosen]
    notes += [f"no head answers for {', '.join(left)}"] * bool(left)
    notes += _published_intervals(predictions) if options.published else []
    return Result(
        title, ("metric", "class", "n", "value", "95 % interval"), interval_rows(predictions), notes, [predictions]
    )


def _published(card: str) -> dict[str, str]:
    """The published outputs for a dataset. Raises ConfigError: nothing was published for it."""
    if card not in PUBLISHED_ANSWERS:
        fix = "leave published out, or choose one of these"
        raise ConfigError(
            "--with published", f"no zero-shot output was published for {card}", ", ".join(PUBLISHED_ANSWERS), fix
        )
    return PUBLISHED_ANSWERS[card]


def _make_independent(subject: Subject, chosen: Mapping[str, Answer]) -> None:
    """Sigmoid of each output, also of heads whose classes exclude each other."""
    for key in {head for head, _ in chosen.values()}:
        subject.model.head(key).exclusive = False


def _published_intervals(predictions: Predictions) -> list[str]:
    """AUROC of each class with the published kind of interval: percentiles over resamples of images."""
    from sklearn.metrics import roc_auc_score

    notes, draw = [], np.random.RandomState(SEED)
    probabilities = predictions.recorded["probabilities"]
    assert isinstance(probabilities, np.ndarray)
    for column, name in enumerate(predictions.classes):
        labels = predictions.labels[:, column]
        known = ~np.isnan(labels)
        truth, scores = labels[known] >= POSITIVE, probabilities[known, column]
        if truth.all() or not truth.any():
            continue
        resampled = (draw.randint(0, len(truth), len(truth)) for _ in range(RESAMPLES))
        areas = [roc_auc_score(truth[rows], scores[rows]) for rows in resampled if 0 < truth[rows].sum() < len(rows)]
        low, high = np.percentile(areas, [2.5, 97.5])
        notes.append(
            f"{name}: AUROC {roc_auc_score(truth, scores):.4f}, {low:.4f} to {high:.4f} over {RESAMPLES} resamples of "
            f"{len(truth):,} images, seed {SEED}"
        )
    return notes


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
        described = {item.name: item for item in catalog.card(key.dataset).tasks[key.task].classes}
        for column, own in enumerate(described.get(name) for name in subject.model.classes[key]):
            if own is not None and (own.canonical, own.relation, own.polarity) == (
                target.canonical,
                "exact",
                target.polarity,
            ):
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
