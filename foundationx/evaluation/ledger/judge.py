"""Differences between joint and separate training, their tests and verdicts, from predictions.

A draw resamples the patients of a head's test set once for all its sites and both kinds of runs, so that differences
are paired, and so is the difference of the worst groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import TaskKey
from foundationx.evaluation.bootstrap import LEAST_DEFINED, Estimate, draws_of, interval, mean_defined, resamples
from foundationx.evaluation.measure import lower_is_better, statistics
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.seeds import over_runs
from foundationx.evaluation.statistic import MEAN, Statistic, mean_over

LEAST_PATIENTS = 10
"""Patients that a group needs to be compared."""

LEVEL = 0.05
"""Largest corrected p of a verdict: the chance that a ledger without any difference names one at all."""

WORST = "worst group"
"""Site of the difference between the worst groups of an attribute."""

FALSE_POSITIVES = "false positives"
"""Share of images that are known not to have a class and in which a head finds it."""


class Verdict(StrEnum):
    """What joining did."""

    HELPED = "helped"
    HARMED = "harmed"
    UNDECIDED = "cannot tell"


@dataclass(frozen=True)
class Absent:
    """A head's answers on images of another dataset whose classes are known.

    Attributes:
        dataset: The other dataset.
        classes: Names of the head's classes that the other dataset knows.
        patients: (n,) patient of each image.
        joint, alone: By run (n, K): 1 if the head finds a class that the image does not have, 0 if it does not find
            it, NaN if the image has the class or nothing is known.
    """

    dataset: str
    classes: tuple[str, ...]
    patients: AnyArray
    joint: tuple[AnyArray, ...]
    alone: tuple[AnyArray, ...]


@dataclass(frozen=True)
class HeadRuns:
    """One head as it was trained jointly and alone, on the same test images.

    Attributes:
        key: Dataset and task.
        joint, alone: Predictions of each run; several runs of a kind differ in their seed.
        groups: Group of each image of ``joint[0]`` by attribute, (N,) text; "" is unknown.
        absent: Answers on images of other datasets.
    """

    key: TaskKey
    joint: tuple[Predictions, ...]
    alone: tuple[Predictions, ...]
    groups: Mapping[str, AnyArray] = field(default_factory=dict)
    absent: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: a head's metric at one site.

    Attributes:
        head: Dataset and task.
        site: ``all``, a group of an attribute (``sex: F``), the worst group (``sex: worst group``), or the other
            dataset (``on nih``).
        metric, class_name: Names; ``mean`` for the mean over classes.
        patients, n: Patients of the site, and images or boxes that the value rests on.
        joint, alone: Values, the mean over runs.
        difference, low, high: Joint minus alone, with the 95 % interval.
        p: Two-sided p of no difference; None if the site is too small.
        adjusted: The same, corrected for all tests of the ledger.
        verdict: Helped, harmed, or cannot tell.
        lower_is_better: Whether the metric improves downwards.
        note: Names of the worst groups, if the site is one.
    """

    head: TaskKey
    site: str
    metric: str
    class_name: str
    patients: int
    n: int
    joint: float | None
    alone: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    adjusted: float | None = None
    verdict: Verdict = Verdict.UNDECIDED
    lower_is_better: bool = False
    note: str = ""


@dataclass(frozen=True)
class Ledger:
    """All entries, heads without a run of their own, and what was left out.

    Attributes:
        entries: Lines, head by head.
        missing: Heads of the joint run that no other run has.
        notes: What the reader should know.
        tests: Number of tests that verdicts are corrected for.
    """

    entries: list[Entry]
    missing: list[TaskKey] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tests: int = 0

    def verdicts(self) -> dict[TaskKey, Verdict]:
        """Of each head: harmed if it is so at any site, else helped if it is so at any."""
        found: dict[TaskKey, set[Verdict]] = {}
        for entry in self.entries:
            found.setdefault(entry.head, set()).add(entry.verdict)
        order = (Verdict.HARMED, Verdict.HELPED, Verdict.UNDECIDED)
        return {head: next(verdict for verdict in order if verdict in seen) for head, seen in found.items()}

    def worst(self, head: TaskKey) -> Entry | None:
        """The site of the head's own images at which the headline metric has lost most, or gained least."""
        headline = head.task.facts.headline
        own = [
            entry
            for entry in self.entries
            if (entry.head, entry.metric, entry.class_name) == (head, headline, MEAN) and entry.difference is not None
        ]
        return min((entry for entry in own if WORST not in entry.site), key=_gain, default=None)


