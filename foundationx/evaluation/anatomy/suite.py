"""All measures of anatomy for one frozen backbone and radiographs of different patients.

Every value is given per radiograph, so that an interval over patients can be computed, with its value by chance beside
it: the mean over unrelated pairs for a cosine, the share of right guesses for a search, and for a distance those of a
random position and of the landmark's mean position.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from foundationx.core.geometry.samplers import middle_square, scaled_box
from foundationx.data.transforms.view_sets import crop
from foundationx.evaluation.anatomy import measures as anatomy
from foundationx.evaluation.anatomy.landmarks import Points, as_array, common, mirror_pairs
from foundationx.evaluation.anatomy.space import (
    KINDS,
    draw_relations,
    paired_cosines,
    probe_hits,
    silhouettes,
    symmetry,
)
from foundationx.evaluation.statistic import MEAN

NEED_LANDMARKS = "locality, landmark probe, correspondence and symmetry"
"""Measures that need landmarks."""

RADIUS = 0.1
"""Share of the image's side within which a match counts as correct (PCK)."""

WHOLES = (0.4, 0.98)
"""Least and greatest side of the crops of composition, as shares of the image's."""


@dataclass(frozen=True)
class Radiograph:
    """One radiograph of one patient: a square uint8 image (S, S), its landmarks, and its name."""

    image: np.ndarray
    landmarks: Points
    name: str = ""


@dataclass(frozen=True)
class Settings:
    """How the radiographs are measured.

    Attributes:
        view: Side in pixels of the view around a position, an odd number of tokens.
        step: Pixels between the positions of another radiograph that are searched.
        neighbours: Number of neighbours that vote (locality).
        gallery: Number of radiographs among which the blackened part is searched (decomposition), at most all.
        relations: Number of positions of each kind per radiograph.
        seed: Seed of everything random.
    """

    view: int
    step: int = 16
    neighbours: int = 5
    gallery: int = 16
    relations: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """One measure.

    Attributes:
        name, class_name: Name of the measure, and the landmark or ``mean``.
        values, baselines: (n,) value of each radiograph, and its value by chance.
        against: What the baseline is.
        count: Number of positions or pairs that the values rest on.
        better: Whether more is better; distances are the other way round.
    """

    name: str
    class_name: str
    values: np.ndarray
    baselines: np.ndarray
    against: str
    count: int
    better: bool = True

    @property
    def value(self) -> float:
        """Mean over the radiographs."""
        return float(self.values.mean())

    @property
    def baseline(self) -> float:
        """Mean value by chance."""
        return float(self.baselines.mean())

    @property
    def gain(self) -> float:
        """Value minus baseline: unlike a cosine by itself, it can be compared between networks."""
        return self.value - self.baseline


@dataclass(frozen=True)
class AnatomyMeasures:
    """All measures, and features of positions for pictures; ``left_out`` lists what was not measured and why."""

    measured: list[Measured]
    landmarks: list[str] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measure(
    encoder: anatomy.Encoder, radiographs: Sequence[Radiograph], settings: Settings, report: Callable[[str], None]
) -> AnatomyMeasures:
    """Every measure that the radiographs allow.

    Args:
        encoder: Encoder of the backbone.
        radiographs: At least two, of different patients, all of one size.
        settings: Settings of the measures.
        report: Called with the name of each part before it is measured.
    """
    random = np.random.default_rng(settings.seed)
    report("relations of positions")
    result = AnatomyMeasures(relations(encoder, radiographs, settings, random))
    report("wholes and parts")
    result.measured.extend(parts(encoder, radiographs, settings, random))
    names = common([radiograph.landmarks for radiograph in radiographs])
    if len(names) < 2:
        result.left_out.append(f"{NEED_LANDMARKS}: the radiographs have no landmarks")
        return result
    report("landmarks")
    result.landmarks.extend(names)
    positions = anatomy.grid_of(radiographs[0].image.shape[0], settings.step)
    for radiograph in radiographs:
        own = [name for name in names if name in radiograph.landmarks]
        points = as_array(radiograph.landmarks, own)
        features = anatomy.features_at(encoder, radiograph.image, np.concatenate([points, positions]), settings.view)
        result.queries.append(features[: len(own)])
        result.keys.append(features[len(own) :])
    result.measured.extend(landmark_classes(radiographs, names, result.queries, settings))
    result.measured.extend(correspondences(radiographs, names, result, positions))
    pairs = mirror_pairs(names)
    if len(pairs) < 2:
        result.left_out.append("symmetry: no landmark occurs on both sides of the body")
    else:
        result.measured.extend(symmetries(radiographs, names, result.queries, pairs))
    return result


