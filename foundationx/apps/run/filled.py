"""Writes what the teacher has filled, for the report."""

from __future__ import annotations

from collections.abc import Mapping

from foundationx.core.types import TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.engine.filling import Filling
from foundationx.engine.hooks import Hook
from foundationx.engine.schedule.plan import Phase, Plan

FOLDER = "filled"
"""Folder of the examples in a work directory."""


class WriteFilled(Hook):
    """Counts and limits (``filled.json``) and examples (``filled/``), at the end of every cycle."""

    def __init__(self, filling: Filling, classes: Mapping[TaskKey, tuple[str, ...]], folder: WorkDir):
        self.filling, self.classes, self.folder = filling, classes, folder

    def on_cycle_end(self, phase: Phase) -> None:
        """The cycle's examples, and the counts so far."""
        self._write()

    def on_end(self, plan: Plan, finished: bool) -> None:
        """Likewise, of a run that was stopped."""
        self._write()

    def _write(self) -> None:
        self.folder.write_json("filled.json", self.filling.as_json())
        inner = WorkDir(self.folder.root / FOLDER)
        for key, examples in self.filling.examples.items():
            if examples:
                inner.write_examples(key, self.classes[key], "teacher", examples)
