"""What labels of one dataset say of the classes of another."""

import numpy as np
import pytest

from foundationx.core.types import Annotations, Task, TaskKey
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Concept, Vocabulary
from foundationx.datasets.known import known_labels_of, says_something

VOCABULARY = Vocabulary(
    {
        "abnormality": Concept(title="Any", kind="state"),
        "opacity": Concept(title="Opacity", kind="finding", parent="abnormality"),
        "consolidation": Concept(title="Consolidation", kind="finding", parent="opacity"),
        "heart": Concept(title="Heart", kind="anatomy"),
    }
)


def spec(concept, relation="exact", polarity="presence"):
    return ClassSpec(name="x", canonical=concept, relation=relation, polarity=polarity)


OPACITY = spec("opacity")


@pytest.mark.parametrize(
    ("target", "source", "if_positive", "if_negative"),
    [
        (OPACITY, OPACITY, 1, 0),
        (OPACITY, spec("consolidation"), 1, None),  # a kind of it is there; without that kind, others may be
        (OPACITY, spec("abnormality"), None, 0),  # a normal image has none
        (OPACITY, spec("abnormality", polarity="absence"), 0, None),  # No Finding
        (OPACITY, spec("heart"), None, None),
        (OPACITY, spec("opacity", "narrower"), 1, None),
        (OPACITY, spec("opacity", "broader"), None, 0),
        (OPACITY, spec("opacity", "related"), None, None),
        (spec("opacity", "narrower"), OPACITY, None, 0),
        (spec("opacity", "broader"), OPACITY, 1, None),
        (spec("opacity", polarity="absence"), OPACITY, 0, 1),
        (ClassSpec(name="x"), ClassSpec(name="x"), None, None),  # no concept: equal names may differ in meaning
    ],
)
def test_implications(target, source, if_positive, if_negative):
    labels = np.array([[1.0], [0.0], [np.nan]], dtype=np.float32)
    table = Annotations(TaskKey("d", Task.CLASSIFICATION), ("x",), ["a", "b", "c"], ["1", "2", "3"], "rst", labels, [])
    known = known_labels_of(target, [(table, [source])], ["c", "b", "a", "elsewhere"], VOCABULARY)
    expected = [np.nan if value is None else value for value in (None, if_negative, if_positive, None)]
    np.testing.assert_array_equal(known, np.array(expected, dtype=np.float32))
    assert says_something(target, source, VOCABULARY) == (if_positive is not None or if_negative is not None)


def test_what_two_tables_contradict_is_unknown():
    tables = []
    for value in (1.0, 0.0):
        labels = np.array([[value], [1.0]], dtype=np.float32)
        key = TaskKey("d", Task.CLASSIFICATION)
        tables.append((Annotations(key, ("x",), ["a", "b"], ["1", "2"], "rs", labels, []), [OPACITY]))
    np.testing.assert_array_equal(known_labels_of(OPACITY, tables, ["a", "b"], VOCABULARY), [np.nan, 1.0])
