"""Which datasets a recipe selects, and why the others are left out (phase 3 of MDFP)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundationx.core.errors import RecipeError, nearest
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.checks import Answer, check_record
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.record import Record

PREFERENCE = ("labelled", "mixed", None, "unlabelled")
"""Order of label presence if ``prefer_labelled`` is set; None is unknown."""


@dataclass(frozen=True)
class Decision:
    """The decision on one dataset.

    Attributes:
        record: The dataset.
        kept: Whether the recipe selects it.
        reasons: Why it is left out: keys of the recipe with the facts, ``dimension: is 3D; 2D is required``.
        unknown: Unrecorded facts that the recipe checks, if the dataset is kept all the same.
        warned: Those of ``unknown`` whose policy is ``warn``.
    """

    record: Record
    kept: bool
    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def select(records: Sequence[Record], recipe: Recipe, vocabulary: Vocabulary) -> list[Decision]:
    """Decides on every dataset, in the order of ``records``.

    The steps are: each dataset by itself; modalities with too few datasets or organisations; the storage budget; and
    modalities again, because the budget may have left too few datasets.

    Raises:
        RecipeError: ``cards.allow`` or ``cards.deny`` names an unknown dataset.
    """
    _check_names(records, recipe)
    decisions = [decide(record, check_record(record, recipe, vocabulary), recipe) for record in records]
    decisions = _modalities_large_enough(decisions, recipe)
    budget = recipe.selection.storage_budget_gb
    if budget is not None:
        decisions = _modalities_large_enough(_within_budget(decisions, recipe, budget), recipe)
    return decisions


def decide(record: Record, answers: Sequence[Answer], recipe: Recipe) -> Decision:
    """Decides on one dataset by the answers to the recipe's keys."""
    unknown = [answer for answer in answers if answer.verdict == "unknown"]
    reasons = [f"{answer.key}: {answer.text}" for answer in answers if answer.verdict == "fails"]
    reasons += [
        f"{answer.key}: {answer.text}, and the policy is drop"
        for answer in unknown
        if recipe.policy(answer.key) == "drop"
    ]
    if reasons:
        return Decision(record, kept=False, reasons=tuple(reasons))
    warned = (f"{answer.key}: {answer.text}" for answer in unknown if recipe.policy(answer.key) == "warn")
    return Decision(record, True, (), tuple(f"{answer.key}: {answer.text}" for answer in unknown), tuple(warned))


def rank(record: Record, recipe: Recipe) -> tuple[int, int, float, str]:
    """Sorting key for a limited budget: labelled first if preferred, then by more of the requested tasks, then by more
    images per gigabyte, then by name."""
    labels = PREFERENCE.index(record.label_presence) if recipe.prefer_labelled else 0
    tasks = len(set(record.tasks) & set(recipe.task_types or record.tasks))
    density = (record.images or 0) / record.storage_gb if record.storage_gb else 0.0
    return (labels, -tasks, -density, record.name)


def _modalities_large_enough(decisions: list[Decision], recipe: Recipe) -> list[Decision]:
    """Leaves out datasets whose modalities all have too few datasets or organisations.

    Datasets without a recorded organisation may be from a new one: a modality that could have enough organisations
    with them is unknown.
    """
    least = (recipe.selection.min_datasets_per_modality, recipe.selection.min_organisations_per_modality)
    groups: dict[str, list[Record]] = defaultdict(list)
    for decision in decisions:
        if decision.kept:
            for modality in decision.record.modalities:
                groups[modality].append(decision.record)
    requested = set(recipe.modalities or groups)
    return [
        _by_modality(decision, {m: groups[m] for m in decision.record.modalities if m in requested}, least, recipe)
        if decision.kept
        else decision
        for decision in decisions
    ]


def _by_modality(
    decision: Decision, groups: dict[str, list[Record]], least: tuple[int, int], recipe: Recipe
) -> Decision:
    if not groups:
        return decision  # its modality is unknown: the key modalities answers that
    answers = [_modality(name, records, *least) for name, records in groups.items()]
    verdicts = [answer.verdict for answer in answers]
    if "holds" in verdicts:
        return decision
    worst = answers[verdicts.index("unknown")] if "unknown" in verdicts else answers[0]
    return _with_answer(decision, worst, recipe)


def _modality(name: str, records: Sequence[Record], least_datasets: int, least_organisations: int) -> Answer:
    organisations = {one.casefold() for record in records for one in record.organisations}
    unnamed = sum(not record.organisations for record in records)
    if len(records) < least_datasets:
        key = "selection.min_datasets_per_modality"
        return Answer(key, "fails", f"{name} has {len(records)}, {least_datasets} are required")
    key = "selection.min_organisations_per_modality"
    text = f"{name} has {len(organisations)} recorded, {least_organisations} are required"
    if len(organisations) >= least_organisations:
        return Answer(key, "holds")
    return Answer(key, "unknown" if len(organisations) + unnamed >= least_organisations else "fails", text)


def _within_budget(decisions: list[Decision], recipe: Recipe, budget: float) -> list[Decision]:
    """Selects datasets by rank while they fit; one that is too large is skipped, and smaller ones may still fit."""
    left = budget
    changed: dict[str, Decision] = {}
    for decision in sorted((one for one in decisions if one.kept), key=lambda one: rank(one.record, recipe)):
        size = decision.record.storage_gb
        if size is None:
            answer = Answer("selection.storage_budget_gb", "unknown", "the size is not recorded and counts as zero")
        elif size > left:
            text = f"needs {size:g} GB, {left:g} of {budget:g} GB are left"
            answer = Answer("selection.storage_budget_gb", "fails", text)
        else:
            left -= size
            continue
        changed[_identity(decision.record)] = _with_answer(decision, answer, recipe)
    return [changed.get(_identity(decision.record), decision) for decision in decisions]


def _with_answer(decision: Decision, answer: Answer, recipe: Recipe) -> Decision:
    """The decision with another answer, unless it has it already."""
    text = f"{answer.key}: {answer.text}"
    policy = recipe.policy("selection")
    if answer.verdict == "fails":
        return replace(decision, kept=False, reasons=(*decision.reasons, text))
    if policy == "drop":
        return replace(decision, kept=False, reasons=(*decision.reasons, f"{text}, and the policy is drop"))
    unknown = tuple(dict.fromkeys((*decision.unknown, text)))
    warned = tuple(dict.fromkeys((*decision.warned, text))) if policy == "warn" else decision.warned
    return replace(decision, unknown=unknown, warned=warned)


def _identity(record: Record) -> str:
    """Name and row, since tables repeat names."""
    return f"{record.name} {record.rows}"


def _check_names(records: Sequence[Record], recipe: Recipe) -> None:
    names = {name for record in records for name in (record.name, record.title)}
    for key, patterns in (("allow", recipe.cards.allow or ()), ("deny", recipe.cards.deny)):
        for pattern in patterns:
            if not any(letter in pattern for letter in "*?[") and pattern not in names:
                where = f"{recipe.file}: cards.{key}"
                raise RecipeError(
                    where, f"there is no dataset {pattern!r}", nearest(pattern, names), "correct the name"
                )
