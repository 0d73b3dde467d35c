"""What every part of the portal's interface shares."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property

from foundationx.apps.portal.jobs import Jobs
from foundationx.apps.portal.place import Place
from foundationx.apps.portal.runs import Runs
from foundationx.datasets.cards.catalog import Catalog


@dataclass
class Portal:
    """A portal: its folders, its cards, the commands that it has started and the runs that it shows.

    Attributes:
        place: Folders that it works in.
        catalog: Cards, read once.
        reading: Held while annotations or images of a dataset are read for its page: one at a time.
    """

    place: Place
    catalog: Catalog = field(default_factory=Catalog)
    reading: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def jobs(self) -> Jobs:
        """Commands that were started."""
        return Jobs(self.place.own / "jobs")

    @cached_property
    def runs(self) -> Runs:
        """Runs below the work directories."""
        return Runs(self.place, self.jobs)
