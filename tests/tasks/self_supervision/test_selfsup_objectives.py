"""The five objectives on a hand-made encoder: perfect tokens cost nothing, swapped axes cost, every head learns.

The encoder shows each block of 32 pixels as it is, so that two tokens are equal exactly where they show the same place.
"""

import copy

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from foundationx.core.errors import ConfigError
from foundationx.core.geometry.boxes import centres, inside
from foundationx.core.geometry.views import CELL, TrainingProgress
from foundationx.core.types import Annotations, Task, TaskKey
from foundationx.data.loader import collate
from foundationx.data.transforms.view_sets import ViewSetDataset
from foundationx.tasks.self_supervision.objective import OBJECTIVES, ObjectiveBatch, Tokens, open_objective
from foundationx.tasks.self_supervision.parts.losses import regress
from foundationx.tasks.self_supervision.tokens import as_tokens, encoder
from tests.helpers.selfsup_tiny import OBJECTIVES as TINY

KEY = TaskKey("made", Task.SELF_SUPERVISION)
START = TrainingProgress()
MOMENTS = [TrainingProgress(turn, done) for turn, done in enumerate((0.0, 0.3, 0.6, 0.7, 0.95))]
FLAVOURS = [(name, released) for name in TINY for released in (False, True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four images of structure at every scale, of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number, size in enumerate([(224, 256), (256, 224), (224, 224), (300, 260)]):
        layers = [cv2.resize(random.random((n, n)), size[::-1], interpolation=cv2.INTER_CUBIC) for n in (4, 16, 64)]
        image = np.clip(255 * sum(layers) / 3, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def batch_of(folder, name, options, training_progress=START, seed=0):
    images = [f"{n}.png" for n in range(4)]
    table = Annotations(KEY, (), images, images, images, np.zeros((4, 0), np.float32), [None] * 4)

    def plan(size, at, random):
        return OBJECTIVES.get(name).views(options, size, at, random)

    dataset = ViewSetDataset(table, folder, plan, options.photometry)
    return collate([(dataset.sample(n, 10 * seed + n, training_progress), []) for n in range(4)])


def made(name, released=False, **more):
    chosen, options = open_objective({"type": name, "as_released": released, **TINY[name], **more})
    torch.manual_seed(0)
    return chosen(12, options), options


def normalise(images):
    return images.float().expand(-1, 3, -1, -1) / 128 - 1


def objective_batch(batch, objective, backbone, teacher=None):
    teacher_backbone, target = teacher or (copy.deepcopy(backbone), copy.deepcopy(objective))
    return ObjectiveBatch(
        batch.views,
        batch.training_progress,
        encoder(backbone, normalise),
        encoder(teacher_backbone, normalise),
        target,
        normalise,
    )


def show_blocks(images):
    """Every block of pixels as a token: (B, 1, S, S) to N tokens of 1024 numbers."""
    cells = images.shape[-1] // CELL
    blocks = images[:, 0].float().unflatten(1, (cells, CELL)).unflatten(3, (cells, CELL)).transpose(2, 3)
    return Tokens(blocks.flatten(3).flatten(1, 2) / 128 - 1, (cells, cells))


def swapped(batch):
    """The batch with rows and columns exchanged in the boxes, but not in the pixels."""
    for view in batch.views.values():
        view.windows = view.windows[:, [1, 0, 3, 2]]
    return batch


# ---------------------------------------------------------------- geometry meets pixels


def perfect_peac(folder, seed):
    """Batch and objective whose heads give tokens as they are, crop one unchanged."""
    objective, options = made("peac", released=True, shift=3)
    objective.local_projector = nn.Identity()
    batch = batch_of(folder, "peac", options, seed=seed)
    batch.views["one"] = batch.views["plain"]
    return batch, objective


def place_loss(batch, objective):
    scene = ObjectiveBatch(batch.views, batch.training_progress, show_blocks, show_blocks, objective, normalise)
    seen, boxes = tuple(scene.seen_by_student("one", "two")), (batch.views["one"].windows, batch.views["two"].windows)
    return float(objective._local_loss(scene, seen, seen, boxes, torch.ones(4, dtype=torch.bool)))


@pytest.mark.parametrize("seed", range(4))
def test_peac_compares_the_same_positions_and_swapped_axes_do_not(folder, seed):
    batch, objective = perfect_peac(folder, seed)
    assert place_loss(batch, objective) < 1e-3  # rounding to bytes
    shift = (batch.views["one"].windows - batch.views["two"].windows)[:, :2]
    assert not torch.equal(shift[:, 0], shift[:, 1])
    assert place_loss(swapped(batch), objective) > 0.02


def test_lamps_orders_and_windows_name_the_blocks_they_show(folder):
    objective, options = made("lamps", released=True, photometry={})
    batch = batch_of(folder, "lamps", options, TrainingProgress(1))
    scene = ObjectiveBatch(batch.views, batch.training_progress, show_blocks, show_blocks, objective, normalise)
    objective.order = nn.Linear(CELL * CELL, 16)
    assert float(objective(scene).losses["coherence"].detach()) == 0
    batch.views["shuffled"].order = batch.views["shuffled"].order.roll(1, dims=1)
    assert float(objective(scene).losses["coherence"].detach()) > 0.01

    batch = batch_of(folder, "lamps", options, TrainingProgress(0))
    result = {}

    def decoder(tokens, index, seen):
        result["slots"] = torch.where(seen[..., None], tokens.gather(1, index[..., None].expand(-1, -1, 1024)), 0.0)
        result["seen"] = seen
        return result["slots"]

    objective.decoder = _Module(decoder)
    scene = ObjectiveBatch(batch.views, batch.training_progress, show_blocks, show_blocks, objective, normalise)
    objective(scene)
    expected = show_blocks(batch.views["crop"].images).values
    assert int(result["seen"].sum()) == 4 * 9  # three by three of four by four
    assert float((result["slots"] - expected)[result["seen"]].abs().max()) < 4 / 128  # grey values, of interpolation


class _Module(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def draw_views(name, count, size=(1024, 1024), training_progress=START, **options):
    chosen, options = open_objective({"type": name, **options})
    for seed in range(count):
        yield {view.name: view for view in chosen.views(options, size, training_progress, np.random.default_rng(seed))}


def test_peac_crops_overlap_as_published():
    """At least 10 x 10 cells, 155 of 196 on average (``docs/methods/self_supervision.md``, "3.1 Crops")."""
    shared = []
    for views in draw_views("peac", 400):
        one, two = (torch.from_numpy(views[name].window)[None] for name in ("one", "two"))
        shared.append(int(inside(centres(one, (14, 14)), two).sum()))
    assert min(shared) >= 100 and np.mean(shared) == pytest.approx(155, abs=3)


def test_ace_narrow_crops_lie_in_wide_ones_as_published():
    """94 % on average, entirely in 69 %; always on the wide crop's grid.

    See ``docs/methods/self_supervision.md``, "4.1 Crops".
    """
    shares = []
    for views in draw_views("ace", 600):
        wide, narrow = (views[name].window for name in ("wide", "narrow"))
        cell = (wide[2:] - wide[:2]) / 28
        offset = (narrow[:2] - wide[:2]) / cell
        assert np.allclose(offset, np.round(offset)) and (np.round(offset).astype(int) % 2 == 0).all()
        points = centres(torch.from_numpy(narrow)[None], (14, 14))
        shares.append(float(inside(points, torch.from_numpy(wide)[None]).double().mean()))
    assert np.mean(shares) == pytest.approx(0.94, abs=0.01) and np.mean(np.array(shares) == 1) == pytest.approx(
        0.69, abs=0.05
    )


def test_adam_goes_from_whole_images_to_sixteenths():
    for done, share in ((0.1, 1.0), (0.5, 1 / 4), (0.9, 1 / 16)):
        areas = [
            np.prod(views["query"].window[2:] - views["query"].window[:2]) / 1024**2
            for views in draw_views("adam", 60, training_progress=TrainingProgress(0, done))
        ]
        assert 0.2 * share * 0.99 <= min(areas) and share / 2 < max(areas) <= share * 1.01


def test_adam_v2_shares_a_middle_and_divides_the_whole():
    (views,) = draw_views("adam_v2", 1, training_progress=TrainingProgress(0, 0.7))
    middle = (views["whole"].window[:2] + views["whole"].window[2:]) / 2
    for name in ("centred", *(f"small{n}" for n in range(8))):
        assert np.allclose((views[name].window[:2] + views[name].window[2:]) / 2, middle)
    area = {name: np.prod(view.window[2:] - view.window[:2]) for name, view in views.items()}
    assert sum(area[f"part{n}"] for n in range(4)) == pytest.approx(area["whole"])
    assert area["small0"] < area["small3"] < area["small7"] < area["whole"]
    assert {views[name].size for name in ("whole", "centred", "part3")} == {224} and views["small0"].size == 96


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize(("name", "released"), FLAVOURS)
def test_every_head_learns_at_some_moment_and_the_teacher_never(folder, name, released):
    objective, options = made(name, released)
    backbone = nn.Conv2d(3, 12, CELL, CELL)
    teacher = copy.deepcopy(backbone), copy.deepcopy(objective)
    learned = set()
    for training_progress in [*MOMENTS, *MOMENTS]:  # twice: a queue has no negatives at first
        batch = batch_of(folder, name, options, training_progress)
        output = objective(objective_batch(batch, objective, backbone, teacher))
        loss = sum(output.losses.values())
        assert torch.isfinite(loss) and not output.second.requires_grad
        objective.zero_grad(), backbone.zero_grad()
        loss.backward()
        named = {f"objective.{n}": p for n, p in objective.named_parameters()}
        named |= {f"backbone.{n}": p for n, p in backbone.named_parameters()}
        learned |= {n for n, p in named.items() if p.grad is not None and p.grad.abs().sum() > 0}
    silent = set(named) - learned
    assert not silent, f"never learned: {silent}"
    for module in teacher:
        assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(("name", "released"), FLAVOURS)
def test_the_teacher_sees_clean_views_but_not_as_released(folder, name, released):
    objective, options = made(name, released)
    backbone = nn.Conv2d(3, 12, CELL, CELL)
    seen = []

    def watch(images):
        seen.extend(images.split(4))
        return encoder(backbone, normalise)(images)

    changed = 0
    for training_progress in MOMENTS:
        batch = batch_of(folder, name, options, training_progress)
        seen.clear()
        objective(
            ObjectiveBatch(
                batch.views, batch.training_progress, encoder(backbone, normalise), watch, objective, normalise
            )
        )
        views = OBJECTIVES.get(name).views(options, (256, 256), training_progress, np.random.default_rng(0))
        names = {view.name for view in views if not (view.toned or view.rotate or view.distorted)}
        clean = [batch.views[name].images for name in names - {"one", "shuffled"}]
        changed += sum(not any(torch.equal(images, view) for view in clean) for images in seen)
    assert (changed > 0) == released


@pytest.mark.parametrize("name", TINY)
def test_evaluation_changes_nothing_and_training_remembers(folder, name):
    objective, options = made(name)
    backbone = nn.Conv2d(3, 12, CELL, CELL)
    before = {n: b.clone() for n, b in objective.named_buffers()}
    objective.eval()
    for training_progress in MOMENTS:
        with torch.no_grad():
            objective(objective_batch(batch_of(folder, name, options, training_progress), objective, backbone))
    assert all(torch.equal(before[n], b) for n, b in objective.named_buffers())
    objective.train()
    for training_progress in MOMENTS:
        objective(objective_batch(batch_of(folder, name, options, training_progress), objective, backbone))
    changed = {n for n, b in objective.named_buffers() if not torch.equal(before[n], b)}
    assert bool(changed) == (name != "peac")  # which remembers nothing


def test_released_composition_weighs_almost_nothing(folder):
    """``docs/methods/self_supervision.md``, "2.5 Weight of composition": at orthogonality 1 - cosine is 1; the released
    mean over D features is 2 / D."""
    prediction, target = torch.eye(2)[:1].repeat(1, 64), torch.eye(2)[1:].repeat(1, 64)
    assert float(regress(prediction, target, "cosine")) == pytest.approx(1)
    assert float(regress(prediction, target, "mse", "unit")) == pytest.approx(2 / 128)
    losses = {}
    for released in (False, True):
        objective, options = made("adam_v2", released)
        scene = objective_batch(
            batch_of(folder, "adam_v2", options, TrainingProgress(0, 0.9)), objective, nn.Conv2d(3, 12, CELL, CELL)
        )
        losses[released] = objective(scene).losses
    for name in ("compose", "decompose"):
        assert float(losses[True][name].detach()) < 0.4 * float(losses[False][name].detach())


def test_tokens_of_finer_maps_are_averaged_to_one_every_32_pixels():
    feature = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    tokens = as_tokens(feature, 64)
    assert tokens.grid == (2, 2) and tokens.values.shape == (1, 4, 2)
    assert tokens.values[0, 1].tolist() == [(2 + 3 + 6 + 7) / 4, (18 + 19 + 22 + 23) / 4]
    assert torch.equal(as_tokens(feature, 128).values[0, 5], feature[0, :, 1, 1])


# ---------------------------------------------------------------- options


def test_faults_of_options_are_reported():
    with pytest.raises(ConfigError, match="did you mean 'peac'"):
        open_objective({"type": "paec"})
    with pytest.raises(ConfigError, match=r"model.objective.cels: unknown key\n.*did you mean 'cells'"):
        open_objective({"type": "peac", "cels": 4})
    with pytest.raises(ConfigError, match=r"model.objective.cells: found 3"):
        open_objective({"type": "ace", "cells": 3})
    with pytest.raises(ConfigError, match=r"model.objective: is missing"):
        open_objective(None)


def test_objectives_are_found_by_their_files():
    assert set(OBJECTIVES.all()) == {*TINY, "site"}  # site guidance learns nothing by itself: test_site.py
