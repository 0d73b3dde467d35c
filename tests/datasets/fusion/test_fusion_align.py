"""Which classes may share a target: exact, of one polarity, of one task; all others are told apart, with the reason."""

from foundationx.core.types import Task, TaskKey
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.align import align
from tests.helpers.reader_cards import card_values

C, D = Task.CLASSIFICATION, Task.DETECTION
VOCABULARY = Catalog().vocabulary


def card(name, **classes_by_task):
    values = card_values("any", ["unused"]) | {"name": name}
    values["tasks"] = {task: {"reader": "any", "classes": classes} for task, classes in classes_by_task.items()}
    return Card.model_validate(values)


def spec(name, canonical, relation="exact", polarity="presence"):
    return {"name": name, "canonical": canonical, "relation": relation, "polarity": polarity}


ONE = card(
    "one",
    classification=[spec("Nodule", "nodule"), spec("No Finding", "abnormality", polarity="absence"), "Odd"],
    detection=[spec("Nodule", "nodule")],
)
TWO = card(
    "two",
    classification=[spec("nodules", "nodule"), spec("Abnormal", "abnormality"), spec("Lesion", "lung_lesion")],
)
THREE = card(
    "three",
    classification=[
        spec("Small nodule", "nodule", relation="narrower"),
        spec("Nodule or mass", "nodule", relation="broader"),
        spec("Granuloma", "nodule", relation="related"),
    ],
)
ALIGNED = align([(ONE, (C, D)), (TWO, (C,)), (THREE, (C,))], VOCABULARY)


def member(head, name):
    (result,) = [one for one in ALIGNED.members if str(one.head) == head and one.name == name]
    return result


def test_exact_classes_of_one_polarity_and_task_share_a_target():
    targets = ALIGNED.targets()
    assert list(targets) == ["nodule/classification/presence"]
    assert [(str(one.head), one.name) for one in targets["nodule/classification/presence"]] == [
        ("one/classification", "Nodule"),
        ("two/classification", "nodules"),
    ]


def test_another_task_or_the_opposite_polarity_is_not_pooled():
    boxes = member("one/detection", "Nodule")
    assert boxes.shares == "" and "one/classification 'Nodule': task classification" in boxes.why
    assert "relation narrower" in boxes.why
    absent, present = member("one/classification", "No Finding"), member("two/classification", "Abnormal")
    assert absent.shares == present.shares == ""
    assert absent.why == "two/classification 'Abnormal': opposite polarity (presence)"
    assert present.why == "one/classification 'No Finding': opposite polarity (absence)"


def test_classes_that_are_not_exact_are_not_pooled():
    for name, relation in (("Small nodule", "narrower"), ("Nodule or mass", "broader"), ("Granuloma", "related")):
        result = member("three/classification", name)
        assert result.shares == "" and result.why.startswith(f"{relation}: ")


def test_a_class_without_concept_stands_alone_and_last():
    assert "names no concept" in member("one/classification", "Odd").why
    assert ALIGNED.members[-1].name == "Odd"


def test_what_a_head_does_not_have_is_unknown_for_it():
    assert ALIGNED.unknown_for("lung_lesion") == [TaskKey("one", C), TaskKey("one", D), TaskKey("three", C)]
    assert ALIGNED.unknown_for("nodule") == []


def test_wider_and_narrower_concepts_are_near_but_not_the_same():
    # nodule lies within lung lesion, lung opacity, any abnormality
    assert {one.name for one in ALIGNED.related("lung_lesion")} == {
        *("Nodule", "nodules", "Small nodule", "Nodule or mass", "Granuloma", "No Finding", "Abnormal")
    }
    assert member("two/classification", "Lesion").why == "no other head has the concept"


def test_tasks_that_are_not_trained_have_no_head():
    alone = align([(ONE, (D,))], VOCABULARY)
    assert alone.heads == (TaskKey("one", D),) and [one.name for one in alone.members] == ["Nodule"]


def test_two_classes_of_one_head_make_no_target():
    double = card("double", classification=[spec("a", "nodule"), spec("b", "nodule")])
    assert align([(double, (C,))], VOCABULARY).targets() == {}
