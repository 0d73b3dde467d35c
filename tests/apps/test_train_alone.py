"""Plain runs beside a joint one: same patients, steps and seed, resumable, in named folders."""

from pathlib import Path

import pytest

from foundationx.apps.cli.main import main
from foundationx.apps.run.alone import alone_configs, alone_folder, beside_alone, head_steps, is_finished
from foundationx.core.config.load import load_config
from foundationx.core.errors import CheckpointError
from foundationx.core.types import Task, TaskKey, annotated_tasks
from foundationx.core.workdir import WorkDir
from foundationx.engine.schedule.need import planned_steps
from foundationx.engine.schedule.plan import build_plan
from foundationx.evaluation.compare.compare import compare
from foundationx.phantoms.write import write_phantom_datasets

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"
LABELS = TaskKey("phantom_labels", Task.CLASSIFICATION)
BOXES = TaskKey("phantom_boxes", Task.DETECTION)
MASKS = TaskKey("phantom_masks", Task.SEGMENTATION)
SIZES = {LABELS: 40, BOXES: 12, MASKS: 20}


def joint_folder(folder, **options):
    """A work directory with what the plain runs are made of."""
    config = load_config(CONFIG, options)
    work = WorkDir(folder / "run")
    work.root.mkdir(parents=True)
    work.write_json("config.json", config.model_dump(mode="json"))
    work.write_json("plan.json", build_plan(config, SIZES).as_json())
    return work.root, config


def test_every_head_has_a_run_of_its_own_with_its_steps_and_nothing_else(tmp_path):
    joint, config = joint_folder(tmp_path, **{"schedule.lock_until": 0.5, "runtime.seed": 7})
    steps = planned_steps(build_plan(config, SIZES))
    assert head_steps(joint) == steps
    alone = alone_configs(joint)
    assert list(alone) == [LABELS, BOXES, MASKS]
    for key, own in alone.items():
        (dataset,) = own.datasets
        assert (dataset.card, dataset.tasks) == (key.dataset, (key.task,))
        plan = build_plan(own, {key: SIZES[key]})
        assert plan.total_steps == steps[key] and {phase.name.value for phase in plan.phases} == {"release"}
        assert all(phase.consistency == 0 for phase in plan.phases)
        assert own.runtime == config.runtime and own.optimizer == config.optimizer and own.views == config.views
        assert own.split.record == joint / "splits.json" and own.split.changes == "keep"
        assert alone_folder(joint, key) == tmp_path / "run_alone" / f"{key.dataset}.{key.task.value}"


def test_a_factor_multiplies_steps(tmp_path):
    joint, _ = joint_folder(tmp_path)
    for key, own in alone_configs(joint, 2.5).items():
        assert build_plan(own, {key: SIZES[key]}).total_steps == round(2.5 * head_steps(joint)[key])


@pytest.mark.parametrize("task", annotated_tasks()[:3])
def test_tasks_of_one_dataset_have_a_run_each(tmp_path, task):
    """A dataset's other heads are not trained."""
    joint, config = joint_folder(tmp_path)
    keys = {TaskKey("phantom_labels", task): 40 for task in annotated_tasks()[:3]}
    WorkDir(joint).write_json("plan.json", build_plan(config, keys).as_json())
    own = alone_configs(joint)[TaskKey("phantom_labels", task)]
    assert [dataset.tasks for dataset in own.datasets] == [(task,)]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        alone_configs(tmp_path)


def test_the_factor_has_a_range(tmp_path, capsys):
    arguments = ["train", str(CONFIG), "--work-dir", str(tmp_path / "run"), "--train-alone", "--alone-steps"]
    assert main([*arguments, "0"]) != 0
    assert "--alone-steps" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_trains_all_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    data, joint = tmp_path / "data", tmp_path / "runs" / "joint"
    write_phantom_datasets(data, 14, size=64, processes=1)
    command = ["train", str(CONFIG), "--data-root", str(data), "--work-dir", str(joint), "--train-alone"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    folders = {key: alone_folder(joint, key) for key in (LABELS, BOXES, MASKS)}
    assert all(map(is_finished, [joint, *folders.values()]))
    patients = WorkDir(joint).read_json("splits.json")
    for key, folder in folders.items():
        own = WorkDir(folder).read_json("splits.json")
        assert own and own.items() <= patients.items(), "patients stay in their splits"
        assert sum(head_steps(folder).values()) == head_steps(joint)[key]
        rows = [row for row in compare([folder, joint], repeats=0).rows if row.head == key]
        assert rows and all(cell is not None for row in rows for cell in row.cells), "the same images are compared"
    assert f"foundationx ledger {joint} --alone {joint}_alone" in printed
    assert {(row.head, row.model) for row in beside_alone(joint)} == {
        (key, model) for key in folders for model in ("student", "teacher")
    }
    kept = {key: (folder / "log.jsonl").stat().st_mtime_ns for key, folder in folders.items()}
    boxes = WorkDir(folders[BOXES])
    boxes.write_json("run.json", boxes.read_json("run.json") | {"complete": False})
    assert main(command) == 0
    again = {key: (folder / "log.jsonl").stat().st_mtime_ns for key, folder in folders.items()}
    assert is_finished(folders[BOXES]) and {k: again[k] for k in (LABELS, MASKS)} == {
        k: kept[k] for k in (LABELS, MASKS)
    }
