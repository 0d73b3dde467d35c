"""What one would pick instead of the five objectives, for ``selfsup_transfer.py``: DINO, SimCLR and MAE.

DINO and SimCLR train the same small Swin from the same weights with the losses and projection heads of lightly
(``pip install lightly``); MAE is transformers' ``ViTMAEForPreTraining``, whose encoder starts a plain ViT of like cost.
All see the same images, read and cut as for the five objectives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from selfsup_learning import PLAIN_VIT, prepared
from selfsup_worlds import World
from torch import Tensor, nn

from foundationx.core.config.views import PhotometryConfig
from foundationx.core.geometry.samplers import scaled_box, whole
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.core.types import Split
from foundationx.data.transforms.view_sets import ViewSetDataset
from foundationx.engine.trainer import Trainer
from foundationx.weights.exports.backbone import export_backbone

BASELINES = {"dino": 1.2, "simclr": 0.45, "mae": 0.16}
"""Processor time of a step, as ``selfsup_learning.SECONDS_A_STEP``."""

SIDE, SMALL_SIDE, BATCH = 128, 64, 16
RATIO = (3 / 4, 4 / 3)
WARMUP = 0.1
PHOTOMETRY = PhotometryConfig(brightness=0.4, contrast=0.4, blur=1.0)
LOCALS = 6
DINO_OUTPUT, DINO_MOMENTUM = 64, (0.996, 1.0)
RATES = {"dino": 5e-4, "simclr": 1e-3, "mae": 1e-3}

Images = dict[str, Tensor]
"""Normalised views (B, 3, S, S) by name."""

Look = Callable[[tuple[int, int], TrainingProgress, np.random.Generator], Sequence[View]]


class Dino(nn.Module):
    """Two global and six local crops; the student's crops choose the teacher's prototypes (lightly's recipe)."""

    def __init__(self, net: nn.Module, features: int):
        super().__init__()
        DINOLoss, DINOProjectionHead = of_lightly("DINOLoss", "DINOProjectionHead")
        self.net, self.head = net, DINOProjectionHead(features, 256, 64, DINO_OUTPUT, freeze_last_layer=0)
        copy = DINOProjectionHead(features, 256, 64, DINO_OUTPUT, freeze_last_layer=0)
        copy.load_state_dict(self.head.state_dict())  # its weight norm cannot be copied whole
        self.teacher = nn.ModuleList([deepcopy(net), copy]).requires_grad_(False)
        self.loss = DINOLoss(output_dim=DINO_OUTPUT, warmup_teacher_temp_epochs=0)

    @staticmethod
    def views(size: tuple[int, int], progress: TrainingProgress, random: np.random.Generator) -> list[View]:
        """Crops anywhere in the image."""
        image = whole(size)
        views = [View(f"global{n}", scaled_box(image, (0.4, 1.0), RATIO, random), SIDE) for n in range(2)]
        return views + [
            View(f"local{n}", scaled_box(image, (0.05, 0.4), RATIO, random), SMALL_SIDE) for n in range(LOCALS)
        ]

    def forward(self, images: Images) -> Tensor:
        """The loss of a batch."""
        large = torch.cat([images["global0"], images["global1"]])
        small = torch.cat([images[f"local{n}"] for n in range(LOCALS)])
        with torch.no_grad():
            targets = self.teacher[1](pooled(self.teacher[0], large)).chunk(2)
        seen = [*self.head(pooled(self.net, large)).chunk(2), *self.head(pooled(self.net, small)).chunk(LOCALS)]
        return self.loss(list(targets), seen, epoch=0)

    @torch.no_grad()
    def follow(self, done: float) -> None:
        """The teacher moves towards the student."""
        start, end = DINO_MOMENTUM
        momentum = start + (end - start) * (1 - math.cos(math.pi * done)) / 2
        student = nn.ModuleList([self.net, self.head])
        for own, other in zip(self.teacher.parameters(), student.parameters(), strict=True):
            own.lerp_(other, 1 - momentum)

    @property
    def learned(self) -> nn.Module:
        """The teacher's backbone."""
        return self.teacher[0]


class SimClr(nn.Module):
    """Two crops of an image are alike, those of other images in the batch are not (lightly's recipe)."""

    def __init__(self, net: nn.Module, features: int):
        super().__init__()
        NTXentLoss, SimCLRProjectionHead = of_lightly("NTXentLoss", "SimCLRProjectionHead")
        self.net, self.head = net, SimCLRProjectionHead(features, features, 128)
        self.loss = NTXentLoss(temperature=0.5)

    @staticmethod
    def views(size: tuple[int, int], progress: TrainingProgress, random: np.random.Generator) -> list[View]:
        """Crops anywhere in the image."""
        return [View(name, scaled_box(whole(size), (0.2, 1.0), RATIO, random), SIDE) for name in ("one", "two")]

    def forward(self, images: Images) -> Tensor:
        """The loss of a batch."""
        one, two = self.head(pooled(self.net, torch.cat([images["one"], images["two"]]))).chunk(2)
        return self.loss(one, two)

    def follow(self, done: float) -> None:
        """There is no teacher."""

    @property
    def learned(self) -> nn.Module:
        """The backbone."""
        return self.net


class Mae(nn.Module):
    """Three quarters of the patches are left out, and their normalised pixels guessed from the others."""

    def __init__(self, net: nn.Module, features: int):
        super().__init__()
        from transformers import ViTMAEConfig, ViTMAEForPreTraining

        self.net = net
        shape = {name: value for name, value in PLAIN_VIT.items() if name != "type"}
        decoder = {f"decoder_{name}": value for name, value in MAE_DECODER.items()}
        self.mae = ViTMAEForPreTraining(ViTMAEConfig(**shape, **decoder, mask_ratio=0.75, norm_pix_loss=True))

    @staticmethod
    def views(size: tuple[int, int], progress: TrainingProgress, random: np.random.Generator) -> list[View]:
        """One crop."""
        return [View("one", scaled_box(whole(size), (0.2, 1.0), RATIO, random), SIDE, toned=False)]

    def forward(self, images: Images) -> Tensor:
        """The loss of a batch."""
        return self.mae(images["one"]).loss

    def follow(self, done: float) -> None:
        """There is no teacher."""

    @property
    def learned(self) -> nn.Module:
        """The plain ViT with the encoder's weights."""
        self.net.get_submodule("encoder").load_state_dict(self.mae.vit.state_dict())
        return self.net


MAE_DECODER = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 384}
METHODS: dict[str, type[Dino | SimClr | Mae]] = {"dino": Dino, "simclr": SimClr, "mae": Mae}


