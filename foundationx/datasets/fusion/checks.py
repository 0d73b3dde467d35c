"""What a recipe asks of one dataset, key by key: it holds, it does not, or the fact is not known.

The portal (``mdfp.md`` A.3) treats a fact that is not known as one that does not hold, and says nothing; here the
recipe's ``unknown_policy`` decides, and every answer is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.licences import same_licence
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.record import Record

FACTS = {
    "dimension": ("dimensions",),
    "modalities": ("modalities",),
    "min_valid_images": ("volume", "valid_images"),
    "release_date_min": ("released",),
}
"""Fields that answer a key and that a table may have filled."""


@dataclass(frozen=True)
class Finding:
    """The answer to one key of the recipe.

    Attributes:
        key: of the recipe.
        verdict: holds, fails or unknown.
        text: what was found, for people.
    """

    key: str
    verdict: Literal["holds", "fails", "unknown"]
    text: str = ""


def check_record(record: Record, recipe: Recipe, vocabulary: Vocabulary) -> list[Finding]:
    """The answers to all keys that ask something, in a fixed order."""
    found = [check(record, recipe) for check in CHECKS]
    found.append(_anatomy(record, recipe, vocabulary))
    return [_with_source(finding, record) for finding in found if finding is not None]


def _with_source(finding: Finding, record: Record) -> Finding:
    """Says of a fact that it is the table's, where the card knows nothing."""
    if finding.verdict != "unknown" and set(FACTS.get(finding.key, ())) & set(record.filled):
        return replace(finding, text=f"{finding.text} (by {', '.join(record.rows)}; the card does not say)")
    return finding


def _named(record: Record, recipe: Recipe) -> Finding | None:
    names = {record.name, record.title}
    for pattern in recipe.cards.deny:
        if any(fnmatchcase(name, pattern) for name in names):
            return Finding("cards.deny", "fails", f"{pattern!r} names it")
    if recipe.cards.allow is None:
        return None
    listed = any(fnmatchcase(name, pattern) for name in names for pattern in recipe.cards.allow)
    return Finding("cards.allow", "holds") if listed else Finding("cards.allow", "fails", "is not among those named")


def _access(record: Record, recipe: Recipe) -> Finding | None:
    wanted = recipe.access
    return None if wanted is None else _one_of("access", (record.access,) if record.access else (), wanted)


def _dimension(record: Record, recipe: Recipe) -> Finding | None:
    if recipe.dimension is None:
        return None
    wanted = {recipe.dimension} | ({"3D"} if recipe.dimension == "2D" and recipe.allow_3d_as_2d_sources else set())
    return _one_of("dimension", record.dimensions, wanted)


def _modalities(record: Record, recipe: Recipe) -> Finding | None:
    return _one_of("modalities", record.modalities, recipe.modalities) if recipe.modalities else None


def _task_types(record: Record, recipe: Recipe) -> Finding | None:
    return _one_of("task_types", record.tasks, recipe.task_types) if recipe.task_types else None


def _licence(record: Record, recipe: Recipe) -> Finding | None:
    key, allowed = "licence_allowlist", recipe.licence_allowlist
    if allowed is None:
        return None
    names = [name for name in (record.licence, record.spdx) if name]
    if not names:
        return Finding(key, "unknown", "no licence is recorded")
    listed = any(same_licence(name, one) for name in names for one in allowed)
    return Finding(key, "holds") if listed else Finding(key, "fails", f"is {names[0]!r}")


def _commercial(record: Record, recipe: Recipe) -> Finding | None:
    return _permission("commercial", record, recipe) if recipe.commercial == "required" else None


def _redistribution(record: Record, recipe: Recipe) -> Finding | None:
    return _permission("redistribution", record, recipe) if recipe.redistribution == "required" else None


def _permission(key: str, record: Record, recipe: Recipe) -> Finding:
    answer = getattr(record, key)
    if not record.checked(key) and not recipe.trust_unverified:
        return Finding(key, "unknown", f"the licence's answer is {answer}, which nobody has checked")
    verdicts = {"yes": "holds", "no": "fails", "unknown": "unknown"}
    return Finding(key, verdicts[answer], f"the licence's answer is {answer}")


def _labels(record: Record, recipe: Recipe) -> Finding | None:
    key = "include_unlabelled"
    if recipe.include_unlabelled:
        return None
    if record.label_presence is None:
        return Finding(key, "unknown", "nobody says whether it is labelled")
    return Finding(key, "fails" if record.label_presence == "unlabelled" else "holds", f"is {record.label_presence}")


def _images(record: Record, recipe: Recipe) -> Finding | None:
    key, least = "min_valid_images", recipe.min_valid_images
    if least is None:
        return None
    if record.images is None:
        return Finding(key, "unknown", "the number of images is not recorded")
    text = f"{record.images:,} images, {least:,} are asked for"
    return Finding(key, "holds" if record.images >= least else "fails", text)


def _released(record: Record, recipe: Recipe) -> Finding | None:
    """``2017`` may be before or after ``2017-06``: then it is unknown."""
    key, least = "release_date_min", recipe.release_date_min
    if least is None:
        return None
    if record.released is None:
        return Finding(key, "unknown", "the date of release is not recorded")
    text = f"released {record.released}, {least} or later is asked for"
    earliest, latest = (record.released + rest[len(record.released) :] for rest in ("0000-01-01", "9999-12-31"))
    if earliest >= least:
        return Finding(key, "holds", text)
    return Finding(key, "fails" if latest < least else "unknown", text)


def _anatomy(record: Record, recipe: Recipe, vocabulary: Vocabulary) -> Finding | None:
    key, wanted = "anatomy_whitelist", recipe.anatomy_whitelist
    if not wanted:
        return None
    if not record.anatomy:
        return Finding(key, "unknown", "no anatomy is recorded")
    concepts = [name for name in record.anatomy if name in vocabulary]
    within = any(vocabulary.within(name, wider) for name in concepts for wider in wanted)
    return Finding(key, "holds" if within else "fails", f"is {', '.join(record.anatomy)}")


def _one_of(key: str, found: tuple[str, ...], wanted: tuple[str, ...] | set[str]) -> Finding:
    if not found:
        return Finding(key, "unknown", "is not recorded")
    text = f"is {', '.join(found)}; {', '.join(sorted(wanted))} {'is' if len(wanted) == 1 else 'are'} asked for"
    return Finding(key, "holds" if set(found) & set(wanted) else "fails", text)


CHECKS: tuple[Callable[[Record, Recipe], Finding | None], ...] = (
    *(_named, _access, _dimension, _modalities, _task_types, _licence, _commercial, _redistribution),
    *(_labels, _images, _released),
)
