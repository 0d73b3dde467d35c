"""What a detection step runs through: the model is entered twice, nothing is compiled, eight files are to be read."""

import sys
from collections import Counter
from pathlib import Path

import pytest

import foundationx
from foundationx.core.types import PhaseName, Task
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import tiny_trainer

PACKAGE = Path(foundationx.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"

READ = (
    "engine/trainer.py",
    "engine/step.py",
    "models/foundation_model.py",
    "tasks/detection/trunk.py",
    "tasks/detection/head.py",
    "tasks/detection/denoising.py",
    "tasks/detection/matching.py",
    "models/ema_teacher.py",
)
"""What a person reads to follow one detection step, in this order."""


class Walk:
    """Notes every call of a function of the package while it is entered.

    Attributes:
        calls: Calls into each file, by path inside the package.
        entries: Those of them that come from another file of the package (torch between them does not count).
    """

    def __init__(self):
        self.calls, self.entries = Counter(), Counter()

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _note(self, frame, event, argument):
        if event == "call" and (here := self._file(frame)) is not None:
            self.calls[here] += 1
            caller = frame.f_back
            while caller is not None and self._file(caller) is None:
                caller = caller.f_back
            self.entries[here] += caller is None or self._file(caller) != here

    def _file(self, frame):
        path = frame.f_code.co_filename
        return path.removeprefix(f"{PACKAGE}/") if path.startswith(f"{PACKAGE}/") else None


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    write_phantom_datasets(folder / "data", {"phantom_boxes": 14}, size=64, processes=1)
    return tiny_trainer(folder / "data", folder / "run", datasets=[{"card": "phantom_boxes"}], runtime__log_every=99)


def walk_of(trainer, name):
    """A second step of a detection phase, with a batch that was read before; with it the teacher's update."""
    phase = next(phase for phase in trainer.plan.phases if phase.name is name and phase.key.task is Task.DETECTION)
    batch, again = (next(iter(trainer.batches(phase.first_step))) for _ in range(2))
    trainer.step = phase.first_step
    with lock(trainer.model, phase.trainable):
        trainer._run_step(phase, iter([batch]))
        with Walk() as walk:
            trainer._run_step(phase, iter([again]))
            trainer.teacher.update(0.9)
    return phase, walk


def test_a_release_step_enters_the_model_twice_and_compiles_nothing(trainer):
    phase, walk = walk_of(trainer, PhaseName.RELEASE)
    assert phase.consistency > 0, "the teacher is run too"
    assert walk.entries["models/foundation_model.py"] == 2, "the student's losses, the teacher's trunk"
    assert walk.calls["models/compile.py"] == 0
    print(f"\nfiles of the package in a detection release step: {len(walk.calls)}: {', '.join(sorted(walk.calls))}")
    assert len(walk.calls) <= 34
    assert set(READ) <= set(walk.calls)


def test_a_lock_step_enters_the_model_twice_and_compiles_nothing(trainer):
    _, walk = walk_of(trainer, PhaseName.LOCK)
    assert walk.entries["models/foundation_model.py"] == 2, "the trunk without a graph, the head's losses"
    assert walk.calls["models/compile.py"] == 0


def test_the_page_names_the_eight_files_to_read():
    text = PAGE.read_text()
    assert len(READ) <= 8
    positions = [text.index(f"`{path}`") for path in READ]
    assert positions == sorted(positions), "in the order of reading"


def test_the_loop_itself_counts_entries_past_torch(trainer):
    images = next(iter(trainer.batches(0))).images
    with Walk() as walk:
        trainer.model(trainer.normalise(images))
    assert walk.entries == {"data/normalise.py": 1, "models/foundation_model.py": 1, "models/backbone.py": 1}
