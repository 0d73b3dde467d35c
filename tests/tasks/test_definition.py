"""The contract of a task: names, facts without torch, and what configuration and cards make of them."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError
from foundationx.core.types import Task, TaskKey, all_tasks, annotated_tasks
from foundationx.datasets.cards.card import Card
from foundationx.tasks.definition import TaskDefinition, task_of

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "helpers" / "tiny_config.py"


def test_tasks_stand_in_the_order_of_a_datasets_turn():
    names = ["classification", "detection", "keypoints", "segmentation", "self_supervision"]
    assert [task.value for task in all_tasks()] == names
    assert annotated_tasks() == all_tasks()[:4]


def test_one_name_is_one_object_wherever_it_comes_from():
    task = Task("detection")
    assert task is Task.DETECTION and task == "detection" and {task: 1}["detection"] == 1
    assert pickle.loads(pickle.dumps(task)) is task and copy.deepcopy(task) is task
    assert Task(str(np.array(task))) is task and TaskKey.parse("nih/detection").task is task
    with pytest.raises(ValueError, match="'detektion' is not a task; tasks: classification, detection"):
        Task("detektion")


@pytest.mark.parametrize("task", all_tasks())
def test_every_task_answers_its_facts(task):
    definition = task_of(task)
    assert isinstance(definition, TaskDefinition) and definition is task.facts and definition.name == task.value
    assert definition.noun and definition.headline and definition.has_targets == (definition.part not in ("labels", ""))
    assert definition.legend or not definition.needs_annotations


def test_facts_configurations_and_cards_need_no_torch():
    code = (
        "import sys\n"
        "import foundationx.core.config.run, foundationx.datasets.annotations\n"
        "from foundationx.core.types import all_tasks\n"
        "assert [task.facts.noun for task in all_tasks()][:4] == ['image label', 'box', 'point', 'mask']\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_misspelt_task_of_a_section_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"schedule\.lock\.detektion: .*\n.*did you mean 'detection'"):
        load_config(TINY, {"schedule.lock.detektion": 1.0})
    with pytest.raises(ConfigError, match=r"self_supervision has no views of its own"):
        load_config(TINY, {"views.self_supervision.teacher": "same"})


def test_a_section_that_names_some_tasks_leaves_the_others_their_defaults():
    some = {"_delete_": True, "detection": 0.25}
    config = load_config(TINY, {"schedule.lock": some, "schedule.release": some, "views": {"_delete_": True}})
    assert [config.schedule.lock[task] for task in all_tasks()] == [0.0, 0.25, 0.0, 0.0, 0.0]
    assert [config.schedule.release[task] for task in all_tasks()] == [1.0, 0.25, 1.0, 1.0, 1.0]
    assert list(config.views) == list(annotated_tasks()) and config.views[Task.DETECTION].teacher == "clean"


def test_the_schema_of_a_card_names_every_task():
    names = Card.json_schema()["properties"]["tasks"]["propertyNames"]
    assert names.get("enum") == [task.value for task in all_tasks()]