def relations(
    encoder: anatomy.Encoder, radiographs: Sequence[Radiograph], settings: Settings, random: np.random.Generator
) -> list[Measured]:
    """Interpolation, extrapolation and triangulation: cosine of a position's feature to its prediction from others."""
    rows = []
    size = radiographs[0].image.shape[0]
    for kind in KINDS:
        predicted, seen, near = [], [], []
        for radiograph in radiographs:
            drawn = draw_relations(kind, settings.relations, size, random)
            positions = np.concatenate([drawn.known.reshape(-1, 2), drawn.targets])
            features = anatomy.features_at(encoder, radiograph.image, positions, settings.view)
            known = features[: -settings.relations].unflatten(0, drawn.known.shape[:2])
            predicted.append(drawn.predicted(known))
            near.append(drawn.nearest(known))
            seen.append(features[-settings.relations :])
        own = torch.stack([paired_cosines(*pair).mean() for pair in zip(predicted, seen, strict=True)]).numpy()
        cosines = anatomy.cosines_of(torch.cat(predicted), torch.cat(seen))
        blocks = cosines.unflatten(0, (len(radiographs), -1)).unflatten(2, (len(radiographs), -1)).mean(dim=(1, 3))
        others = anatomy.own_and_others(blocks)[1].numpy()
        nearest = torch.stack([paired_cosines(*pair).mean() for pair in zip(near, seen, strict=True)]).numpy()
        count = len(radiographs) * settings.relations
        rows.append(Measured(kind, MEAN, own, others, "random pairs", count))
        rows.append(Measured(kind, MEAN, own, nearest, "nearest known position", count))
    return rows


