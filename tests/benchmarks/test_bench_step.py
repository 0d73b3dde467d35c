"""The benchmark of a step, at tiny size: its rows hold what their columns say."""

import bench_step
import pytest
import small_world
import torch
from gpu_readiness import SIZES


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(small_world, "CONFIG", SIZES["tiny"].config)
    monkeypatch.setattr(small_world, "SIZE", SIZES["tiny"].pixels)
    return small_world.World(small_world.keys(1))


def test_a_fused_optimizer_comes_to_nearly_the_same_parameters(world):
    millions, tensors, *milliseconds, ratio, apart = bench_step.optimizers(world, 1)
    assert float(millions) > 0 and int(tensors) == len(list(world.student.parameters()))
    assert all(float(value) > 0 for value in (*milliseconds, ratio)) and float(apart) < 1e-6


def test_steps_are_timed_in_both_precisions(world, monkeypatch):
    used, trunk = [], type(world.student).trunk

    def noted(model, images, key, **further):
        used.append(torch.nn.functional.linear(images[..., :1, :1].flatten(1), images.new_ones(1, 3)).dtype)
        return trunk(model, images, key, **further)

    monkeypatch.setattr(type(world.student), "trunk", noted)
    rows = bench_step.precisions(world, 1)
    assert [row[0] for row in rows] == ["classification", "detection", "segmentation"]
    one = [torch.float32] * 2 + [torch.bfloat16] * 2  # student and teacher
    assert used == one * 6, "a step that does not count and one that does, of each task, in turns"
