"""What a step costs beside its arithmetic: page faults, dispatched operations, and passes that change nothing."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import gpu_readiness
import pytest
import small_world
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from foundationx.core.config.run import RunConfig
from foundationx.core.device import seed_generators
from foundationx.core.types import PhaseName, Task
from foundationx.engine.nonfinite import NonFiniteCheck
from foundationx.engine.optim import clipped_norm
from foundationx.engine.schedule.plan import Plan
from foundationx.engine.trainer import Trainer
from foundationx.models.parameter_groups import lock
from tests.helpers.host_traffic import Dispatched

MOST_OPERATIONS = 25_000
"""Of a detection step with Swin-B's depth and DINO of 6 + 6 layers: forward, backward, teacher, optimizer, EMA."""

STEPS = """
import resource, sys
import torch
from small_world import World, draw_batch, keys, phase_of
from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import PhaseName
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()
key = keys(1)[0]
world, phase, batch = World([key]), phase_of(key, PhaseName.RELEASE), draw_batch(key, 8)
def step():
    world.step(phase, batch)
step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3)
"""


def faults(what):
    """Page faults of the losses and gradients of a classification step with 8 images."""
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        [sys.executable, "-c", STEPS, what], capture_output=True, text=True, check=True, env=os.environ | here
    )
    return int(ended.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="another allocator than glibc's")
def test_a_step_finds_the_memory_of_the_one_before():
    kept, returned = faults("keep"), faults("leave")
    print(f"\npage faults a step: {returned:,}, with freed memory kept {kept:,}")
    assert kept < 2_000 and returned > max(5_000, 5 * kept)


@pytest.fixture
def deep_trainer(tmp_path, monkeypatch):
    """Swin-B's and DINO's number of layers, each of them narrow; one head of detection."""
    narrow = {"embed_dims": 8, "num_heads": (1, 1, 2, 2)}
    detection = {"embed_dims": 16, "num_heads": 2, "ffn_dims": 16, "sharing": "decoder"}
    config = gpu_readiness.FULL.model_copy(
        update={
            "backbone": gpu_readiness.FULL.backbone | narrow,
            "detection": gpu_readiness.FULL.detection.model_copy(update=detection),
        }
    )
    monkeypatch.setattr(small_world, "CONFIG", config)
    monkeypatch.setattr(small_world, "SIZE", 96)
    key = next(key for key in small_world.keys(1) if key.task is Task.DETECTION)
    phase, batch = replace(small_world.phase_of(key, PhaseName.RELEASE), steps=100), small_world.draw_batch(key)
    run = RunConfig(
        name="deep",
        image_size=96,
        model=config,
        datasets=[{"card": key.dataset}],
        schedule={"cycles": 1},
        consistency={"only_if_better": False},
        runtime={"log_every": 1000},
    )
    return Trainer(run, small_world.build([key]), Plan((phase,)), lambda step: iter([]), tmp_path), phase, batch


def test_a_detection_step_dispatches_few_operations(deep_trainer):
    trainer, phase, batch = deep_trainer
    with lock(trainer.model, phase.trainable):
        trainer._run_step(phase, iter([batch]))
        with Dispatched() as dispatched:
            trainer._run_step(phase, iter([batch]))
    operations = sum(dispatched.calls.values())
    print(f"\noperations of a detection step: {operations:,}")
    assert 10_000 < operations <= MOST_OPERATIONS


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3, float("inf"), float("nan")])
@pytest.mark.parametrize("may_read", [False, True])
def test_clipping_is_torchs_to_the_bit(scale, may_read):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(5))]
    for parameter in ours:
        parameter.grad = torch.randn(parameter.shape) * scale
    theirs = copy.deepcopy(ours)
    for own, other in zip(ours, theirs, strict=True):
        other.grad = own.grad.clone()
    norm, reference = clipped_norm(ours, 1.0, may_read=may_read), clip_grad_norm_(theirs, 1.0)
    assert torch.equal(norm.nan_to_num(), reference.nan_to_num()) and norm.isnan() == reference.isnan()
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own.grad.view(torch.int32), other.grad.view(torch.int32))


def test_gradients_within_the_limit_are_not_touched():
    parameter = nn.Parameter(torch.zeros(5))
    parameter.grad = torch.ones(5)
    version = parameter.grad._version
    clipped_norm([parameter], 100.0, may_read=True)
    assert parameter.grad._version == version
    clipped_norm([parameter], 1.0, may_read=True)
    assert parameter.grad._version > version


def test_a_step_draws_what_torch_draws_after_its_seed():
    seed_generators(7, torch.device("cpu"))
    drawn = torch.rand(4)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(4))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("loss", [1.0, float("nan")])
def test_buffers_of_several_types_go_back_with_a_step_that_is_left_out(fused, loss):
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, dtype=torch.float64), nn.BatchNorm1d(3))
    parameter = next(model.parameters())
    guard = NonFiniteCheck(model, torch.optim.AdamW([parameter], fused=fused), 3)
    before = {name: value.clone() for name, value in model.named_buffers()}
    guard.begin()
    with torch.no_grad():
        for buffer in model.buffers():
            buffer += 2
    guard._current.losses.append(torch.isfinite(torch.tensor(loss)))
    parameter.grad = torch.ones_like(parameter)
    guard.update(torch.tensor(1.0))
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name] + (2 if loss == 1.0 else 0)), name
