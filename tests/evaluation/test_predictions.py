"""Stored predictions hold what was said and known of every image, and come back as they were written."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from foundationx.core.errors import DataError
from foundationx.core.types import Batch, Prediction, SampleMeta, Split, Task, TaskKey
from foundationx.evaluation.predictions import Masks, find_predictions, read_predictions
from foundationx.evaluation.recorder import Recorder
from tests.helpers.predicted import boxed, labelled, masked

NAN = float("nan")
STORED = {
    Task.CLASSIFICATION: lambda: labelled([[1, NAN], [0, 1]], [[0.3, 0.4], [0.5, 0.6]], patients=["nih:1", "größe"]),
    Task.DETECTION: lambda: boxed([([([1, 2, 3, 4], 0)], [([1, 2, 3, 5], 0, 0.7)]), ([], [])]),
    Task.SEGMENTATION: lambda: masked(np.eye(4)[None, None], np.ones((1, 1, 4, 4)), np.tri(4)[None, None]),
}


def equal(one, two):
    for item in fields(one):
        a, b = getattr(one, item.name), getattr(two, item.name)
        if isinstance(a, Masks):
            equal(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), item.name
        else:
            assert a == b and type(a) is type(b), item.name


@pytest.mark.parametrize("task", list(STORED))
def test_what_is_written_is_read(task, tmp_path):
    stored = STORED[task]()
    path = stored.write(tmp_path)
    assert path == tmp_path / "predictions" / "made" / f"{task.value}.test.teacher.npz"
    assert find_predictions(tmp_path) == [path]
    equal(stored, read_predictions(path))
    with np.load(path, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)


def test_torn_foreign_and_later_files_are_named(tmp_path):
    path = STORED[Task.CLASSIFICATION]().write(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"classification\.test\.teacher\.npz: holds no predictions"):
            read_predictions(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(path)
    np.savez(path, format=np.array(99))
    with pytest.raises(DataError, match="has format 99"):
        read_predictions(path)


@settings(deadline=None, max_examples=40)
@given(arrays(bool, (3, 2, 5, 7)))
def test_masks_come_back(masks):
    parts = [Masks.encode(masks[:1]), Masks.encode(masks[1:])]
    for stack in (Masks.encode(masks), Masks.join(parts)):
        assert np.array_equal(stack.decode(0, 6).reshape(masks.shape), masks)
        assert np.array_equal(stack.decode(3, 2), masks.reshape(6, 5, 7)[3:5])


def batch_of(key, sizes, **targets):
    number = len(sizes)
    metas = tuple(
        SampleMeta(key, f"{height}x{width}.png", f"p{place}", f"row {place}", height, width)
        for place, (height, width) in enumerate(sizes)
    )
    images = torch.zeros(number, 1, 4, 6, dtype=torch.uint8)
    return Batch(key, images, images, torch.ones(number, 1), metas, **targets)


def test_boxes_are_kept_in_pixels_of_the_source_and_images_are_counted_over_batches():
    key = TaskKey("d", Task.DETECTION)
    recorder = Recorder(key, ("a",))
    for size, true in (((100, 200), [[0.5, 0.5, 0.2, 0.4]]), ((50, 50), [])):
        target = {"boxes": torch.zeros(1, 2, 4), "box_classes": torch.full((1, 2), -1)}
        for place, box in enumerate(true):
            target["boxes"][0, place], target["box_classes"][0, place] = torch.tensor(box), 0
        said = Prediction(
            boxes=torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]), scores=torch.tensor([[0.25]]),
            box_classes=torch.zeros(1, 1, dtype=torch.long),
        )  # fmt: skip
        recorder.add(said, batch_of(key, [size], **target))
    kept = recorder.predictions("student", Split.VAL, 4)
    assert kept.images.tolist() == ["100x200.png", "50x50.png"] and kept.patients.tolist() == ["p0", "p0"]
    assert np.allclose(kept.true_boxes, [[80, 30, 120, 70]]) and kept.true_images.tolist() == [0]
    assert np.allclose(kept.boxes, [[0, 0, 100, 100], [0, 0, 25, 50]]) and kept.box_images.tolist() == [0, 1]
    assert (kept.model, kept.split, kept.visit, len(kept)) == ("student", Split.VAL, 4, 2)


def test_pixels_are_predicted_from_one_half_on_and_unknown_ones_are_in_no_mask():
    key = TaskKey("d", Task.SEGMENTATION)
    recorder = Recorder(key, ("a",))
    masks = torch.tensor([[[[0, 1, 255, 255]]]], dtype=torch.uint8)
    said = Prediction(masks=torch.tensor([[[[0.5, 0.49, 0.9, 0.1]]]]))
    recorder.add(said, batch_of(key, [(1, 4)], masks=masks))
    predicted, true, known = recorder.predictions("teacher", Split.TEST, 1).masks_of(0)
    assert predicted.tolist() == [[[True, False, False, False]]]
    assert true.tolist() == [[[False, True, False, False]]] and known.tolist() == [[[True, True, False, False]]]


def test_nothing_recorded_is_nothing():
    assert Recorder(TaskKey("d", Task.CLASSIFICATION), ("a",)).predictions("teacher", Split.TEST, 1) is None
