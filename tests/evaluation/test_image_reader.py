"""One pool of worker processes for all evaluations of a run."""

import os
import signal

import pytest
from torch import multiprocessing
from torch.utils.data import _utils

from foundationx.apps.run.train import build_model, train
from foundationx.core.config.load import load_config
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.images import ImageReader
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG

HERE = {"runtime.workers": 2, "datasets": [{"card": "phantom_labels"}, {"card": "phantom_masks"}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, {"phantom_labels": 14, "phantom_masks": 14}, size=64, processes=1)
    return folder


@pytest.fixture
def started(monkeypatch):
    """Process of every worker that a loader starts; each has the kind of its dataset."""
    processes, start = [], multiprocessing.Process.start

    def note(process):
        if process._target is _utils.worker._worker_loop:
            process.reads = type(process._args[1]).__name__
            processes.append(process)
        return start(process)

    monkeypatch.setattr(multiprocessing.Process, "start", note)
    return processes


def rows_of(data_module, model, split, reader=None):
    return evaluate(data_module, {"student": model}, split, 0, reader=reader).rows


def test_workers_stay_for_every_split_and_are_replaced_if_one_has_died(data, started):
    config = load_config(CONFIG, HERE)
    data_module = open_datasets(config, data)
    model = build_model(config, data_module, "cpu")
    expected = {split: rows_of(data_module, model, split) for split in (Split.VAL, Split.TEST)}
    assert len(started) == 4 and not any(process.is_alive() for process in started), "two for each evaluation"
    started.clear()
    reader = ImageReader(data_module, pin_memory=False)
    for split in (Split.VAL, Split.TEST, Split.VAL):
        assert rows_of(data_module, model, split, reader) == expected[split]
    assert len(started) == 2 and all(process.is_alive() for process in started)
    os.kill(started[0].pid, signal.SIGKILL)
    started[0].join()
    assert rows_of(data_module, model, Split.TEST, reader) == expected[Split.TEST]
    assert len(started) == 4
    reader.close()
    assert not any(process.is_alive() for process in started)


def test_a_run_starts_no_worker_between_its_evaluations(data, started, tmp_path):
    """Three evaluations of a split or two: one pool for them, one for training, one for the trivial answers."""
    changes = {"schedule.cycles": 2, "schedule.max_steps": 1, "evaluate.every": 1, "evaluate.final": ["val", "test"]}
    assert train(load_config(CONFIG, HERE | changes), data, tmp_path / "run")
    print(f"\nworker processes of a run that evaluates three times: {[process.reads for process in started]}")
    assert len([process for process in started if process.reads == "SharedImages"]) == 2
    assert not any(process.is_alive() for process in started)
