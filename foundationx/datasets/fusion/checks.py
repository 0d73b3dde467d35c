"""Checks of one dataset against each key of a recipe: the condition holds, fails, or is unknown.

The published portal of MDFP silently treats an unknown fact as failed. Here the recipe's ``unknown_policy`` decides,
and every answer is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.licences import is_among
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.record import Record

FACTS = {
    "dimension": ("dimensions",),
    "modalities": ("modalities",),
    "min_valid_images": ("volume", "valid_images"),
    "release_date_min": ("released",),
}
"""Fields of a record that a key checks and that a table may have filled in."""

Verdict = Literal["holds", "fails", "unknown"]


@dataclass(frozen=True)
class Answer:
    """The answer to one key of the recipe.

    Attributes:
        key: Key of the recipe.
        verdict: ``holds``, ``fails`` or ``unknown``.
        text: Explanation for the user.
    """

    key: str
    verdict: Verdict
    text: str = ""


def check_record(record: Record, recipe: Recipe, vocabulary: Vocabulary) -> list[Answer]:
    """The answers to all keys that set a condition, in a fixed order."""
    answers = [check(record, recipe) for check in CHECKS]
    answers.append(_anatomy(record, recipe, vocabulary))
    return [_with_source(answer, record) for answer in answers if answer is not None]


def _with_source(answer: Answer, record: Record) -> Answer:
    """Marks a fact that comes from a table because the card does not give it."""
    if answer.verdict != "unknown" and set(FACTS.get(answer.key, ())) & set(record.filled):
        return replace(answer, text=f"{answer.text} (from {', '.join(record.rows)}; not in the card)")
    return answer


def _allowed_by_name(record: Record, recipe: Recipe) -> Answer | None:
    names = {record.name, record.title}
    for pattern in recipe.cards.deny:
        if any(fnmatchcase(name, pattern) for name in names):
            return Answer("cards.deny", "fails", f"{pattern!r} matches it")
    if record.access == "private" and record.name not in (recipe.cards.allow or ()):
        return Answer("cards.allow", "fails", "is private and not named there")
    if recipe.cards.allow is None:
        return None
    listed = any(fnmatchcase(name, pattern) for name in names for pattern in recipe.cards.allow)
    return Answer("cards.allow", "holds") if listed else Answer("cards.allow", "fails", "is not in the list")


def _access(record: Record, recipe: Recipe) -> Answer | None:
    if recipe.access is None:
        return None
    return _one_of("access", (record.access,) if record.access else (), recipe.access)


def _dimension(record: Record, recipe: Recipe) -> Answer | None:
    if recipe.dimension is None:
        return None
    required = {recipe.dimension} | ({"3D"} if recipe.dimension == "2D" and recipe.allow_3d_as_2d_sources else set())
    return _one_of("dimension", record.dimensions, required)


def _modalities(record: Record, recipe: Recipe) -> Answer | None:
    return _one_of("modalities", record.modalities, recipe.modalities) if recipe.modalities else None


def _task_types(record: Record, recipe: Recipe) -> Answer | None:
    return _one_of("task_types", record.tasks, recipe.task_types) if recipe.task_types else None


def _licence(record: Record, recipe: Recipe) -> Answer | None:
    key, allowed = "licence_allowlist", recipe.licence_allowlist
    if allowed is None:
        return None
    names = [name for name in (record.licence, record.spdx) if name]
    if not names:
        return Answer(key, "unknown", "no licence is recorded")
    return (
        Answer(key, "holds")
        if is_among(record.licence, record.spdx, allowed)
        else Answer(key, "fails", f"is {names[0]!r}")
    )


def _commercial(record: Record, recipe: Recipe) -> Answer | None:
    return _permission("commercial", record, recipe) if recipe.commercial == "required" else None


def _redistribution(record: Record, recipe: Recipe) -> Answer | None:
    return _permission("redistribution", record, recipe) if recipe.redistribution == "required" else None


def _permission(key: str, record: Record, recipe: Recipe) -> Answer:
    permission = getattr(record, key)
    if not record.checked(key) and not recipe.trust_unverified:
        return Answer(key, "unknown", f"the licence states {permission}, which nobody has checked")
    verdicts: dict[str, Verdict] = {"yes": "holds", "no": "fails", "unknown": "unknown"}
    return Answer(key, verdicts[permission], f"the licence states {permission}")


def _labels(record: Record, recipe: Recipe) -> Answer | None:
    key = "include_unlabelled"
    if recipe.include_unlabelled:
        return None
    if record.label_presence is None:
        return Answer(key, "unknown", "label presence is not recorded")
    return Answer(key, "fails" if record.label_presence == "unlabelled" else "holds", f"is {record.label_presence}")


def _images(record: Record, recipe: Recipe) -> Answer | None:
    key, least = "min_valid_images", recipe.min_valid_images
    if least is None:
        return None
    if record.images is None:
        return Answer(key, "unknown", "the number of images is not recorded")
    text = f"{record.images:,} images, {least:,} are required"
    return Answer(key, "holds" if record.images >= least else "fails", text)


def _released(record: Record, recipe: Recipe) -> Answer | None:
    """Compares dates; ``2017`` may be before or after ``2017-06``, which is unknown."""
    key, least = "release_date_min", recipe.release_date_min
    if least is None:
        return None
    if record.released is None:
        return Answer(key, "unknown", "the date of release is not recorded")
    text = f"released {record.released}, {least} or later is required"
    earliest, latest = (record.released + rest[len(record.released) :] for rest in ("0000-01-01", "9999-12-31"))
    if earliest >= least:
        return Answer(key, "holds", text)
    return Answer(key, "fails" if latest < least else "unknown", text)


def _anatomy(record: Record, recipe: Recipe, vocabulary: Vocabulary) -> Answer | None:
    key, allowed = "anatomy_whitelist", recipe.anatomy_whitelist
    if not allowed:
        return None
    if not record.anatomy:
        return Answer(key, "unknown", "no anatomy is recorded")
    concepts = [name for name in record.anatomy if name in vocabulary]
    within = any(vocabulary.within(name, broader) for name in concepts for broader in allowed)
    return Answer(key, "holds" if within else "fails", f"is {', '.join(record.anatomy)}")


def _one_of(key: str, values: tuple[str, ...], required: tuple[str, ...] | set[str]) -> Answer:
    if not values:
        return Answer(key, "unknown", "is not recorded")
    verb = "is required" if len(required) == 1 else "are accepted"
    text = f"is {', '.join(values)}; {', '.join(sorted(required))} {verb}"
    return Answer(key, "holds" if set(values) & set(required) else "fails", text)


CHECKS: tuple[Callable[[Record, Recipe], Answer | None], ...] = (
    *(_allowed_by_name, _access, _dimension, _modalities, _task_types, _licence, _commercial, _redistribution),
    *(_labels, _images, _released),
)
