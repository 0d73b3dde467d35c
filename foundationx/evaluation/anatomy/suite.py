"""All measures of anatomy for one frozen backbone and films of different patients (``ssl.md`` section 6).

Every value is given by film, so that an interval over patients can be had, and beside what it would be by chance: the
mean over unrelated pairs for a cosine, the share of right guesses for a search, the distance of a place taken at random
and of the landmark's mean position for a distance.
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

RADIUS = 0.1
"""Of the image's side: a landmark is found where its match lies as near as that (PCK)."""

WHOLES = (0.4, 0.98)
"""Sides of the crops that are composed, as shares of the image's."""


@dataclass(frozen=True)
class Film:
    """One film of one patient: a square uint8 image (S, S), its landmarks, and how it is called."""

    image: np.ndarray
    landmarks: Points
    name: str = ""


@dataclass(frozen=True)
class Settings:
    """How the films are looked at.

    Attributes:
        view: side in pixels of the view around a place, an odd number of tokens.
        step: pixels between the places of another film that are searched.
        neighbours: that vote (locality).
        gallery: images among which what was blackened is searched (decomposition); fewer where there are fewer films.
        relations: places of a kind in a film.
        seed: of all that is drawn.
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
        name, class_name: of the measure, and the landmark or ``mean``.
        values, baselines: (n,) by film, and what it would be by chance.
        against: what the baseline is.
        count: what the values rest on.
        better: whether more of it is better; distances are the other way round.
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
        """Mean over the films."""
        return float(self.values.mean())

    @property
    def baseline(self) -> float:
        """Mean of what would be by chance."""
        return float(self.baselines.mean())

    @property
    def gain(self) -> float:
        """Value minus baseline: what can be compared between networks, as a cosine by itself cannot."""
        return self.value - self.baseline


@dataclass(frozen=True)
class Findings:
    """What was measured, and features of places for pictures; ``left_out`` says what was not and why."""

    measured: list[Measured]
    landmarks: list[str] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measure(encoder: anatomy.Eye, films: Sequence[Film], settings: Settings, tell: Callable[[str], None]) -> Findings:
    """Everything that the films allow.

    Args:
        encoder: the backbone.
        films: two at least, of different patients, all of one size.
        settings: how to look.
        tell: is told what is done.
    """
    random = np.random.default_rng(settings.seed)
    tell("places in relation")
    found = Findings(relations(encoder, films, settings, random))
    tell("wholes and parts")
    found.measured.extend(parts(encoder, films, settings, random))
    names = common([film.landmarks for film in films])
    if len(names) < 2:
        found.left_out.append("locality, landmark probe, correspondence and symmetry: the films have no landmarks")
        return found
    tell("landmarks")
    found.landmarks.extend(names)
    places = anatomy.grid_of(films[0].image.shape[0], settings.step)
    for film in films:
        own = [name for name in names if name in film.landmarks]
        points = as_array(film.landmarks, own)
        looked = anatomy.features_at(encoder, film.image, np.concatenate([points, places]), settings.view)
        found.queries.append(looked[: len(own)])
        found.keys.append(looked[len(own) :])
    found.measured.extend(landmark_classes(films, names, found.queries, settings))
    found.measured.extend(correspondences(films, names, found, places))
    pairs = mirror_pairs(names)
    if len(pairs) < 2:
        found.left_out.append("symmetry: there are no two landmarks that both sides of the body have")
    else:
        found.measured.extend(symmetries(films, names, found.queries, pairs))
    return found


def relations(
    encoder: anatomy.Eye, films: Sequence[Film], settings: Settings, random: np.random.Generator
) -> list[Measured]:
    """Interpolation, extrapolation and triangulation: cosine of a place's feature to what others say it is."""
    rows = []
    size = films[0].image.shape[0]
    for kind in KINDS:
        said, seen, near = [], [], []
        for film in films:
            drawn = draw_relations(kind, settings.relations, size, random)
            places = np.concatenate([drawn.known.reshape(-1, 2), drawn.targets])
            looked = anatomy.features_at(encoder, film.image, places, settings.view)
            known = looked[: -settings.relations].unflatten(0, drawn.known.shape[:2])
            said.append(drawn.predicted(known))
            near.append(drawn.nearest(known))
            seen.append(looked[-settings.relations :])
        own = torch.stack([paired_cosines(*pair).mean() for pair in zip(said, seen, strict=True)]).numpy()
        cosines = anatomy.cosines_of(torch.cat(said), torch.cat(seen))
        blocks = cosines.unflatten(0, (len(films), -1)).unflatten(2, (len(films), -1)).mean(dim=(1, 3))
        others = anatomy.own_and_others(blocks)[1].numpy()
        nearest = torch.stack([paired_cosines(*pair).mean() for pair in zip(near, seen, strict=True)]).numpy()
        count = len(films) * settings.relations
        rows.append(Measured(kind, MEAN, own, others, "random pairs", count))
        rows.append(Measured(kind, MEAN, own, nearest, "nearest known place", count))
    return rows