def of_lightly(loss: str, head: str) -> tuple[Any, Any]:
    """A loss and a projection head of lightly."""
    try:
        import lightly.loss
        import lightly.models.modules
    except ImportError as error:
        raise SystemExit(f"{loss} is of lightly, which cannot be imported ({error}): pip install lightly") from None
    return getattr(lightly.loss, loss), getattr(lightly.models.modules, head)


def pooled(net: nn.Module, images: Tensor) -> Tensor:
    """The mean of the last map, (B, D)."""
    return net(images)[-1].mean(dim=(2, 3))


def pretrain_baseline(name: str, world: World, target: Path, steps: int) -> dict[str, object]:
    """Trains a baseline; its backbone goes to ``target``.

    Returns:
        ``seconds`` of processor time, ``steps``, and the mean ``loss`` of the first and the last tenth of the steps.
    """
    network = PLAIN_VIT if name == "mae" else None
    trainer, data_module = prepared("peac", world, 1, target.parent, network)
    net = trainer.model.backbone.net
    torch.manual_seed(0)
    method = METHODS[name](net, trainer.model.backbone.channels[-1])
    (table,) = data_module.annotations.values()
    films = ViewSetDataset(table, data_module.roots[table.key.dataset], method.views, PHOTOMETRY)
    begun = time.process_time()
    losses = train(method, batches(films, data_module.indices[table.key][Split.TRAIN], trainer), steps, RATES[name])
    seconds = time.process_time() - begun
    net.load_state_dict(method.learned.state_dict())
    export_backbone(trainer.model, trainer.config, "student", target)
    tenth = max(1, steps // 10)
    return {"steps": steps, "seconds": round(seconds, 1), "loss": [mean(losses[:tenth]), mean(losses[-tenth:])]}


def batches(films: ViewSetDataset, indices: np.ndarray, trainer: Trainer) -> Iterator[Images]:
    """Normalised views of batches without end, every image once before one returns."""
    random = np.random.default_rng(0)
    order = np.zeros(0, dtype=int)
    while True:
        if len(order) < BATCH:
            order = np.concatenate([order, random.permutation(indices)])
        chosen, order = order[:BATCH], order[BATCH:]
        shown = [films.sample(int(index), int(random.integers(2**32))).target.views for index in chosen]
        stacked = {name: torch.from_numpy(np.stack([views[name].image for views in shown])) for name in shown[0]}
        yield {name: trainer.normalise(images[:, None]) for name, images in stacked.items()}


def train(method: Dino | SimClr | Mae, images: Iterator[Images], steps: int, rate: float) -> list[float]:
    """AdamW as for the five objectives, with warm-up and a cosine to 0; the loss of every step."""
    method.train()
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.04)
    losses = []
    for step in range(steps):
        done = (step + 0.5) / steps
        factor = done / WARMUP if done < WARMUP else (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        loss = method(next(images))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        method.follow(done)
        losses.append(float(loss))
    return losses


def mean(values: Sequence[float]) -> float:
    """Rounded."""
    return round(float(np.mean(values)), 3)
