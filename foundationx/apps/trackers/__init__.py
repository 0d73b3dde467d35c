"""Trackers of experiments: one file per library, chosen by ``runtime.trackers``."""

from collections.abc import Callable, Sequence

from foundationx.apps.trackers.base import Tracker
from foundationx.core.config.run import RunConfig
from foundationx.core.extensions import Extensions, one_class
from foundationx.core.workdir import WorkDir
from foundationx.engine.hooks import Hook, Incident
from foundationx.engine.schedule.plan import Plan

TRACKERS: Extensions[type[Tracker]] = Extensions(
    "tracker",
    "foundationx.apps.trackers",
    one_class(Tracker),  # type: ignore[type-abstract]  # the base of those that are looked for
    shared=("base",),
)
"""Every tracker, by its name in ``runtime.trackers``."""


def open_trackers(config: RunConfig, folder: WorkDir, report: Callable[[Incident], None]) -> list[Tracker]:
    """The trackers that a configuration chooses.

    Args:
        config: Configuration of the run.
        folder: Work directory.
        report: Takes incidents: a tracker that fails does not end the run.

    Raises:
        ConfigError: There is no tracker of a name, or its library is not installed.
    """
    names = dict.fromkeys(config.runtime.trackers)
    return [TRACKERS.get(name, "runtime.trackers")(config, folder, report) for name in names]


class CloseTrackers(Hook):
    """Closes trackers after everything else: evaluations at the end are among what they are given."""

    def __init__(self, trackers: Sequence[Tracker]):
        self.trackers = trackers

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Sends what waits."""
        for tracker in self.trackers:
            tracker.finish()
