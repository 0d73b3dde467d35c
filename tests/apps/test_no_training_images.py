"""A head that has no image to train on: fuse, plan and doctor say whose official split takes them, and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundationx.apps.cli.main import main
from foundationx.apps.run.data_notes import data_notes
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.relations import held_out

BOXES, LABELS = TaskKey("nih_bbox", Task.DETECTION), TaskKey("nih_chestxray14", Task.CLASSIFICATION)


def module(chosen, allow_test=(), official=Split.TEST):
    """Four patients of labels; the boxes are of the last two, whom the labels' dataset holds out."""
    tables, everyone = {}, ["nih:1", "nih:2", "nih:3", "nih:4"]
    for key, patients, splits in (
        (LABELS, everyone, [Split.TRAIN, Split.TRAIN, official, official]),
        (BOXES, everyone[2:], [None, None]),
    ):
        if key in chosen:
            labels, rows = np.ones((len(patients), 1), np.float32), [f"row {n}" for n in range(len(patients))]
            images = [f"{patient[-1]}.png" for patient in patients]
            tables[key] = Annotations(key, ("Mass",), images, patients, rows, labels, splits)
    splits = dict(zip(everyone, [Split.TRAIN, Split.VAL, Split.TEST, Split.TEST], strict=True))
    indices = {
        key: {split: np.flatnonzero([splits[patient] is split for patient in table.patients]) for split in Split}
        for key, table in tables.items()
    }
    datasets = [{"card": key.dataset} for key in tables]
    values = {"model": {"backbone": {"type": "none"}}, "datasets": datasets, "schedule": {"cycles": 1}}
    config = RunConfig(name="x", allow_test=allow_test, **values)
    return DataModule(tables, {key.dataset: Path() for key in tables}, indices, splits, config)


def test_the_run_names_whose_split_holds_the_images_out_and_both_ways_out():
    with pytest.raises(ConfigError) as caught:
        data_notes(module((LABELS, BOXES)), Catalog())
    assert caught.value.where == "dataset nih_bbox/detection"
    assert "of its 2 patients the official split of nih_chestxray14 holds out 2" in caught.value.found
    assert "leave nih_bbox or nih_chestxray14 out" in caught.value.fix
    assert "allow_test = ['nih_chestxray14']" in caught.value.fix


def test_a_set_that_is_a_test_set_as_a_whole_is_to_be_scored():
    only = module((LABELS,))
    only.indices[LABELS][Split.TRAIN] = np.zeros(0, np.int64)
    with pytest.raises(ConfigError, match="nih_chestxray14 holds out 2") as caught:
        data_notes(only, Catalog())
    assert "--split all" in caught.value.fix


def test_other_causes_point_to_the_configuration():
    with pytest.raises(ConfigError, match="none is in train") as caught:
        data_notes(module((BOXES,)), Catalog())
    assert "datasets.limit" in caught.value.fix


def test_fuse_says_it_of_cards_that_are_selected_together(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("name: both\ncards: {allow: [nih_bbox, nih_chestxray14]}\n")
    assert main(["data", "fuse", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "nih_bbox has no image to train on beside nih_chestxray14" in printed
    assert "allow_test = ['nih_chestxray14']" in printed
    catalog = Catalog()
    assert held_out([catalog.card("nih_bbox"), catalog.card("rsna_pneumonia")]) == []


def test_every_card_that_is_held_out_names_existing_cards():
    catalog = Catalog()
    for name in catalog.names():
        assert set(catalog.card(name).held_out_by) <= set(catalog.names())
