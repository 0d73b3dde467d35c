"""Batches follow the plan; what a step sees is a function of seed and step."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from foundationx.core.types import BadSample, Sample, SampleMeta, Task, TaskKey
from foundationx.data.loader import PlanSampler, PooledDataset, SampleRef, SamplerSegment, collate, in_order, usable
from foundationx.tasks.detection.target import Boxes

A, B = TaskKey("a", Task.CLASSIFICATION), TaskKey("b", Task.DETECTION)
INDICES = {A: np.arange(10, 17), B: np.array([3, 4])}
SEGMENTS = [SamplerSegment(A, 0, 3, 0), SamplerSegment(B, 3, 2, 1), SamplerSegment(A, 5, 4, 2)]


def sampler(start=0, seed=5):
    return PlanSampler(SEGMENTS, INDICES, batch_size=3, seed=seed, start_step=start)


def test_batches_are_full_and_of_the_right_head():
    batches = list(sampler())
    assert [batch[0].key for batch in batches] == [A] * 3 + [B] * 2 + [A] * 4
    assert all(len(batch) == 3 and len({ref.key for ref in batch}) == 1 for batch in batches)
    assert all(ref.index in INDICES[ref.key] for batch in batches for ref in batch)


def test_a_pass_sees_every_image_once_before_any_twice():
    refs = [ref.index for batch in list(sampler())[:3] for ref in batch]
    assert sorted(refs[:7]) == list(range(10, 17))


@given(st.integers(0, 9), st.integers(0, 3))
def test_going_on_from_any_step_gives_the_same_batches(start, seed):
    assert list(sampler(start, seed)) == list(sampler(0, seed))[start:]


def test_stretches_and_seeds_differ_and_no_augmentation_seed_repeats():
    batches = list(sampler())
    assert [ref.index for batch in batches[:2] for ref in batch] != [
        ref.index for batch in batches[5:7] for ref in batch
    ]
    assert list(sampler(seed=5)) != list(sampler(seed=6))
    seeds = [ref.seed for batch in batches for ref in batch]
    assert len(set(seeds)) == len(seeds)


def sample(boxes, size=(40, 80), key=B):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    meta = SampleMeta(key, "x.png", "p", "row 1", *size)
    image = np.zeros(size, np.uint8)
    classes = np.arange(len(boxes), dtype=np.int64)
    return Sample(image, np.zeros(2, np.float32), meta, target=Boxes(boxes, classes))


def test_collate_makes_shares_of_the_image_and_pads():
    batch = collate([(sample([[8, 10, 24, 30]]), []), (sample([]), []), (sample([[0, 0, 80, 40], [0, 0, 8, 4]]), [])])
    assert batch.centred_boxes.shape == (3, 2, 4)
    torch.testing.assert_close(batch.centred_boxes[0, 0], torch.tensor([0.2, 0.5, 0.2, 0.5]))
    torch.testing.assert_close(batch.centred_boxes[2, 0], torch.tensor([0.5, 0.5, 1.0, 1.0]))
    assert batch.box_classes.tolist() == [[0, -1], [-1, -1], [0, 1]]
    assert batch.images.shape == (3, 1, 40, 80) and batch.teacher_images is batch.images
    moved = batch.to("cpu")
    assert moved.teacher_images is moved.images


class Flaky:
    """A dataset in which some images cannot be read."""

    def __init__(self, broken):
        self.broken = broken

    def sample(self, index, seed, training_progress=None):
        if index in self.broken:
            raise DataError(f"file {index}", "broken")
        return sample([[0, 0, index, 4]])

    def bad(self, index, error):
        return BadSample("b", "detection", f"file {index}", f"row {index}", str(error))


def test_an_unreadable_image_is_replaced_by_the_next_and_reported():
    pool = PooledDataset({B: Flaky({3})}, {B: np.array([3, 5, 9])})
    replaced, bad = pool[SampleRef(B, 3, 0)]
    assert replaced.target.boxes[0, 2] == 5 and [entry.file for entry in bad] == ["file 3"]
    batch = collate([(replaced, bad)])
    assert usable(batch, "skip") is batch
    with pytest.raises(DataError, match="file 3: broken"):
        usable(batch, "raise")


def test_a_dataset_without_a_readable_image_is_an_error_even_when_skipping():
    pool = PooledDataset({B: Flaky({3, 5})}, {B: np.array([3, 5])})
    with pytest.raises(DataError, match="not one image can be used"):
        usable(collate([pool[SampleRef(B, 5, 0)]]), "skip")


def test_evaluation_sees_every_image_once_in_order():
    batches = in_order(A, INDICES[A], 3)
    assert [ref.index for batch in batches for ref in batch] == list(range(10, 17))
    assert [len(batch) for batch in islice(batches, 3)] == [3, 3, 1]


@pytest.mark.parametrize("error, is_told", [("ConnectionResetError('by peer')", False), ("ValueError('x')", True)])
def test_a_reader_whose_training_process_was_killed_ends_without_a_trace(error, is_told):
    """Python's thread that hands images over prints what its listener meets by sys.excepthook."""
    lines = (
        "import sys; from foundationx.data.loader import begin_worker; begin_worker(0)",
        "try:",
        f"    raise {error}",
        "except Exception:",
        "    sys.excepthook(*sys.exc_info())",
    )
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert ("Traceback" in ended.stderr) is is_told
