"""Views as pixels: functions of the seed, distortions that can be restored, batches, faults."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.errors import ConfigError, DataError
from foundationx.core.geometry.samplers import scaled_box, whole
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Annotations, Task, TaskKey
from foundationx.data.loader import PlanSampler, PooledDataset, SampleRef, SamplerSegment, collate
from foundationx.data.transforms import distort as distortions
from foundationx.data.transforms.distort import distort
from foundationx.data.transforms.view_sets import ViewSetDataset, crop
from foundationx.tasks.self_supervision.objective import open_objective

KEY = TaskKey("made", Task.SELF_SUPERVISION)
TONES = PhotometryConfig(brightness=0.3, contrast=0.3, blur=1.0)


def plan(size, training_progress, random):
    """A plain, a toned, a turned and a shuffled view of one box; twice the size in the second half of training."""
    box = scaled_box(whole(size), (0.3, 0.8), (0.8, 1.2), random)
    side = 128 if training_progress.done >= 0.5 else 64
    order = random.permutation((side // 32) ** 2)
    return [
        View("plain", box, side, toned=False),
        View("toned", box, side),
        View("turned", box, side, toned=False, rotate=20.0),
        View("shuffled", box, side, toned=False, order=order),
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    random = np.random.default_rng(1)
    for number in range(3):
        small = (255 * random.random((6, 6))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(small, (150, 170), interpolation=cv2.INTER_CUBIC))
    (folder / "3.png").write_bytes(b"not a picture")
    images = [f"{n}.png" for n in range(4)]
    rows = [f"list row {n}" for n in range(4)]
    table = Annotations(KEY, (), images, images, rows, np.zeros((4, 0), np.float32), [None] * 4)
    return ViewSetDataset(table, folder, plan, TONES)


def test_views_are_a_function_of_seed_and_moment(dataset):
    first, again, other = (dataset.sample(0, seed, TrainingProgress()) for seed in (7, 7, 8))
    for name, view in first.target.views.items():
        assert np.array_equal(view.image, again.target.views[name].image) and np.array_equal(
            view.window, again.target.views[name].window
        )
        assert not np.array_equal(view.window, other.target.views[name].window)
    assert first.target.views["plain"].image.shape == (64, 64) and first.labels.shape == (0,)
    assert dataset.sample(0, 7, TrainingProgress(0, 0.5)).target.views["plain"].image.shape == (128, 128)


def test_tones_change_pixels_and_nothing_else_does_where_it_should_not(dataset):
    views = dataset.sample(1, 3).target.views
    plain, toned = views["plain"].image.astype(float), views["toned"].image.astype(float)
    assert not np.array_equal(plain, toned)
    assert np.corrcoef(plain.ravel(), toned.ravel())[0, 1] > 0.95  # in place
    assert not np.array_equal(plain, views["turned"].image)
    order = views["shuffled"].order
    assert sorted(order) == [0, 1, 2, 3] and views["plain"].order.tolist() == [0, 1, 2, 3]
    block = views["plain"].image.reshape(2, 32, 2, 32).swapaxes(1, 2).reshape(4, 32, 32)
    shown = views["shuffled"].image.reshape(2, 32, 2, 32).swapaxes(1, 2).reshape(4, 32, 32)
    assert np.array_equal(shown, block[order])


def test_batches_hold_views_by_name_and_move_as_one(dataset):
    pool = PooledDataset({KEY: dataset}, {KEY: np.arange(3)})
    batch = collate([pool[SampleRef(KEY, n, n, TrainingProgress(4, 0.25))] for n in range(3)])
    assert batch.training_progress == TrainingProgress(4, 0.25) and len(batch) == 3
    view = batch.views["shuffled"]
    assert view.images.shape == (3, 1, 64, 64) and view.windows.shape == (3, 4) and view.order.shape == (3, 4)
    assert view.images.dtype == torch.uint8 and view.order.dtype == torch.int64
    moved = batch.to("meta")
    assert moved.views["plain"].windows.device.type == "meta" and moved.teacher_images is moved.images
    assert moved.training_progress == batch.training_progress and batch.views["plain"].windows.device.type == "cpu"


def test_a_tensor_in_two_places_is_changed_once():
    shared = torch.ones(2)
    result = map_tensors({"a": shared, "b": {"c": shared}, "d": "kept"}, lambda tensor: tensor + 1)
    assert result["a"] is result["b"]["c"] and result["a"].tolist() == [2, 2] and result["d"] == "kept"


def test_moments_count_the_turns_of_each_head_alone():
    other = TaskKey("made", Task.CLASSIFICATION)
    segments = [SamplerSegment(KEY, 0, 2, 0), SamplerSegment(other, 2, 3, 1), SamplerSegment(KEY, 5, 2, 2)]
    images = {KEY: np.arange(3), other: np.arange(3)}
    sampler = PlanSampler(segments, images, 2, seed=0)
    moments = [(refs[0].key, refs[0].training_progress) for refs in sampler]
    assert [m for key, m in moments if key == KEY] == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert [m.turn for key, m in moments if key == other] == [0, 1, 2]
    resumed = [
        (refs[0].key, refs[0].training_progress) for refs in PlanSampler(segments, images, 2, seed=0, start_step=6)
    ]
    assert resumed == moments[6:]


def test_an_unreadable_image_is_named(dataset):
    with pytest.raises(DataError, match=r"list row 3: .*3\.png"):
        dataset.sample(3, 0)


def test_an_unknown_option_of_photometry_is_named():
    with pytest.raises(ConfigError, match=r"photometry\.brightnes: unknown key"):
        open_objective({"type": "peac", "photometry": {"brightnes": 1.0}})


# ---------------------------------------------------------------- distortion


@given(st.integers(0, 2**31), st.sampled_from([64, 128, 224]))
@settings(max_examples=30, deadline=None)
def test_distortions_keep_size_and_type_and_depend_on_the_seed_alone(seed, side):
    image = np.random.default_rng(0).integers(0, 256, size=(side, side), dtype=np.uint8)
    before = image.copy()
    one, two = (distort(image, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one, two) and one.shape == image.shape and one.dtype == np.uint8
    assert np.array_equal(image, before) and not np.array_equal(one, image)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_parts_of_a_distortion_do_what_they_say(seed):
    random = np.random.default_rng(seed)
    image = np.sort(random.integers(0, 256, size=(70, 70), dtype=np.uint8), axis=0)
    shuffled = distortions._shuffle_locally(image, random)
    assert np.array_equal(np.sort(shuffled, axis=None), np.sort(image, axis=None))  # no value is lost
    table = distortions._grey_curve(random).astype(int)
    steps = np.diff(table)
    assert table.shape == (256,) and (steps >= 0).all() | (steps <= 0).all() and {table[0], table[-1]} == {0, 255}
    outside = distortions._hide_outside(image, random) != image
    inside = distortions._hide_inside(image, random) != image
    assert outside.mean() > 0.2 and 0 < inside.mean() < 0.6  # a window of at most six sevenths, five of a third


def test_shrinking_averages_and_complete_pixels_are_copied():
    image = np.random.default_rng(0).integers(0, 256, size=(64, 96), dtype=np.uint8)
    assert np.array_equal(crop(image, np.array([8.0, 16, 40, 48]), 32), image[8:40, 16:48])
    half = crop(image.astype(np.float32), np.array([0.0, 32, 64, 96]), 32)
    np.testing.assert_allclose(half, image[:, 32:].reshape(32, 2, 32, 2).mean(axis=(1, 3)), atol=1e-3)
