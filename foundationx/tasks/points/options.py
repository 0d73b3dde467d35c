"""Options that all UniHead heads have."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from foundationx.core.config.model import Finite, Whole
from foundationx.tasks.base import HeadOptions


class PointOptions(HeadOptions):
    """Sizes of a head of scattered points; the defaults are the published ones."""

    channels: Whole = Field(256, ge=4, le=2048, description="width of sampled features and of the encoders")
    attention_heads: Whole = Field(8, ge=1, le=256, description="attention heads; they have to divide the width")
    dropout: Finite = Field(0.1, ge=0, lt=1, description="dropout inside the encoders")
    as_released: bool = Field(
        False, description="coordinates as in the released code, with its slips (docs/methods/unihead.md, 4)"
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.channels % self.attention_heads:
            raise ValueError(
                f"channels is {self.channels} and attention_heads {self.attention_heads}: the second has to divide "
                "the first"
            )
        return self


class ClassPointOptions(PointOptions):
    """Sizes of a head that classifies regions; the defaults are those of the published box head."""

    points: Whole = Field(16, ge=4, le=256, multiple_of=4, description="points of a region, a multiple of 4")
    class_blocks: Whole = Field(2, ge=1, le=24, description="blocks of the encoder that classifies")
    class_hidden: Whole = Field(1024, ge=1, le=16_384, description="width before the class logits")


class BoxPointOptions(ClassPointOptions):
    """Sizes of a head that classifies regions and finds a box in each; the defaults are the published ones."""

    place_blocks: Whole = Field(3, ge=1, le=24, description="blocks of the encoder that localises")
    place_hidden: Whole = Field(512, ge=1, le=16_384, description="width before the shifts of a box's points")


class RegionOptions(BoxPointOptions):
    """Sizes of a head that looks for regions first; the defaults are the published ones, but for ``class_boxes``."""

    as_released: bool = Field(
        False,
        description="coordinates as in the released code, with its slips; softmax over classes and background, and "
        "proposals that do not tell classes apart (docs/methods/unihead.md, 4)",
    )
    class_boxes: bool = Field(False, description="a box of its own for each class of a region, as published")
    cascade: bool = Field(False, description="three stages, each on the boxes of the one before (IoU .5, .6, .7)")
    candidates: Whole = Field(1000, ge=1, le=10_000, description="best anchors of an image that may become proposals")
    proposals: Whole = Field(1000, ge=1, le=5000, description="proposals of an image, the most regions at test")
    sampled: Whole = Field(512, ge=4, le=5000, description="regions of an image that are trained, a quarter positive")
