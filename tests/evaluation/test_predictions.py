"""Stored predictions hold what was said and known of every image, and come back as they were written."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from foundationx.core.arrays import Masks, Ragged, parts_of
from foundationx.core.errors import DataError, DiskError
from foundationx.core.types import SampleMeta, Split, Task, TaskKey
from foundationx.evaluation import recorder
from foundationx.evaluation.predictions import find_predictions, predictions_path, read_predictions
from foundationx.evaluation.recorder import BUFFER, Recorder, SpillFolder
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch
from tests.helpers.predicted import boxed, labelled, masked

NAN = float("nan")
STORED = {
    Task.CLASSIFICATION: lambda: labelled([[1, NAN], [0, 1]], [[0.3, 0.4], [0.5, 0.6]], patients=["nih:1", "größe"]),
    Task.DETECTION: lambda: boxed([([([1, 2, 3, 4], 0)], [([1, 2, 3, 5], 0, 0.7)]), ([], [])]),
    Task.SEGMENTATION: lambda: masked(np.eye(4)[None, None], np.ones((1, 1, 4, 4)), np.tri(4)[None, None]),
}


NAMES = ("key", "model", "split", "visit", "classes")


def arrays_of(stored):
    """Every array by name."""
    result = {name: getattr(stored, name) for name in ("images", "patients", "labels")}
    for name, value in stored.recorded.items():
        result |= parts_of(name, value)
    return result


def equal(one, two):
    assert [getattr(one, name) for name in NAMES] == [getattr(two, name) for name in NAMES]
    assert all(type(getattr(one, name)) is type(getattr(two, name)) for name in NAMES)
    first, second = arrays_of(one), arrays_of(two)
    assert set(first) == set(second)
    for name, a in first.items():
        b = second[name]
        assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name


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
    whole, parts = Masks.encode(masks), [Masks.encode(masks[:1]).parts(), Masks.encode(masks[1:]).parts()]
    joined = Masks(*(np.concatenate([part[name] for part in parts]) for name in ("runs", "counts", "sizes")))
    for stack in (whole, joined):
        assert len(stack) == 3 and all(np.array_equal(stack.image(index), masks[index]) for index in range(3))
    taken = joined.take(np.array([2, 0]))
    assert np.array_equal(taken.image(0), masks[2]) and np.array_equal(taken.image(1), masks[0])


def test_ragged_values_are_read_image_by_image():
    ragged = Ragged.of([np.array([1, 2]), np.zeros(0, int), np.array([3])])
    assert ragged.images.tolist() == [0, 0, 2] and [part.tolist() for part in map(ragged.image, range(3))] == [
        [1, 2], [], [3]
    ]  # fmt: skip
    for chosen in (np.array([2, 1, 0]), np.array([True, False, True])):
        taken = ragged.take(chosen)
        expected = [ragged.image(index).tolist() for index in np.arange(3)[chosen]]
        assert [taken.image(index).tolist() for index in range(len(taken))] == expected


def recorded_by(key, batches, folder=None):
    """Predictions of one model after batches of (prediction, batch)."""
    kept = Recorder(key, ("a",), ["student"], SpillFolder(folder))
    for output, batch in batches:
        kept.add(kept.record({"student": output}, batch))
    (result,) = kept.predictions(Split.VAL, 4)
    return result


def batch_of(key, sizes, **targets):
    number = len(sizes)
    metas = tuple(
        SampleMeta(key, f"{height}x{width}.png", f"p{position}", f"row {position}", height, width)
        for position, (height, width) in enumerate(sizes)
    )
    images = torch.zeros(number, 1, 4, 6, dtype=torch.uint8)
    kind = DetectionBatch if key.task is Task.DETECTION else SegmentationBatch
    return kind(key, images, images, torch.ones(number, 1), metas, **targets)


def test_boxes_are_stored_in_pixels_of_the_source_and_images_are_counted_over_batches():
    key = TaskKey("d", Task.DETECTION)
    batches = []
    for size, true in (((100, 200), [[0.5, 0.5, 0.2, 0.4]]), ((50, 50), [])):
        target = {"centred_boxes": torch.zeros(1, 2, 4), "box_classes": torch.full((1, 2), -1)}
        for position, box in enumerate(true):
            target["centred_boxes"][0, position], target["box_classes"][0, position] = torch.tensor(box), 0
        output = DetectionPrediction(
            relative_boxes=torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]), scores=torch.tensor([[0.25]]),
            box_classes=torch.zeros(1, 1, dtype=torch.long),
        )  # fmt: skip
        batches.append((output, batch_of(key, [size], **target)))
    kept = recorded_by(key, batches)
    assert kept.images.tolist() == ["100x200.png", "50x50.png"] and kept.patients.tolist() == ["p0", "p0"]
    true, boxes = kept.ragged("true_boxes"), kept.ragged("boxes")
    assert np.allclose(true.values, [[80, 30, 120, 70]]) and true.images.tolist() == [0]
    assert np.allclose(boxes.values, [[0, 0, 100, 100], [0, 0, 25, 50]]) and boxes.images.tolist() == [0, 1]
    assert (kept.model, kept.split, kept.visit, len(kept)) == ("student", Split.VAL, 4, 2)


def test_pixels_are_predicted_from_one_half_on_and_unknown_ones_are_in_no_mask():
    key = TaskKey("d", Task.SEGMENTATION)
    masks = torch.tensor([[[[0, 1, 255, 255]]]], dtype=torch.uint8)
    output = SegmentationPrediction(masks=torch.tensor([[[[0.5, 0.49, 0.9, 0.1]]]]))
    kept = recorded_by(key, [(output, batch_of(key, [(1, 4)], masks=masks))])
    predicted, true, known = (kept.masks(f"{name}_masks").image(0) for name in ("predicted", "true", "known"))
    assert (predicted & known).tolist() == [[[True, False, False, False]]]
    assert true.tolist() == [[[False, True, False, False]]] and known.tolist() == [[[True, True, False, False]]]


def test_nothing_recorded_is_nothing():
    assert Recorder(TaskKey("d", Task.CLASSIFICATION), ("a",), ["teacher"], SpillFolder()).predictions(
        Split.TEST, 1
    ) == []  # fmt: skip


def detected(number, queries=100):
    """Batches of one image with many boxes."""
    key, rng = TaskKey("d", Task.DETECTION), np.random.default_rng(0)
    for _ in range(number):
        output = DetectionPrediction(
            relative_boxes=torch.from_numpy(rng.random((1, queries, 4), dtype=np.float32)),
            scores=torch.from_numpy(rng.random((1, queries), dtype=np.float32)),
            box_classes=torch.zeros(1, queries, dtype=torch.long),
        )
        target = {"centred_boxes": torch.full((1, 1, 4), 0.5), "box_classes": torch.zeros(1, 1, dtype=torch.long)}
        yield output, batch_of(key, [(90, 80)], **target)


def test_what_is_recorded_goes_to_files_and_comes_back_in_order(tmp_path, monkeypatch):
    key = TaskKey("d", Task.DETECTION)
    whole = recorded_by(key, detected(20))
    monkeypatch.setattr(recorder, "BUFFER", 3000)
    spilled = recorded_by(key, detected(20), tmp_path)
    boxes = spilled.ragged("boxes").values
    assert isinstance(boxes, np.memmap) and len(list(tmp_path.glob("*/d.detection.*boxes*"))) >= 1
    equal(whole, spilled)
    equal(whole, read_predictions(spilled.write(tmp_path)))
    assert predictions_path(tmp_path, key, Split.VAL, "student").is_file()
    del spilled, boxes
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"], "the files go with the last reader"


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Of an image only its names stay in memory; 100 boxes with scores and classes are 2.8 kB."""
    peaks, key = [], TaskKey("d", Task.DETECTION)
    for number in (400, 1600):
        tracemalloc.start()
        result = recorded_by(key, detected(number), tmp_path)
        assert len(result) == number and result.ragged("boxes").values.nbytes == 1600 * number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1200 * 400, f"bytes: {peaks}"
    assert 400 * 400 < BUFFER < 1600 * 400, "scores fill the buffer between the two, boxes in both"


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "BUFFER", 100)
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot be written"):
        SpillFolder(tmp_path / "file")
    folder = SpillFolder(tmp_path)
    folder.path.rmdir()
    kept = Recorder(TaskKey("d", Task.DETECTION), ("a",), ["student"], folder)
    output, batch = next(detected(1))
    with pytest.raises(DiskError, match=r"cannot be written.*\n.*free disk space"):
        kept.add(kept.record({"student": output}, batch))
