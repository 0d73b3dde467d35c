"""Splits of a run: recorded ones stay, lists of one's own, changes that are refused, empty splits, whole cohorts."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from foundationx.apps.cli.main import FAULT, main
from foundationx.apps.run.data_notes import data_notes
from foundationx.apps.run.train import build_model, train
from foundationx.core.config.load import parse_config
from foundationx.core.errors import CheckpointError, ConfigError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.data.patient_splits import read_record
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.engine.resume import Resume
from foundationx.evaluation.checkpoint import evaluate_checkpoint
from foundationx.evaluation.predictions import find_predictions, read_predictions
from foundationx.phantoms.write import write_phantom_datasets

LABELS = TaskKey("phantom_labels", Task.CLASSIFICATION)
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}


def config_of(**changes):
    values = {
        "name": "x",
        "image_size": 32,
        "model": {
            "backbone": {
                "type": "mmdet.SwinTransformer",
                "embed_dims": 8,
                "depths": [1, 1, 1, 1],
                "num_heads": [1, 1, 2, 2],
                "window_size": 4,
                "out_indices": [0, 1, 2, 3],
            }
        },
        "datasets": [{"card": "phantom_labels"}],
        "schedule": {"cycles": 1},
        "split": SHARES,
        "runtime": {"workers": 0, "device": "cpu"},
    }
    return parse_config(values | changes, "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantom_datasets(folder, {"phantom_labels": 40}, size=32, processes=1)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The work directory of a run that has not taken a step."""
    folder, config = tmp_path_factory.mktemp("run"), config_of()
    data_module = open_datasets(config, data)
    model = build_model(config, data_module, "cpu")
    state = {"optimizer": {}, "step": 0, "visit": 0, "progress": {}}
    save_checkpoint(folder / "checkpoints", config=config, model=model, teacher=model, **state)
    write_record(folder, data_module.patients)
    return folder


def write_record(folder, splits):
    folder.mkdir(exist_ok=True)
    (folder / "splits.json").write_text(json.dumps({patient: Split(split).value for patient, split in splits.items()}))


