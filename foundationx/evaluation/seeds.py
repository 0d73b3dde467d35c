"""Several runs that differ in their seed alone: one estimate, whose interval covers patients and runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundationx.evaluation.bootstrap import Estimate, interval


def over_runs(estimates: Sequence[Estimate], seed: tuple[int, ...]) -> Estimate:
    """The mean of several runs, as an estimate of what another run of the same recipe would give on other patients.

    Patients: every draw is the mean of the runs' values in that draw. Runs: each draw is shifted by s / sqrt(n) times a
    draw of Student's t with n - 1 degrees of freedom, where s is the standard deviation of the n runs' values. With two
    or three runs t has heavy tails, so that intervals are wide: so few runs say little of the spread between runs.

    Args:
        estimates: The same metric of each run, from the same draws of patients; a single one is returned as it is.
        seed: Seed of the shifts; another one for each group of runs that is compared.
    """
    first = estimates[0]
    if len(estimates) == 1:
        return first
    values = [estimate.value for estimate in estimates]
    draws = np.mean([estimate.draws for estimate in estimates], axis=0)
    if any(value is None for value in values):
        return Estimate(first.metric, first.class_name, first.n, None, None, None, np.full_like(draws, np.nan))
    known = np.array(values, dtype=np.float64)
    spread = known.std(ddof=1) / np.sqrt(len(known))
    draws = draws + spread * np.random.default_rng(seed).standard_t(len(known) - 1, size=len(draws))
    low, high = interval(draws) or (None, None)
    return Estimate(first.metric, first.class_name, first.n, float(known.mean()), low, high, draws)
