"""trackio: a run in the folder ``trackio`` of the work directory, or in that of TRACKIO_DIR."""

from __future__ import annotations

import os
from typing import Any

from foundationx.apps.trackers.base import Tracker, Values

PROJECT = "foundationx"
"""Project of a run unless TRACKIO_PROJECT names one."""


class Trackio(Tracker):
    """Hugging Face's local tracker: ``TRACKIO_DIR=work_dirs/NAME/trackio trackio show``."""

    extra = "trackio"
    run: Any

    def load(self) -> None:
        """Imports the library, which reads its folder from the environment then."""
        os.environ.setdefault("TRACKIO_DIR", str(self.folder.root.absolute() / "trackio"))
        import trackio

        self._library = trackio

    def open(self) -> set[tuple[str, int]]:
        """Begins the run anew: the rows of its earlier part come again."""
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        name = f"{self.config.name} {self.folder.root.absolute()}"
        for run in self._runs(project):
            if run.name == name:
                run.delete()
        self.run = self._library.init(
            project=project,
            name=name,
            config=self.config.model_dump(mode="json"),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return set()

    def _runs(self, project: str) -> list[Any]:
        try:
            return list(self._library.Api().runs(project))
        except ValueError:  # there is no such project yet
            return []

    def add(self, values: Values, step: int) -> None:
        """Adds a row."""
        self.run.log(values, step=step)

    def close(self) -> None:
        """Writes the rest."""
        self.run.finish()
