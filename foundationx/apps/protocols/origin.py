"""Origin: how well dataset and site can be told from frozen features, beside a thumbnail, random weights and chance.

A feature that knows where an image comes from can take a shortcut if findings are more frequent there. Some of that is
in any picture: what a thumbnail of 16 x 16 pixels gives away is no fault of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from foundationx.apps.protocols.base import Request, Result, Subject
from foundationx.core.arrays import AnyArray
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split, TaskKey
from foundationx.data.loader import AGAIN, SampleRef, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.datasets.attributes import read_attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.relations import groups_that_share
from foundationx.evaluation.origin import LEAST_PATIENTS, Recognised, recognise, thumbnails
from foundationx.models.foundation_model import FoundationModel

COLUMNS = (
    "what",
    "origins",
    "images",
    "patients",
    "features",
    "95 % interval",
    "thumbnail",
    "random weights",
    "chance",
)

OF_PATIENTS = ("age", "sex")
"""Attributes that are the patient's, not the site's."""

NEEDS_CARD = False
"""Whether ``--card`` has to be given."""


class Options(Section):
    """Which images, and beside what."""

    split: Literal["train", "val", "test", "all"] = Field("test", description="split whose patients are used")
    images: int = Field(500, ge=20, le=100_000, description="most images of each dataset, drawn at random")
    untrained: bool = Field(True, description="probe the same network with random weights, too")
    seed: int = Field(0, ge=0, description="seed of images, folds, draws and random weights")


@dataclass(frozen=True)
class Embedded:
    """Images of all datasets.

    Attributes:
        datasets, images, patients: (N,) names.
        features, untrained: (N, D) pooled features of the model and of the same network with random weights.
        small: (N, 256) thumbnails.
    """

    datasets: AnyArray
    images: AnyArray
    patients: AnyArray
    features: AnyArray
    untrained: AnyArray | None
    small: AnyArray


def run(request: Request, options: Options) -> Result:
    """Probes for the dataset, and in each dataset for every attribute of the site that its card names.

    Raises:
        ConfigError: There are fewer than two origins with enough patients.
        FoundationXError: Checkpoint, card or data cannot be used.
    """
    subject = Subject(request, with_own=True)
    embedded = _embed(subject, options)
    merged = groups_that_share([Catalog().card(name) for name in dict.fromkeys(embedded.datasets)])
    name_of = {name: "+".join(group) for group in merged for name in group}
    origins = np.array([name_of.get(name, name) for name in embedded.datasets])
    notes = [f"{'+'.join(group)} show the same images and count as one origin" for group in merged]
    rows, left_out = [], []
    for what, names, chosen in _questions(subject, embedded, origins):
        answer = _answer(what, names, chosen, embedded, options)
        if answer is None:
            left_out.append(what)
        else:
            rows += answer
    if not rows:
        found = f"fewer than two origins with {LEAST_PATIENTS} patients in {options.split}"
        fix = "choose another split (--with split=val), or add a dataset with --card"
        raise ConfigError("--protocol origin", found, "two origins at least", fix)
    notes += [f"{what}: left out, fewer than two origins with {LEAST_PATIENTS} patients" for what in left_out]
    notes.append(
        "balanced accuracy of a linear probe, cross-validated by patient; patients of two origins are left out"
    )
    title = f"origin of images in the backbone of {request.checkpoint} ({subject.name}), {options.split}"
    return Result(title, COLUMNS, rows, notes)


def _questions(subject: Subject, embedded: Embedded, origins: AnyArray) -> Iterator[tuple[str, AnyArray, AnyArray]]:
    """What is asked, the origin of each image ("" if unknown), and which images (N,) bool it is asked of."""
    yield "dataset", origins, np.ones(len(origins), dtype=bool)
    for dataset in dict.fromkeys(embedded.datasets):
        card, mask = Catalog().card(str(dataset)), embedded.datasets == dataset
        if card.attributes is None:
            continue
        values = read_attributes(card, subject.data_module.roots[str(dataset)], embedded.images[mask])
        for attribute, column in values.items():
            if attribute not in OF_PATIENTS:
                names = np.full(len(origins), "", dtype=object)
                names[mask] = [value.strip() for value in column]
                yield f"{attribute} in {dataset}", names.astype(str), mask


def _answer(
    what: str, names: AnyArray, chosen: AnyArray, embedded: Embedded, options: Options
) -> list[tuple[str, ...]] | None:
    """Rows of one question: all origins, then each one; None if fewer than two have enough patients."""
    of_patient: dict[str, set[str]] = {}
    for patient, name in zip(embedded.patients[chosen], names[chosen], strict=True):
        of_patient.setdefault(patient, set()).add(name)
    single = np.array([len(of_patient.get(patient, ())) == 1 for patient in embedded.patients])
    mask = chosen & single & (names != "")
    counts = {name: len(set(embedded.patients[mask & (names == name)])) for name in np.unique(names[mask])}
    kept = [name for name, count in counts.items() if count >= LEAST_PATIENTS]
    if len(kept) < 2:
        return None
    mask &= np.isin(names, kept)

    def probe(features: AnyArray | None) -> Recognised | None:
        if features is None:
            return None
        return recognise(features[mask], names[mask], embedded.patients[mask], seed=options.seed)

    own, small, bare = (probe(features) for features in (embedded.features, embedded.small, embedded.untrained))
    assert own is not None and small is not None
    ends = "-" if own.low is None or own.high is None else f"{own.low:.3f} to {own.high:.3f}"
    patients = len(set(embedded.patients[mask]))
    counted = (str(len(kept)), str(mask.sum()), str(patients))
    values = (f"{own.accuracy:.3f}", ends, f"{small.accuracy:.3f}", f"{bare.accuracy:.3f}" if bare else "-")
    rows: list[tuple[str, ...]] = [(what, *counted, *values, f"{1 / len(kept):.3f}")]
    for name in kept:
        here = mask & (names == name)
        recalls = (
            f"{own.recalls[name]:.3f}",
            "",
            f"{small.recalls[name]:.3f}",
            f"{bare.recalls[name]:.3f}" if bare else "-",
        )
        rows.append((f"{what}: {name}", "", str(here.sum()), str(len(set(embedded.patients[here]))), *recalls, ""))
    return rows


def _embed(subject: Subject, options: Options) -> Embedded:
    """One pass over the images of every dataset, each once."""
    models = [subject.model.eval()]
    if options.untrained:
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            models.append(FoundationModel(subject.config.model, subject.checkpoint.classes).to(subject.device).eval())
    normalise, runtime = Normaliser(subject.config.model, subject.device), subject.config.runtime
    refs = list(_refs(subject, options))
    size = runtime.eval_batch_size
    batches = [part[start : start + size] for part in refs for start in range(0, len(part), size)]
    seen: list[tuple[AnyArray, ...]] = []
    names: list[tuple[str, str, str]] = []
    pool = subject.data_module.as_test().evaluation(Split.TEST)  # images of any split
    for item in read_all(make_loader(pool, batches, runtime.workers, pin_memory=False), "evaluation", AGAIN):
        batch = usable(item, "raise")
        pixels = normalise(batch.images.to(subject.device))
        with torch.no_grad():
            pooled = [model.backbone(pixels)[-1].mean(dim=(2, 3)).double().cpu().numpy() for model in models]
        seen.append((thumbnails(batch.images[:, 0].numpy()), *pooled))
        names += [(meta.key.dataset, meta.image, meta.patient) for meta in batch.metas]
    if not seen:
        fix = "choose another split (--with split=val)"
        raise ConfigError("--protocol origin", f"no image in {options.split}", "images of two datasets", fix)
    small, features, *bare = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    datasets, images, patients = (np.array(column) for column in zip(*names, strict=True))
    return Embedded(datasets, images, patients, features, bare[0] if bare else None, small)


def _refs(subject: Subject, options: Options) -> Iterator[list[SampleRef]]:
    """References to the images of each dataset, in the order of their files; a dataset's tasks share its images."""
    random = np.random.default_rng(options.seed)
    tables: dict[str, dict[str, tuple[TaskKey, int]]] = {}
    for key, table in subject.data_module.annotations.items():
        if key.task.facts.needs_annotations:
            for index in _indices(subject, key, table, options.split):
                tables.setdefault(key.dataset, {}).setdefault(table.images[index], (key, int(index)))
    for images in tables.values():
        chosen = sorted(images.values())
        if len(chosen) > options.images:
            chosen = [chosen[row] for row in sorted(random.permutation(len(chosen))[: options.images])]
        for key in dict.fromkeys(key for key, _ in chosen):
            yield [SampleRef(key, index, index) for other, index in chosen if other == key]


def _indices(subject: Subject, key: TaskKey, table: Annotations, split: str) -> AnyArray:
    by_split = subject.data_module.indices[key]
    return np.sort(np.concatenate(list(by_split.values()))) if split == "all" else by_split[Split(split)]