def parts(
    encoder: anatomy.Encoder, radiographs: Sequence[Radiograph], settings: Settings, random: np.random.Generator
) -> list[Measured]:
    """Composition of crops of .4 to .98 of the side; decomposition of whole radiographs in a gallery of fixed size."""
    cut = []
    for radiograph in radiographs:
        share = random.uniform(*WHOLES) ** 2
        box = scaled_box(middle_square(radiograph.image.shape), (share, share), (1.0, 1.0), random)
        cut.append(crop(radiograph.image, box, radiograph.image.shape[0]))
    wholes, quadrants, _ = anatomy.parts_of(encoder, cut, settings.view)
    own, others = anatomy.composition_cosines(wholes, quadrants)
    rows = [Measured("composition", MEAN, own.numpy(), others.numpy(), "random pairs", len(radiographs))]
    wholes, quadrants, without = anatomy.parts_of(
        encoder, [radiograph.image for radiograph in radiographs], settings.view
    )
    gallery = min(settings.gallery, len(radiographs))
    hits = np.zeros((len(radiographs) // gallery * gallery, 4))
    for start in range(0, len(hits), gallery):
        part = slice(start, start + gallery)
        for q in range(4):
            hits[part, q] = anatomy.decomposition_hits(wholes[part], without[part, q], quadrants[part, q]).numpy()
    chance = np.full(len(hits), 1 / gallery)
    rows.append(Measured("decomposition", MEAN, hits.mean(axis=1), chance, f"chance, 1 of {gallery}", hits.size))
    return rows


def landmark_classes(
    radiographs: Sequence[Radiograph], names: Sequence[str], queries: Sequence[Tensor], settings: Settings
) -> list[Measured]:
    """Locality, probe and silhouette: whether features of a landmark are alike across patients."""
    kinds = [n for radiograph in radiographs for n, name in enumerate(names) if name in radiograph.landmarks]
    owners = [n for n, features in enumerate(queries) for _ in features]
    features = torch.cat(list(queries))
    frequent = np.bincount(kinds).max() / len(kinds)
    others = min(len(kinds) - owners.count(owner) for owner in set(owners))
    neighbours = min(settings.neighbours, others)
    result = {
        "locality": anatomy.locality_hits(features, kinds, owners, neighbours).numpy(),
        "landmark probe": probe_hits(features, kinds, owners),
    }
    rows = []
    for name, hits in result.items():
        by_radiograph = _by_radiograph(hits, owners)
        chance = np.full(len(by_radiograph), frequent)
        rows.append(Measured(name, MEAN, by_radiograph, chance, "most frequent landmark", len(kinds)))
    by_radiograph = _by_radiograph(silhouettes(features, kinds), owners)
    rows.append(Measured("silhouette", MEAN, by_radiograph, np.zeros(len(by_radiograph)), "no clusters", len(kinds)))
    return rows


def _by_radiograph(values: np.ndarray, owners: Sequence[int]) -> np.ndarray:
    return np.bincount(owners, weights=values.astype(float))[np.unique(owners)] / np.bincount(owners)[np.unique(owners)]


def correspondences(
    radiographs: Sequence[Radiograph], names: Sequence[str], result: AnatomyMeasures, positions: np.ndarray
) -> list[Measured]:
    """Distance of the best match in another patient's radiograph, and how often it is near, over all ordered pairs.

    Landmarks that one of the two radiographs lacks are left out of sums and counts.
    """
    radius = RADIUS * radiographs[0].image.shape[0]
    owned = [[name for name in names if name in radiograph.landmarks] for radiograph in radiographs]
    kinds: list[tuple[int, str]] = []
    columns: list[np.ndarray] = []
    for query, target in itertools.permutations(range(len(radiographs)), 2):
        shared = [name for name in owned[query] if name in owned[target]]
        if shared:
            rows = result.queries[query][[owned[query].index(name) for name in shared]]
            truth = as_array(radiographs[target].landmarks, shared)
            far, chosen = anatomy.distances(positions, truth), anatomy.matches(rows, result.keys[target])
            from_mean = np.linalg.norm(_mean_position(radiographs, shared, target) - truth, axis=1)
            near = far <= radius
            values = [(chosen * far).sum(axis=1), far.mean(axis=1), from_mean, (chosen * near).sum(axis=1)]
            columns.append(np.stack([*values, near.mean(axis=1)]))
            kinds += [(query, name) for name in shared]
    errors, anywhere, means, hits, by_chance = np.concatenate(columns, axis=1)
    table = _Pairs(np.array([query for query, _ in kinds]), np.array([name for _, name in kinds]))
    error, near = "correspondence (px)", f"found within {radius:.0f} px"
    measured = [
        table.measured(error, MEAN, errors, anywhere, "random position", better=False),
        table.measured(error, MEAN, errors, means, "mean position of the landmark", better=False),
        table.measured(near, MEAN, hits, by_chance, "random position"),
    ]
    return measured + [table.measured(error, name, errors, anywhere, "random position", better=False) for name in names]


def _mean_position(radiographs: Sequence[Radiograph], names: Sequence[str], without: int) -> np.ndarray:
    """(len(names), 2) mean position of each landmark in the other radiographs."""
    others = [radiograph.landmarks for n, radiograph in enumerate(radiographs) if n != without]
    return np.stack([np.mean([points[name] for points in others if name in points], axis=0) for name in names])


@dataclass(frozen=True)
class _Pairs:
    """Radiograph and landmark of every search, (n,) each."""

    queries: np.ndarray
    names: np.ndarray

    def measured(
        self, name: str, class_name: str, values: np.ndarray, baselines: np.ndarray, against: str, better: bool = True
    ) -> Measured:
        """Means per radiograph, over one landmark or all."""
        chosen = np.ones(len(values), dtype=bool) if class_name == MEAN else self.names == class_name
        owners = self.queries[chosen].tolist()
        own, other = (_by_radiograph(column[chosen], owners) for column in (values, baselines))
        return Measured(name, class_name, own, other, against, int(chosen.sum()), better)


def symmetries(
    radiographs: Sequence[Radiograph], names: Sequence[str], queries: Sequence[Tensor], pairs: Sequence[tuple[str, str]]
) -> list[Measured]:
    """Whether right plus left minus right gives left, in radiographs with two landmarks on both sides of the body."""
    hits, chances, count = [], [], 0
    for radiograph, features in zip(radiographs, queries, strict=True):
        own = [name for name in names if name in radiograph.landmarks]
        known = [(own.index(right), own.index(left)) for right, left in pairs if right in own and left in own]
        if len(known) >= 2:
            result, chance = symmetry(features, known)
            hits.append(float(result.mean()))
            chances.append(float(chance.mean()))
            count += len(result)
    if not hits:
        return []
    return [Measured("symmetry", MEAN, np.array(hits), np.array(chances), "any other landmark", count)]
