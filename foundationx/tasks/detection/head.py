"""Detection head of one dataset: DINO's two-stage queries, box and class heads and, in Foundation X, a decoder.

(``docs/methods/foundation_x.md``, "1.3 Detection".) Box and class heads are shared by all decoder layers; proposals
have their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from foundationx.core import distributed
from foundationx.core.config.model import DetectionConfig, ModelConfig
from foundationx.core.types import Task
from foundationx.tasks.base import Head
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.denoising import DenoisingQueries, denoising_groups, make_denoising
from foundationx.tasks.detection.matching import Targets, matched_losses, set_losses
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.detection.trunk import DetectionTrunk, Memory, build_decoder, sine_of, token_centres
from foundationx.tasks.points.suppression import best_boxes

PRIOR = 0.01
"""Probability that a query holds a class at the start (focal loss)."""

TOP = 100
"""Number of boxes in a prediction."""

BOX_SINES = 2
"""Sines of a box, four numbers, for each channel of a query; the position encoder takes them (DINO)."""


@dataclass(slots=True)
class DetectionOutputs:
    """Logits (L + 1, B, Q, K) and boxes (L + 1, B, Q, 4, centre and size): proposals first, then every decoder layer.

    ``denoised`` holds the same of the denoising queries, without proposals.
    """

    logits: Tensor
    boxes: Tensor
    denoising: DenoisingQueries | None = None
    denoised: tuple[Tensor, Tensor] | None = None


class DetectionHead(Head[DetectionTrunk, Memory, DetectionOutputs, DetectionBatch]):
    """Queries, heads and perhaps the decoder of one dataset.

    Args:
        num_classes: Outputs of the class layers: K of the dataset's card.
        config: Sizes and loss weights.
    """

    task = Task.DETECTION
    top = TOP  # boxes in a prediction

    def __init__(self, num_classes: int, config: DetectionConfig):
        super().__init__()
        self.config = config
        dims = config.embed_dims
        projection = nn.Linear(dims, dims)
        self.proposal_transform: nn.Module = nn.Sequential(projection, nn.LayerNorm(dims))
        nn.init.xavier_uniform_(projection.weight)
        self.proposal_class = _class_head(dims, num_classes)
        self.proposal_box = box_layers(dims)
        self.queries = nn.Embedding(config.queries, dims)
        self.label_embedding = nn.Embedding(num_classes, dims)
        self.class_head = _class_head(dims, num_classes)
        self.box_head = box_layers(dims)
        if config.sharing == "decoder":
            self.decoder = build_decoder(config)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> DetectionTrunk:
        """Neck and encoder, with the decoder if it is shared."""
        return DetectionTrunk(channels, config.detection)

    @classmethod
    def build(cls, trunk: DetectionTrunk, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head for this trunk."""
        return cls(num_classes, trunk.config)

    @property
    def refinement(self) -> nn.Module:
        """The layers that refine boxes between decoder layers: those that give the predicted boxes."""
        return self.box_head

    def targets(self, batch: DetectionBatch) -> Targets:
        """What the head's outputs should be."""
        regions = batch.ignored_boxes, batch.ignored_classes
        return Targets(batch.centred_boxes, batch.box_classes, ~batch.labels.isnan(), *regions)

    def forward(self, feature: Memory, trunk: DetectionTrunk, batch: DetectionBatch | None = None) -> DetectionOutputs:
        """The encoder's memory to class logits and boxes of every layer."""
        logits, boxes, start = self._propose(feature)
        content = self.queries.weight[: start.shape[1]][None].expand(len(start), -1, -1)
        denoising = self._denoising(batch, start.shape[1]) if batch is not None and self.training else None
        mask = None
        if denoising is not None:
            content = torch.cat([denoising.content.to(content.dtype), content], dim=1)
            start = torch.cat([denoising.boxes.to(start.dtype), start], dim=1)
            mask = denoising.mask
        decoder = self.decoder if self.config.sharing == "decoder" else trunk.decoder
        states, references = run_decoder(decoder, content, start, feature, self.refinement, mask)
        layer_logits = self.class_head(states)
        layer_boxes = (self.box_head(states) + _inverse_sigmoid(references)).sigmoid()
        split = content.shape[1] - logits.shape[1]
        return DetectionOutputs(
            torch.cat([logits[None], layer_logits[:, :, split:]]),
            torch.cat([boxes[None], layer_boxes[:, :, split:]]),
            denoising,
            (layer_logits[:, :, :split], layer_boxes[:, :, :split]) if denoising is not None else None,
        )

    def loss(self, outputs: DetectionOutputs, batch: DetectionBatch) -> dict[str, Tensor]:
        """Sums over decoder layers of class, box and GIoU losses; those of proposals and of denoising queries."""
        losses = set_losses(outputs.logits, outputs.boxes, self.targets(batch), "boxes")
        layers = losses[1:].sum(0)
        parts = {"class": layers[0], "box": layers[1], "giou": layers[2]}
        parts["proposals"] = self.config.proposal_loss_weight * losses[0].sum()
        if outputs.denoising is not None and outputs.denoised is not None:
            logits, boxes = outputs.denoised
            matched = outputs.denoising.matched.expand(len(logits), -1, -1)
            parts["denoising"] = matched_losses(logits, boxes, outputs.denoising.repeated, matched, "denoising").sum()
        elif self.config.denoising:  # other ranks may have boxes, and count theirs together with ours
            distributed.mean_count(losses.new_zeros(len(losses) - 1), "denoising")
        return parts

    def counts(self, batch: DetectionBatch) -> dict[str, int]:
        """Boxes that find a query in each layer (there are as many tokens as queries), and those of denoising."""
        boxes = (batch.box_classes >= 0).sum(dim=1)
        groups = denoising_groups(batch.box_classes.shape[1], self.config.denoising)
        return {"boxes": int(boxes.clamp(max=self.config.queries).sum()), "denoising": groups * int(boxes.sum())}

    def predict(self, outputs: DetectionOutputs, size: tuple[int, int]) -> DetectionPrediction:
        """The best boxes of the last layer, best first.

        DINO learns to find a thing once, with enough steps; ``suppression`` of the configuration is for shorter runs.
        """
        scores = outputs.logits[-1].float().sigmoid()
        corners = to_corners(outputs.boxes[-1].float()).clamp(0, 1)
        if (threshold := self.config.suppression) is not None:
            found = best_boxes(corners[:, :, None], scores, torch.ones_like(scores[..., 0]), self.top, threshold)
            return DetectionPrediction(relative_boxes=found.boxes, scores=found.scores, box_classes=found.classes)
        num_classes = scores.shape[-1]
        best, flat = scores.flatten(1).topk(min(self.top, scores[0].numel()), dim=1)
        query = torch.div(flat, num_classes, rounding_mode="floor")
        chosen = corners.gather(1, query[..., None].expand(-1, -1, 4))
        return DetectionPrediction(relative_boxes=chosen, scores=best, box_classes=flat % num_classes)

    def _propose(self, feature: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """The best tokens of the memory: logits (B, Q, K), boxes (B, Q, 4), and the boxes that the decoder starts with.

        A token proposes a box around itself, larger on coarser levels; tokens at the very rim propose nothing.
        """
        anchors, valid = _anchors(feature)
        features = self.proposal_transform(feature.memory * valid[..., None])
        logits = self.proposal_class(features)
        boxes = (self.proposal_box(features) + _inverse_sigmoid(anchors)).sigmoid()
        rank = logits.detach().amax(-1).masked_fill(~valid, -torch.inf)
        best = rank.topk(min(self.config.queries, rank.shape[1]), dim=1).indices[..., None]
        logits = logits.gather(1, best.expand(-1, -1, logits.shape[-1]))
        boxes = boxes.gather(1, best.expand(-1, -1, 4))
        return logits, boxes, boxes.detach()

    def _denoising(self, batch: DetectionBatch, num_queries: int) -> DenoisingQueries | None:
        config = self.config
        return make_denoising(
            self.targets(batch),
            self.label_embedding,
            config.denoising,
            config.label_noise,
            config.box_noise,
            num_queries,
        )


def run_decoder(
    decoder: nn.Module, content: Tensor, boxes: Tensor, feature: Memory, box_head: nn.Module, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """mmdet's DINO decoder, layer by layer.

    Each layer refines the boxes of the one before. The refined boxes are handed on detached, but returned attached:
    a layer's loss reaches the layer before it (look forward twice).

    Args:
        decoder: of ``build_decoder``.
        content: (B, R, D) queries.
        boxes: (B, R, 4) their starting boxes, centre and size.
        feature: the memory.
        box_head: gives each layer's refinement.
        mask: (R, R), True where attention is forbidden.

    Returns:
        States (L, B, R, D) and the boxes that each layer began with (L, B, R, 4).
    """
    levels, padding = len(feature.spatial_shapes), feature.padding
    states, references = [], []
    attached = boxes
    to_position, norm = decoder.get_submodule("ref_point_head"), decoder.get_submodule("norm")
    for layer in decoder.get_submodule("layers").children():
        on_levels = boxes[:, :, None].expand(-1, -1, levels, -1)
        if padding is not None:  # from shares of the image to shares of the padded maps
            on_levels = on_levels * padding.shares.repeat(1, 1, 2)[:, None]
        finest = on_levels[:, :, 0]
        y_first = torch.cat(
            [finest[..., 1:2], finest[..., 0:1], finest[..., 2:]], dim=-1
        )  # a list as index is a host copy
        radians = y_first * (2 * math.pi)
        sines = sine_of(radians, BOX_SINES * content.shape[-1] // 4, 10000)
        position = to_position(sines.to(content.dtype))
        content = layer(
            content,
            query_pos=position,
            value=feature.memory,
            key_padding_mask=None if padding is None else padding.tokens,
            self_attn_mask=mask,
            spatial_shapes=feature.spatial_shapes,
            reference_points=on_levels,
        )
        states.append(norm(content))
        references.append(attached)
        attached = (box_head(content) + _inverse_sigmoid(boxes)).sigmoid()
        boxes = attached.detach()
    return torch.stack(states), torch.stack(references)


def _anchors(feature: Memory) -> tuple[Tensor, Tensor]:
    """Box of every token (B, N, 4), side 0.05 * 2^level, and whether it lies inside the rim of 1 % (B, N).

    Tokens of padding are outside.
    """
    centres = token_centres(feature.spatial_shapes, feature.memory)
    sizes = torch.cat(
        [
            centres.new_full((height * width, 2), 0.05 * 2.0**level)
            for level, (height, width) in enumerate(feature.spatial_shapes)
        ]
    )
    anchors = torch.cat([centres, sizes], dim=-1)[None].expand(len(feature.memory), -1, -1)
    if feature.padding is not None:
        anchors = torch.cat([anchors[..., :2] / feature.padding.own_shares, anchors[..., 2:]], dim=-1)
    valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1)
    return anchors, valid if feature.padding is None else valid & ~feature.padding.tokens


def _class_head(dims: int, num_classes: int) -> nn.Linear:
    layer = nn.Linear(dims, num_classes)
    nn.init.constant_(layer.bias, -math.log((1 - PRIOR) / PRIOR))
    return layer


def box_layers(dims: int) -> nn.Sequential:
    """Three layers; the last begins at zero, so that the first prediction is the reference itself."""
    hidden = [nn.Linear(dims, dims), nn.ReLU(), nn.Linear(dims, dims), nn.ReLU()]
    last = nn.Linear(dims, 4)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)


def _inverse_sigmoid(values: Tensor, eps: float = 1e-3) -> Tensor:
    values = values.clamp(0, 1)
    return (values.clamp(min=eps) / (1 - values).clamp(min=eps)).log()