def judge(
    heads: Iterable[HeadRuns],
    *,
    metrics: Collection[str] | None = None,
    by_class: bool = False,
    repeats: int = 1000,
    seed: int = 0,
) -> Ledger:
    """The ledger of heads that were trained jointly and alone.

    Args:
        heads: Predictions of both kinds of runs.
        metrics: Metrics to test; the headline of each task if None. More tests find less.
        by_class: Test every class beside the mean over classes.
        repeats: Bootstrap draws, by patient.
        seed: Seed of the draws.
    """
    entries: list[Entry] = []
    for head in heads:
        entries += _own_sites(head, metrics, by_class, repeats, seed)
        entries += [entry for absent in head.absent for entry in _on_others(head.key, absent, by_class, repeats, seed)]
    if metrics is not None:
        _check_metrics(metrics, entries)
    adjusted = holm([entry.p for entry in entries])
    judged = [
        replace(entry, adjusted=p, verdict=_verdict(entry, p)) for entry, p in zip(entries, adjusted, strict=True)
    ]
    return Ledger(judged, tests=sum(p is not None for p in adjusted))


def _check_metrics(metrics: Collection[str], entries: Sequence[Entry]) -> None:
    """Raises ConfigError if no head has a metric of some name."""
    known = sorted({entry.metric for entry in entries})
    for name in metrics:
        if name not in known:
            raise ConfigError("--metric", f"no head has a metric {name!r}", nearest(name, known), "see metrics.json")


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values by Holm's method: rejecting those below 0.05 errs at all in at most 5 % of ledgers (Holm, 1979)."""
    tested = sorted((p, index) for index, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        adjusted[index] = highest
    return adjusted


def paired_test(difference: float, draws: AnyArray, patients: int) -> float | None:
    """Two-sided p of no difference, from paired draws.

    Counting draws on the other side of 0 cannot tell p below 2 / draws, and many tests need less. So p is the larger of
    that count and of Student's t with the draws' spread and one degree of freedom less than there are patients; if no
    draw is on the other side, it is Student's alone.

    Args:
        difference: Joint minus alone.
        draws: (R,) the same in each draw.
        patients: Number of patients that were drawn from.
    """
    from scipy.stats import t as student_t  # slow to import, and the report of a run does not test

    defined = draws[~np.isnan(draws)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(draws) or patients < LEAST_PATIENTS:
        return None
    spread = defined.std(ddof=1) if len(defined) > 1 else 0.0
    if np.ptp(defined) == 0:  # every patient differs alike: a sign test
        return 1.0 if difference == 0 else 2 * 0.5**patients
    tail = float(2 * student_t.sf(abs(difference) / spread, patients - 1))
    crossing = min((defined <= 0).sum(), (defined >= 0).sum())
    return tail if not crossing else max(tail, float(min(1.0, 2 * (crossing + 1) / (len(defined) + 1))))


def _gain(entry: Entry) -> float:
    """Difference in the direction that is better."""
    return (entry.difference or 0.0) * (-1 if entry.lower_is_better else 1)


def _verdict(entry: Entry, adjusted: float | None) -> Verdict:
    if adjusted is None or adjusted >= LEVEL or not entry.difference:
        return Verdict.UNDECIDED
    return Verdict.HELPED if _gain(entry) > 0 else Verdict.HARMED


def _own_sites(head: HeadRuns, metrics: Collection[str] | None, by_class: bool, repeats: int, seed: int) -> list[Entry]:
    """Entries of the head's own test set: all of it, its groups, and the worst group of each attribute."""
    sites = _sites(head)
    chosen = {head.key.task.facts.headline} if metrics is None else set(metrics)
    joint, alone = (
        [_estimates(run, sites, chosen, repeats, seed) for run in runs] for runs in (head.joint, head.alone)
    )
    downwards = lower_is_better()
    entries = []
    for metric, class_name in _names(joint[0]["all"], by_class):
        name, lower = (metric, class_name), metric in downwards
        pairs = {}
        for site, patients in ((site, len(set(head.joint[0].patients[mask]))) for site, mask in sites.items()):
            own = [
                _over([run[site].get(name) for run in runs], (seed, kind)) for kind, runs in ((0, joint), (1, alone))
            ]
            if own[0] is not None and own[1] is not None:
                pairs[site] = (own[0], own[1])
                entries.append(_entry(head.key, site, (own[0], own[1]), patients, lower))
        entries += _worst_groups(head, pairs, lower)
    return entries


def _sites(head: HeadRuns) -> dict[str, AnyArray]:
    """(N,) bool by site: all images, and every group with enough patients."""
    first = head.joint[0]
    sites: dict[str, AnyArray] = {"all": np.ones(len(first), dtype=bool)}
    for attribute, groups in head.groups.items():
        for group in sorted(set(groups) - {""}):
            mask = groups == group
            if len(set(first.patients[mask])) >= LEAST_PATIENTS:
                sites[f"{attribute}: {group}"] = mask
    return sites


Named = dict[tuple[str, str], Estimate]
"""Estimates by metric and class."""


def _estimates(
    run: Predictions, sites: Mapping[str, AnyArray], metrics: Collection[str], repeats: int, seed: int
) -> dict[str, Named]:
    """Estimates of a run by site, metric and class, from draws of all the run's patients."""
    everyone = np.unique(run.patients)
    parts = {site: run.take(mask) for site, mask in sites.items()}
    rows = {site: np.searchsorted(everyone, np.unique(part.patients)) for site, part in parts.items()}
    measured = {site: [s for s in statistics(part) if s.metric in metrics] for site, part in parts.items()}
    draws = {site: np.full((len(own), repeats), np.nan) for site, own in measured.items()}
    first = 0
    for weights in resamples(len(everyone), repeats, seed):
        last = first + weights.shape[1]
        for site, own in measured.items():
            for row, statistic in zip(draws[site], own, strict=True):
                row[first:last] = statistic.of(weights[rows[site]])
        first = last
    return {site: _named(own, draws[site], len(rows[site])) for site, own in measured.items()}


def _named(measured: Sequence[Statistic], draws: AnyArray, patients: int) -> Named:
    """Estimates of statistics and of each metric's mean over classes."""
    values = np.array([np.nan if (v := s.value(patients)) is None else v for s in measured])
    named: Named = {}
    for metric in dict.fromkeys(statistic.metric for statistic in measured):
        indices = [index for index, statistic in enumerate(measured) if statistic.metric == metric]
        total = sum(measured[index].n for index in indices)
        mean = mean_defined(values[indices, None])[0]
        named[metric, MEAN] = _estimate(metric, MEAN, total, mean, mean_defined(draws[indices]))
        for index in indices:
            statistic = measured[index]
            key = (metric, statistic.class_name)
            named.setdefault(key, _estimate(*key, statistic.n, values[index], draws[index]))
    return named


def _estimate(metric: str, class_name: str, n: int, value: float, draws: AnyArray) -> Estimate:
    low, high = interval(draws) or (None, None)
    return Estimate(metric, class_name, n, None if np.isnan(value) else float(value), low, high, draws)


def _names(named: Named, by_class: bool) -> list[tuple[str, str]]:
    return [name for name in named if by_class or name[1] == MEAN]


def _over(estimates: Sequence[Estimate | None], seed: tuple[int, ...]) -> Estimate | None:
    known = [estimate for estimate in estimates if estimate is not None]
    return over_runs(known, seed) if len(known) == len(estimates) else None


def _entry(
    head: TaskKey, site: str, pair: tuple[Estimate, Estimate], patients: int, lower: bool, note: str = ""
) -> Entry:
    """The line of one pair of estimates."""
    joint, alone = pair
    defined = joint.value is not None and alone.value is not None
    difference = joint.value - alone.value if joint.value is not None and alone.value is not None else None
    draws = joint.draws - alone.draws
    low, high = (interval(draws) or (None, None)) if defined else (None, None)
    p = paired_test(difference, draws, patients) if difference is not None else None
    return Entry(
        head,
        site,
        joint.metric,
        joint.class_name,
        patients,
        joint.n,
        joint.value,
        alone.value,
        difference,
        low,
        high,
        p,
        lower_is_better=lower,
        note=note,
    )


def _worst_groups(head: HeadRuns, pairs: Mapping[str, tuple[Estimate, Estimate]], lower: bool) -> list[Entry]:
    """Of each attribute: the worst group of joint training against the worst group of separate training."""
    entries = []
    for attribute in head.groups:
        groups = {site: pair for site, pair in pairs.items() if site.startswith(f"{attribute}: ")}
        if len(groups) < 2 or any(side.value is None for pair in groups.values() for side in pair):
            continue
        sides, names = [], []
        for index in (0, 1):
            own = {site: pair[index] for site, pair in groups.items()}
            choose, name = (np.max, _argmax(own)) if lower else (np.min, _argmin(own))
            draws = choose(np.stack([estimate.draws for estimate in own.values()]), axis=0)
            worst = own[name]
            sides.append(_estimate(worst.metric, worst.class_name, worst.n, float(worst.value or 0.0), draws))
            names.append(name.removeprefix(f"{attribute}: "))
        patients = min(len(set(head.joint[0].patients[head.groups[attribute] == name])) for name in names)
        note = f"{names[0]} (joint), {names[1]} (alone)" if names[0] != names[1] else names[0]
        entries.append(_entry(head.key, f"{attribute}: {WORST}", (sides[0], sides[1]), patients, lower, note))
    return entries


def _argmin(estimates: Mapping[str, Estimate]) -> str:
    return min(estimates, key=lambda name: float(estimates[name].value or 0.0))


def _argmax(estimates: Mapping[str, Estimate]) -> str:
    return max(estimates, key=lambda name: float(estimates[name].value or 0.0))


def _on_others(key: TaskKey, absent: Absent, by_class: bool, repeats: int, seed: int) -> list[Entry]:
    """False positives of the head on another dataset's images."""
    _, units = np.unique(absent.patients, return_inverse=True)
    patients = int(units.max()) + 1 if len(units) else 0
    if not patients:
        return []
    sides = [
        [_rates(absent.classes, run, units, patients, repeats, seed) for run in runs]
        for runs in (absent.joint, absent.alone)
    ]
    entries = []
    for name in _names(sides[0][0], by_class):
        pair = tuple(over_runs([run[name] for run in runs], (seed, kind)) for kind, runs in enumerate(sides))
        counted = absent.joint[0] if name[1] == MEAN else absent.joint[0][:, [absent.classes.index(name[1])]]
        seen = len(set(absent.patients[~np.isnan(counted).all(axis=1)]))
        entries.append(_entry(key, f"on {absent.dataset}", (pair[0], pair[1]), seen, True))
    return entries


def _rates(classes: Sequence[str], found: AnyArray, units: AnyArray, patients: int, repeats: int, seed: int) -> Named:
    """Share of images in which an absent class is found, by class and their mean."""
    measured = [
        mean_over(FALSE_POSITIVES, name, found[:, k].astype(np.float64), units, patients)
        for k, name in enumerate(classes)
    ]
    return _named(measured, draws_of(measured, patients, repeats, seed), patients)