def add_patients(data, count, first=999900):
    """More images of new patients in the published table."""
    table = data / "phantom_labels/Data_Entry_2017_v2020.csv"
    with open(table, newline="") as stream:
        head, *rows = csv.reader(stream)
    for number in range(count):
        row = list(rows[number])
        image = f"{first + number:08d}_000.png"
        shutil.copy(data / "phantom_labels/images" / row[0], data / "phantom_labels/images" / image)
        row[head.index("Image Index")], row[head.index("Patient ID")] = image, str(first + number)
        rows.append(row)
    with open(table, "w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


def scored(folder, split="test"):
    (path,) = [path for path in find_predictions(folder) if path.name.endswith(f".{split}.teacher.npz")]
    return read_predictions(path)


def test_ten_more_patients_move_nobody_into_or_out_of_the_test_split(data, run, tmp_path):
    """One evaluation before, one after ten films of new patients have arrived: the old ones are where they were."""
    more = tmp_path / "more"
    shutil.copytree(data, more)
    add_patients(more, 10)
    record = json.loads((run / "splits.json").read_text())
    for split in (Split.VAL, Split.TEST):
        evaluate_checkpoint(run, more, split, ("teacher",), "cpu", tmp_path / "out")
        found = scored(tmp_path / "out", split.value)
        assert {record.get(patient, split) for patient in found.patients} == {split}
        assert {p for p, recorded in record.items() if recorded == split} <= set(found.patients)
    assert {record.get(p, split) for p, split in open_datasets(config_of(), more).patients.items()} == set(Split)
    fresh = open_datasets(config_of(), more).patients
    assert all(fresh[patient] == split for patient, split in record.items()) and len(fresh) == len(record) + 10


def test_what_the_run_recorded_holds_even_against_the_hash(data, run, tmp_path):
    """As for a run whose list or seed nobody has any more."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    turn = {"train": "test", "val": "train", "test": "val"}
    record = {p: turn[split] for p, split in json.loads((run / "splits.json").read_text()).items()}
    write_record(folder, record)
    evaluate_checkpoint(
        folder / "checkpoints/step_00000000.pt", data, Split.TEST, ("teacher",), "cpu", tmp_path / "out"
    )
    assert {record[patient] for patient in scored(tmp_path / "out").patients} == {"test"}


def test_a_run_that_goes_on_keeps_the_splits_and_refuses_changes_until_it_is_told(data, run, tmp_path):
    earlier = tmp_path / "earlier"
    turned = open_datasets(config_of(), data).patients
    moved = [patient for patient, split in turned.items() if split is Split.TEST][:2]
    record = turned | dict.fromkeys(moved, Split.TRAIN) | {"gone:1": Split.TRAIN}
    write_record(earlier, record)
    with pytest.raises(ConfigError) as caught:
        open_datasets(config_of(split=SHARES | {"record": str(earlier)}), data)
    for words in ("2 patients would change their split", "2 train -> test", moved[0], "split.changes='keep'"):
        assert words in str(caught.value)
    kept = open_datasets(config_of(split=SHARES | {"record": str(earlier), "changes": "keep"}), data)
    assert {kept.patients[patient] for patient in moved} == {Split.TRAIN} and kept.earlier == {"gone:1": Split.TRAIN}
    applied = open_datasets(
        config_of(split=SHARES | {"record": str(earlier / "splits.json"), "changes": "apply"}), data
    )
    assert applied.patients == turned
    with pytest.raises(ConfigError, match=r"holds no splits\.json"):
        open_datasets(config_of(split=SHARES | {"record": str(tmp_path)}), data)


def test_a_run_begun_from_anothers_weights_keeps_its_splits(data, run, tmp_path):
    earlier = tmp_path / "earlier"
    shutil.copytree(run, earlier)
    record = json.loads((run / "splits.json").read_text())
    tested = next(patient for patient, split in record.items() if split == "test")
    write_record(earlier, record | {tested: "train"})
    config = config_of()
    assert open_datasets(config, data).patients[tested] is Split.TEST
    for path in (earlier, earlier / "checkpoints/step_00000000.pt"):
        begun = config.model_copy(update={"model": config.model.model_copy(update={"init_run": path})})
        with pytest.raises(ConfigError, match=r"1 patients would .* since .*earlier: 1 train -> test"):
            open_datasets(begun, data)


def test_runs_over_other_sets_of_datasets_have_the_same_test_patients(tmp_path):
    """So that a head trained alone and the same head of a joint run can be compared."""
    write_phantom_datasets(tmp_path, 14, size=32, processes=1)
    names = ("phantom_labels", "phantom_boxes", "phantom_masks")
    joint = open_datasets(config_of(datasets=[{"card": name} for name in names]), tmp_path)
    for name in names:
        alone = open_datasets(config_of(datasets=[{"card": name}]), tmp_path)
        for key in alone.annotations:
            for split in Split:
                assert alone.indices[key][split].tolist() == joint.indices[key][split].tolist()


@pytest.mark.slow
def test_resume_keeps_what_was_recorded_though_patients_have_arrived(data, tmp_path):
    """Ten more films before `--resume`: the old patients stay, the new ones are dealt, a conflict is refused."""
    more, folder = tmp_path / "more", tmp_path / "run"
    shutil.copytree(data, more)
    short = {"schedule": {"cycles": 1, "max_steps": 2}, "evaluate": {"every": 0, "final": ["test"]}}
    config = config_of(**short)
    assert train(config, more, folder)
    before = json.loads((folder / "splits.json").read_text())
    add_patients(more, 10)
    assert train(config, more, folder, resume=Resume.CHANGED)
    after = json.loads((folder / "splits.json").read_text())
    assert {patient: after[patient] for patient in before} == before and len(after) == len(before) + 10
    moved = next(patient for patient, split in after.items() if split == "test")
    write_record(folder, after | {moved: "train"})
    with pytest.raises(ConfigError, match=rf"1 train -> test \({moved}\)"):
        train(config, more, folder, resume=Resume.CHANGED)


def test_an_earlier_runs_patients_are_carried_on(tmp_path):
    write_record(tmp_path, {"a:1": "test"})
    (tmp_path / "splits_before.json").write_text('{"b:1": "train", "a:1": "train"}')
    (tmp_path / "checkpoints").mkdir()
    for path in (tmp_path, tmp_path / "splits.json", tmp_path / "checkpoints/step_00000001.pt"):
        assert read_record(path).splits == {"a:1": Split.TEST, "b:1": Split.TRAIN}
    assert read_record(tmp_path / "elsewhere" / "step_00000001.pt").splits == {}


@pytest.mark.parametrize("form", ["patients.csv", "patients.json", "images.csv", "dataset.tsv"])
def test_a_list_of_ones_own(data, tmp_path, form):
    table = open_datasets(config_of(), data).annotations[LABELS]
    people = dict(zip(table.patients, table.images, strict=True))
    wanted = {patient: list(Split)[index % 3] for index, patient in enumerate(people)}
    path = tmp_path / form
    if form == "patients.json":
        path.write_text(json.dumps({p: s.value for p, s in wanted.items()} | {"other:1": "test"}))
    elif form == "patients.csv":
        path.write_text("patient,split\nother:1,val\n" + "".join(f"{p},{s.value}\n" for p, s in wanted.items()))
    else:
        rows = "".join(f"phantom_labels,{people[p].rpartition('/')[2]},{s.value}\n" for p, s in wanted.items())
        path = path.with_suffix(".csv")
        path.write_text("dataset,image,split\n" + rows + "other,x.png,test\n")
    assert open_datasets(config_of(split=SHARES | {"file": str(path)}), data).patients == wanted


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("patient,split\nphantom_labels:1,valid\n", ["row 2", "split is 'valid'", "did you mean 'val'?"]),
        ("patient,split\nlabels:1,val\n", ["names nobody of this run", "patients such as 'phantom_labels:1'"]),
        ("patient,split\nphantom_labels:1,val\nphantom_labels:1,test\n", ["row 3", "an earlier row says val"]),
        ("who,split\n1,val\n", ["no column 'patient'"]),
    ],
)
def test_a_list_that_is_wrong(data, tmp_path, content, words):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(ConfigError) as caught:
        open_datasets(config_of(split={"file": str(tmp_path / "list.csv")}), data)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    with pytest.raises(ConfigError, match="there is no gone"):
        open_datasets(config_of(split={"file": "gone.csv"}), data)


def test_a_checkpoint_whose_list_is_not_there_is_not_evaluated_on_another_split(data, run, tmp_path):
    (tmp_path / "list.csv").write_text("patient,split\nphantom_labels:1,val\n")
    config = config_of(split=SHARES | {"file": str(tmp_path / "list.csv")})
    model = build_model(config, open_datasets(config, data), "cpu")
    state = {"optimizer": {}, "step": 0, "visit": 0, "progress": {}}
    path = save_checkpoint(tmp_path / "checkpoints", config=config, model=model, teacher=model, **state)
    with pytest.raises(CheckpointError, match=r"splits\.json of the run is not there"):
        evaluate_checkpoint(path, data, Split.TEST, ("teacher",), "cpu")
    write_record(tmp_path, open_datasets(config, data).patients)
    assert evaluate_checkpoint(path, data, Split.VAL, ("teacher",), "cpu")


def test_an_outside_cohort_is_scored_as_a_whole(data, run, tmp_path, recwarn):
    """Its split is named, and `all` scores every image; patients of the run among them are counted."""
    cohort = tmp_path / "cohort"
    shutil.copytree(data, cohort)
    table = cohort / "phantom_labels/Data_Entry_2017_v2020.csv"
    with open(table, newline="") as stream:
        head, *rows = csv.reader(stream)
    column = head.index("Patient ID")
    with open(table, "w", newline="") as stream:
        csv.writer(stream).writerows(
            [head, *([*row[:column], f"8{row[column]:0>5}", *row[column + 1 :]] for row in rows)]
        )
    evaluate_checkpoint(run, cohort, Split.TEST, ("teacher",), "cpu", tmp_path / "part")
    (said,) = [str(one.message) for one in recwarn if "--split all" in str(one.message)]
    assert "none of its" in said and len(scored(tmp_path / "part")) < 20
    recwarn.clear()
    assert main(["eval", str(run), "--data-root", str(cohort), "--split", "all", "--out", str(tmp_path / "whole")]) == 0
    assert len(scored(tmp_path / "whole")) == 40
    assert not [one for one in recwarn if "trained" in str(one.message)]
    evaluate_checkpoint(run, data, "all", ("teacher",), "cpu")
    assert any("the run was trained or validated on" in str(one.message) for one in recwarn)
    with pytest.raises(ConfigError, match="work directory of a run"):
        evaluate_checkpoint(run, data, "all", ("teacher",), "cpu", run)


def test_an_empty_split_is_an_error_with_a_way_out(data, tmp_path, capsys):
    config = config_of(split={"train": 1.0, "val": 0.0, "test": 0.0})
    data_module = open_datasets(config, data)
    assert data_notes(data_module, Catalog()) == []  # nobody asked for figures
    model = build_model(config, data_module, "cpu")
    state = {"optimizer": {}, "step": 0, "visit": 0, "progress": {}}
    save_checkpoint(tmp_path / "checkpoints", config=config, model=model, teacher=model, **state)
    write_record(tmp_path, data_module.patients)
    assert main(["eval", str(tmp_path), "--data-root", str(data), "--split", "test"]) == FAULT
    assert "no dataset has a patient in test" in capsys.readouterr().err


def test_few_patients_are_told_which_seed_or_list_fills_every_split(tmp_path):
    write_phantom_datasets(tmp_path, {"phantom_labels": 6, "phantom_boxes": 30}, size=32, processes=1)
    seed = next(seed for seed in range(99) if empty(tmp_path, seed) == {"val"})
    with pytest.raises(ConfigError) as caught:
        data_notes(opened(tmp_path, seed), Catalog())
    assert "no patient of phantom_labels (" in str(caught.value) and "foundationx data split" in str(caught.value)
    better = int(str(caught.value).partition("split.seed=")[2].split()[0])
    assert empty(tmp_path, better) == set()
    (note,) = data_notes(opened(tmp_path, seed, "phantom_boxes"), Catalog())
    assert note.startswith("phantom_labels/classification: no image in val")


def opened(folder, seed, *others):
    cards = [{"card": name} for name in ("phantom_labels", *others)]
    return open_datasets(config_of(split={"seed": seed}, datasets=cards), folder)


def empty(folder, seed):
    """Empty splits of phantom_labels, if phantom_boxes fills all."""
    sizes = {split: opened(folder, seed, "phantom_boxes").sizes(split) for split in Split}
    if any(0 in of_split.values() for of_split in sizes.values()) and any(
        of_split[TaskKey("phantom_boxes", Task.DETECTION)] == 0 for of_split in sizes.values()
    ):
        return None
    return {split.value for split, of_split in sizes.items() if of_split[LABELS] == 0}