def parts(
    encoder: anatomy.Eye, films: Sequence[Film], settings: Settings, random: np.random.Generator
) -> list[Measured]:
    """Composition of crops of .4 to .98 of the side; decomposition of whole films in a gallery of fixed size."""
    cut = []
    for film in films:
        share = random.uniform(*WHOLES) ** 2
        box = scaled_box(middle_square(film.image.shape), (share, share), (1.0, 1.0), random)
        cut.append(crop(film.image, box, film.image.shape[0]))
    wholes, quadrants, _ = anatomy.parts_of(encoder, cut, settings.view)
    own, others = anatomy.composition_cosines(wholes, quadrants)
    rows = [Measured("composition", MEAN, own.numpy(), others.numpy(), "random pairs", len(films))]
    wholes, quadrants, without = anatomy.parts_of(encoder, [film.image for film in films], settings.view)
    gallery = min(settings.gallery, len(films))
    hits = np.zeros((len(films) // gallery * gallery, 4))
    for start in range(0, len(hits), gallery):
        part = slice(start, start + gallery)
        for q in range(4):
            hits[part, q] = anatomy.decomposition_hits(wholes[part], without[part, q], quadrants[part, q]).numpy()
    chance = np.full(len(hits), 1 / gallery)
    rows.append(Measured("decomposition", MEAN, hits.mean(axis=1), chance, f"chance, 1 of {gallery}", hits.size))
    return rows


def landmark_classes(
    films: Sequence[Film], names: Sequence[str], queries: Sequence[Tensor], settings: Settings
) -> list[Measured]:
    """Locality, probe and silhouette: whether features of a landmark are alike across patients."""
    kinds = [n for film in films for n, name in enumerate(names) if name in film.landmarks]
    owners = [n for n, looked in enumerate(queries) for _ in looked]
    features = torch.cat(list(queries))
    frequent = np.bincount(kinds).max() / len(kinds)
    others = min(len(kinds) - owners.count(owner) for owner in set(owners))
    neighbours = min(settings.neighbours, others)
    found = {
        "locality": anatomy.locality_hits(features, kinds, owners, neighbours).numpy(),
        "landmark probe": probe_hits(features, kinds, owners),
    }
    rows = []
    for name, hits in found.items():
        by_film = _by_film(hits, owners)
        chance = np.full(len(by_film), frequent)
        rows.append(Measured(name, MEAN, by_film, chance, "most frequent landmark", len(kinds)))
    by_film = _by_film(silhouettes(features, kinds), owners)
    rows.append(Measured("silhouette", MEAN, by_film, np.zeros(len(by_film)), "no clusters", len(kinds)))
    return rows


def _by_film(values: np.ndarray, owners: Sequence[int]) -> np.ndarray:
    return np.bincount(owners, weights=values.astype(float))[np.unique(owners)] / np.bincount(owners)[np.unique(owners)]


def correspondences(films: Sequence[Film], names: Sequence[str], found: Findings, places: np.ndarray) -> list[Measured]:
    """Distance of the best match in another patient's film, and how often it is near; of all ordered pairs of films.

    Landmarks that one of the two films lacks are left out, and nothing is divided by their number.
    """
    radius = RADIUS * films[0].image.shape[0]
    owned = [[name for name in names if name in film.landmarks] for film in films]
    kinds: list[tuple[int, str]] = []
    columns: list[np.ndarray] = []
    for query, target in itertools.permutations(range(len(films)), 2):
        shared = [name for name in owned[query] if name in owned[target]]
        if shared:
            rows = found.queries[query][[owned[query].index(name) for name in shared]]
            truth = as_array(films[target].landmarks, shared)
            far, chosen = anatomy.distances(places, truth), anatomy.matches(rows, found.keys[target])
            from_mean = np.linalg.norm(_mean_position(films, shared, target) - truth, axis=1)
            near = far <= radius
            values = [(chosen * far).sum(axis=1), far.mean(axis=1), from_mean, (chosen * near).sum(axis=1)]
            columns.append(np.stack([*values, near.mean(axis=1)]))
            kinds += [(query, name) for name in shared]
    errors, anywhere, means, hits, by_chance = np.concatenate(columns, axis=1)
    table = _Pairs(np.array([query for query, _ in kinds]), np.array([name for _, name in kinds]))
    error, near = "correspondence (px)", f"found within {radius:.0f} px"
    measured = [
        table.measured(error, MEAN, errors, anywhere, "random place", better=False),
        table.measured(error, MEAN, errors, means, "mean position of the landmark", better=False),
        table.measured(near, MEAN, hits, by_chance, "random place"),
    ]
    return measured + [table.measured(error, name, errors, anywhere, "random place", better=False) for name in names]


def _mean_position(films: Sequence[Film], names: Sequence[str], without: int) -> np.ndarray:
    """(len(names), 2): where each landmark is on average in the other films."""
    others = [film.landmarks for n, film in enumerate(films) if n != without]
    return np.stack([np.mean([points[name] for points in others if name in points], axis=0) for name in names])


@dataclass(frozen=True)
class _Pairs:
    """Film and landmark of every search, (n,) each."""

    queries: np.ndarray
    names: np.ndarray

    def measured(
        self, name: str, class_name: str, values: np.ndarray, baselines: np.ndarray, against: str, better: bool = True
    ) -> Measured:
        """Means by film, over one landmark or all."""
        chosen = np.ones(len(values), dtype=bool) if class_name == MEAN else self.names == class_name
        owners = self.queries[chosen].tolist()
        own, other = (_by_film(column[chosen], owners) for column in (values, baselines))
        return Measured(name, class_name, own, other, against, int(chosen.sum()), better)


def symmetries(
    films: Sequence[Film], names: Sequence[str], queries: Sequence[Tensor], pairs: Sequence[tuple[str, str]]
) -> list[Measured]:
    """Whether right plus left minus right gives left; of films that show two landmarks on both sides."""
    hits, chances, count = [], [], 0
    for film, looked in zip(films, queries, strict=True):
        own = [name for name in names if name in film.landmarks]
        known = [(own.index(right), own.index(left)) for right, left in pairs if right in own and left in own]
        if len(known) >= 2:
            found, chance = symmetry(looked, known)
            hits.append(float(found.mean()))
            chances.append(float(chance.mean()))
            count += len(found)
    if not hits:
        return []
    return [Measured("symmetry", MEAN, np.array(hits), np.array(chances), "any other landmark", count)]
