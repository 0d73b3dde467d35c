"""Which datasets a recipe takes, and why each other one is left out (phase 3 of MDFP: ``mdfp.md`` A.2 and A.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundationx.core.errors import RecipeError, nearest
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.checks import Finding, check_record
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.record import Record

PREFERENCE = ("labelled", "mixed", None, "unlabelled")
"""Order of label presence under ``prefer_labelled``; None is unknown."""


@dataclass(frozen=True)
class Decision:
    """What becomes of one dataset.

    Attributes:
        record: the dataset.
        kept: whether the recipe takes it.
        reasons: why it is left out: the key of the recipe and what was found, ``dimension: is 3D; 2D is asked for``.
        unknown: facts that the recipe asks for and nobody recorded, of a dataset that is kept all the same.
        warned: those of ``unknown`` whose policy is ``warn``.
    """

    record: Record
    kept: bool
    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def select(records: Sequence[Record], recipe: Recipe, vocabulary: Vocabulary) -> list[Decision]:
    """A decision on every dataset, in the order of ``records``.

    First each dataset by itself; then modalities that have too few datasets or organisations; then the storage budget;
    then modalities again, because the budget may have left too few.

    Raises:
        RecipeError: ``cards.allow`` or ``cards.deny`` names a dataset that there is not.
    """
    _check_names(records, recipe)
    decisions = [decide(record, check_record(record, recipe, vocabulary), recipe) for record in records]
    decisions = _modalities_large_enough(decisions, recipe)
    if recipe.selection.storage_budget_gb is not None:
        decisions = _modalities_large_enough(_within_budget(decisions, recipe), recipe)
    return decisions


def decide(record: Record, findings: Sequence[Finding], recipe: Recipe) -> Decision:
    """The decision on one dataset by the answers to the recipe's keys."""
    unknown = [finding for finding in findings if finding.verdict == "unknown"]
    reasons = [f"{finding.key}: {finding.text}" for finding in findings if finding.verdict == "fails"]
    reasons += [
        f"{finding.key}: {finding.text}, and the policy is drop"
        for finding in unknown
        if recipe.policy(finding.key) == "drop"
    ]
    if reasons:
        return Decision(record, kept=False, reasons=tuple(reasons))
    warned = (f"{finding.key}: {finding.text}" for finding in unknown if recipe.policy(finding.key) == "warn")
    return Decision(record, True, (), tuple(f"{finding.key}: {finding.text}" for finding in unknown), tuple(warned))


def rank(record: Record, recipe: Recipe) -> tuple:
    """Sorting key of a scarce budget: labelled first where that is preferred, then more of the tasks asked for, then
    more images a gigabyte, then by name."""
    labels = PREFERENCE.index(record.label_presence) if recipe.prefer_labelled else 0
    tasks = len(set(record.tasks) & set(recipe.task_types or record.tasks))
    density = (record.images or 0) / record.storage_gb if record.storage_gb else 0.0
    return (labels, -tasks, -density, record.name)


def _modalities_large_enough(decisions: list[Decision], recipe: Recipe) -> list[Decision]:
    """Leaves out datasets none of whose modalities has enough datasets and organisations.

    Organisations that are not recorded may be new ones: a modality that could reach the number with them is unknown.
    """
    least = (recipe.selection.min_datasets_per_modality, recipe.selection.min_organisations_per_modality)
    groups: dict[str, list[Record]] = defaultdict(list)
    for decision in decisions:
        if decision.kept:
            for modality in decision.record.modalities:
                groups[modality].append(decision.record)
    wanted = set(recipe.modalities)
    return [
        _by_modality(
            decision, {m: groups[m] for m in decision.record.modalities if not wanted or m in wanted}, least, recipe
        )
        if decision.kept
        else decision
        for decision in decisions
    ]


def _by_modality(
    decision: Decision, groups: dict[str, list[Record]], least: tuple[int, int], recipe: Recipe
) -> Decision:
    if not groups:
        return decision  # its modality is unknown: that is answered by the key modalities
    findings = [_modality(name, records, *least) for name, records in groups.items()]
    verdicts = [finding.verdict for finding in findings]
    if "holds" in verdicts:
        return decision
    worst = findings[verdicts.index("unknown")] if "unknown" in verdicts else findings[0]
    return _with_finding(decision, worst, recipe)


def _modality(name: str, records: Sequence[Record], least_datasets: int, least_organisations: int) -> Finding:
    organisations = {one.casefold() for record in records for one in record.organisations}
    unnamed = sum(not record.organisations for record in records)
    if len(records) < least_datasets:
        key = "selection.min_datasets_per_modality"
        return Finding(key, "fails", f"{name} has {len(records)}, {least_datasets} are asked for")
    key = "selection.min_organisations_per_modality"
    text = f"{name} has {len(organisations)} that are recorded, {least_organisations} are asked for"
    if len(organisations) >= least_organisations:
        return Finding(key, "holds")
    return Finding(key, "unknown" if len(organisations) + unnamed >= least_organisations else "fails", text)


def _within_budget(decisions: list[Decision], recipe: Recipe) -> list[Decision]:
    """Takes datasets by rank as long as they fit; one that is too large is passed over, smaller ones may still fit."""
    budget = recipe.selection.storage_budget_gb
    left = budget
    changed: dict[str, Decision] = {}
    for decision in sorted((one for one in decisions if one.kept), key=lambda one: rank(one.record, recipe)):
        size = decision.record.storage_gb
        if size is None:
            finding = Finding(
                "selection.storage_budget_gb", "unknown", "the size is not recorded and counts as nothing"
            )
        elif size > left:
            text = f"needs {size:g} GB, {left:g} of {budget:g} GB are left"
            finding = Finding("selection.storage_budget_gb", "fails", text)
        else:
            left -= size
            continue
        changed[_identity(decision.record)] = _with_finding(decision, finding, recipe)
    return [changed.get(_identity(decision.record), decision) for decision in decisions]


def _with_finding(decision: Decision, finding: Finding, recipe: Recipe) -> Decision:
    """The decision with one answer more, unless it is there already."""
    text = f"{finding.key}: {finding.text}"
    policy = recipe.policy("selection")
    if finding.verdict == "fails":
        return replace(decision, kept=False, reasons=(*decision.reasons, text))
    if policy == "drop":
        return replace(decision, kept=False, reasons=(*decision.reasons, f"{text}, and the policy is drop"))
    unknown = tuple(dict.fromkeys((*decision.unknown, text)))
    warned = tuple(dict.fromkeys((*decision.warned, text))) if policy == "warn" else decision.warned
    return replace(decision, unknown=unknown, warned=warned)


def _identity(record: Record) -> str:
    """Tables repeat names; with the row it is one."""
    return f"{record.name} {record.rows}"


def _check_names(records: Sequence[Record], recipe: Recipe) -> None:
    names = {name for record in records for name in (record.name, record.title)}
    for key, patterns in (("allow", recipe.cards.allow or ()), ("deny", recipe.cards.deny)):
        for pattern in patterns:
            if not any(letter in pattern for letter in "*?[") and pattern not in names:
                where = f"{recipe.file}: cards.{key}"
                raise RecipeError(where, f"there is no dataset {pattern!r}", nearest(pattern, names), "correct it")
