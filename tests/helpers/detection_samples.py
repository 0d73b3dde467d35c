"""A small trunk and head, random features and random boxes, for tests of detection."""

import torch

from foundationx.core.config.load import parse_config
from foundationx.core.config.model import DetectionConfig
from foundationx.core.types import Task, TaskKey
from foundationx.tasks.detection.head import DetectionHead
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.detection.trunk import DetectionTrunk

CHANNELS = (4, 6, 8, 10)
CLASSES = 3
SMALL = DetectionConfig(
    embed_dims=16, num_heads=2, ffn_dims=32, encoder_layers=2, decoder_layers=3, queries=20, denoising=8
)


def small(**changes):
    """The small configuration with changes."""
    return SMALL.model_copy(update=changes)


def detection_config(values):
    """The section model.detection as a run's configuration reads it."""
    model = {"backbone": {"type": "mmdet.SwinTransformer"}, "detection": values}
    run = {"name": "run", "model": model, "datasets": [{"card": "phantom_boxes"}], "schedule": {"cycles": 1}}
    return parse_config(run, "run.py").model.detection


def build(config=SMALL, classes=CLASSES):
    """Trunk and head with every parameter moved off its start, so that zeros hide nothing."""
    torch.manual_seed(0)
    trunk, head = DetectionTrunk(CHANNELS, config), DetectionHead(classes, config)
    with torch.no_grad():
        for parameter in [*trunk.parameters(), *head.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return trunk, head


def draw_features(batch=2, side=16):
    return [torch.randn(batch, channels, side >> level, side >> level) for level, channels in enumerate(CHANNELS)]


def draw_batch(counts=(2, 1), classes=CLASSES):
    most = max(counts)
    real = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    size = torch.rand(len(counts), most, 2) * 0.3 + 0.1
    centre = size / 2 + torch.rand(len(counts), most, 2) * (1 - size)
    images = torch.zeros(len(counts), 1, 4, 4, dtype=torch.uint8)
    return DetectionBatch(
        TaskKey("drawn", Task.DETECTION),
        images,
        images,
        labels=torch.ones(len(counts), classes),
        metas=(),
        centred_boxes=torch.cat([centre, size], dim=-1) * real[..., None],
        box_classes=torch.randint(classes, (len(counts), most)).masked_fill(~real, -1),
    )


def step(trunk, head, features, batch, seed=3):
    """Losses of one training step; the seed is that of the denoising noise."""
    trunk.train(), head.train()
    torch.manual_seed(seed)
    return head.loss(head(trunk(features), trunk, batch), batch)
