"""Detection as the released Foundation X and X+ have it, so that their weights give their boxes.

It differs from ours (``docs/choices.md``) in norms of its own on the backbone's raw stages, in class layers with more
outputs than the dataset has classes, and further:

- ``sharing='decoder'`` (X): each dataset projects the memory before proposals and decoder; boxes and classes that are
  put out come from other layers than those that refine boxes.
- ``sharing='queries'`` (X+): proposals are scored on the memory itself, without a transform.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core.config.model import DetectionConfig, ModelConfig
from foundationx.core.errors import ConfigError
from foundationx.tasks.base import HeadOptions
from foundationx.tasks.detection.head import DetectionHead, DetectionOutputs, box_layers
from foundationx.tasks.detection.matching import Targets
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.detection.trunk import NECK_STAGES, DetectionTrunk, Memory


class ReleasedTrunk(DetectionTrunk):
    """Neck and encoder on raw stages, which it normalises itself.

    Args:
        in_channels: Channels of the backbone's stages, finest first; the last ``NECK_STAGES`` are used.
        config: Sizes.
    """

    def __init__(self, in_channels: Sequence[int], config: DetectionConfig):
        super().__init__(in_channels, config, neck_bias=True)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in in_channels[-NECK_STAGES:])

    def forward(self, features: Sequence[Tensor], padded: Tensor | None = None) -> Memory:
        """Raw feature maps (B, C, h, w), and the padded pixels if there are any, to the encoder's memory."""
        stages = zip(self.norms, features[-NECK_STAGES:], strict=True)
        return super().forward([norm(stage.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, stage in stages], padded)


class ReleasedOptions(HeadOptions):
    """Outputs of the class layers."""

    outputs: int = Field(14, ge=1, le=1000, description="outputs of the class layers, whatever classes a dataset has")
    first_output: int = Field(1, ge=0, le=999, description="output of the dataset's first class; the others follow it")

    @model_validator(mode="after")
    def _first_is_one(self) -> Self:
        if self.first_output >= self.outputs:
            raise ValueError(f"first_output is {self.first_output}, outputs {self.outputs}: none is left for a class")
        return self


class ReleasedDetectionHead(DetectionHead):
    """Queries, heads and perhaps the decoder of one dataset.

    Proposals are ranked by the largest of all outputs; outputs without a class are trained to be absent, and hidden in
    predictions.

    Args:
        num_classes: K of the dataset's card.
        config: Sizes and loss weights.
        options: Outputs of the class layers.
    """

    Options = ReleasedOptions
    raw_stages = True
    top = 300

    def __init__(self, num_classes: int, config: DetectionConfig, options: ReleasedOptions):
        super().__init__(options.outputs, config)
        self.visible = slice(options.first_output, options.first_output + num_classes)
        if self.visible.stop > options.outputs:
            found = f"{options.outputs} outputs from {options.first_output} on for {num_classes} classes"
            fix = "raise outputs, or choose the head `detection`"
            raise ConfigError("model.heads.detection.options", found, "an output for every class", fix)
        self.memory_projection: nn.Module = nn.Identity()
        if config.sharing == "decoder":
            self.memory_projection = nn.Linear(config.embed_dims, config.embed_dims)
            self.refining_box_head = box_layers(config.embed_dims)
        else:
            self.proposal_transform = nn.Identity()

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> ReleasedTrunk:
        """Norms, neck and encoder, with the decoder if it is shared."""
        return ReleasedTrunk(channels, config.detection)

    @classmethod
    def build(cls, trunk: DetectionTrunk, num_classes: int, config: ModelConfig, options: ReleasedOptions) -> Self:
        """A head for this trunk."""
        return cls(num_classes, trunk.config, options)

    @property
    def refinement(self) -> nn.Module:
        """The layers that refine boxes between decoder layers."""
        return self.refining_box_head if self.config.sharing == "decoder" else self.box_head

    def targets(self, batch: DetectionBatch) -> Targets:
        """What the head's outputs should be; outputs without a class are absent everywhere."""
        targets = super().targets(batch)
        first, last = self.visible.start, self.class_head.out_features - self.visible.stop
        ignored = targets.ignored_classes
        return dataclasses.replace(
            targets,
            classes=_later(targets.classes, first),
            known=F.pad(targets.known, (first, last), value=True),
            ignored_classes=ignored if ignored is None else _later(ignored, first),
        )

    def forward(self, feature: Memory, trunk: DetectionTrunk, batch: DetectionBatch | None = None) -> DetectionOutputs:
        """The encoder's memory to logits of all outputs and boxes of every layer."""
        return super().forward(
            dataclasses.replace(feature, memory=self.memory_projection(feature.memory)), trunk, batch
        )

    def predict(self, outputs: DetectionOutputs, size: tuple[int, int]) -> DetectionPrediction:
        """The best boxes of the dataset's own classes, best first."""
        return super().predict(dataclasses.replace(outputs, logits=outputs.logits[..., self.visible]), size)


def _later(classes: Tensor, by: int) -> Tensor:
    """Class indices as indices of outputs; -1 stays."""
    return classes + by * (classes >= 0)
