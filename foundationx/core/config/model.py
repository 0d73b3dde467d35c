"""Configuration of the network: the section ``model`` of a run's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from foundationx.core.strict_json import to_exact_json
from foundationx.core.types import Task

Whole = Annotated[int, Field(strict=True)]
"""An integer; neither a truth value nor text."""

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; neither a truth value nor text."""


Mean = Annotated[float, Field(ge=-10, le=10)]
"""A mean of pixels in [0, 1]; somewhat beyond, for networks that were trained on other scales."""

Std = Annotated[float, Field(gt=0, le=10)]
"""A standard deviation of such pixels."""


class Section(BaseModel):
    """Base of all sections: unknown keys and numbers that are not finite are refused, values never change.

    A truth value is no number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_values_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else Any
        values = list(value.values()) if isinstance(value, dict) and _is_mapping(annotation) else value
        if _holds_truth_value(values) and not _allows_truth_value(annotation):
            raise ValueError(f"found {value!r:.200}, a truth value where a number or text is expected")
        return value


def _holds_truth_value(value: Any) -> bool:
    """Whether a value is a truth value or a list of some; sections in it check theirs."""
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_truth_value, value)))


def _is_mapping(annotation: Any) -> bool:
    """Whether a type is a mapping of names to values, not a section."""
    return get_origin(annotation) is dict or any(map(_is_mapping, get_args(annotation)))


def _allows_truth_value(annotation: Any) -> bool:
    """Whether a type has a place for a truth value."""
    return annotation in (bool, Any) or any(map(_allows_truth_value, get_args(annotation)))


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The dictionary as JSON gives it back (lists for tuples): a stored configuration then equals its source."""
    plain: dict[str, Any] = json.loads(to_exact_json(value))
    return plain


PlainDict = Annotated[dict[str, Any], AfterValidator(_plain)]


class ProjectorConfig(Section):
    """Projector between the pooled feature and the classification heads (Ark)."""

    features: int = Field(1376, gt=0, le=65_536, description="width of the projected feature")
    hidden: bool = Field(False, description="Linear-ReLU-Linear (the released Ark-6) instead of one Linear (Ark+)")


class LoraConfig(Section):
    """Low-rank adaptation of a backbone that is frozen otherwise (Hu et al. 2021)."""

    rank: Whole = Field(8, ge=1, le=1024, description="rank of what is added to a weight")
    alpha: Finite = Field(16.0, gt=0, le=1e6, description="what is added is multiplied by alpha / rank")
    layers: Literal["attention", "all"] = Field(
        "attention", description="adapted linear layers: those of attention, or all"
    )


class DetectionConfig(Section):
    """Sizes and losses of detection (DINO); the defaults are Foundation X's."""

    sharing: Literal["decoder", "queries"] = Field(
        "decoder",
        description="decoder: each dataset has a decoder of its own (Foundation X); queries: each dataset has its own "
        "queries and box and class heads on one shared decoder (Foundation X+)",
    )
    embed_dims: Whole = Field(256, ge=1, le=8192, description="width of tokens and queries")
    num_heads: Whole = Field(8, ge=1, le=256, description="attention heads")
    ffn_dims: Whole = Field(2048, ge=1, le=65_536, description="width of the hidden layer of the feed-forward networks")
    encoder_layers: Whole = Field(6, ge=1, le=64, description="layers of the encoder")
    decoder_layers: Whole = Field(6, ge=1, le=64, description="layers of the decoder")
    levels: Whole = Field(4, ge=3, le=8, description="feature levels; those beyond the backbone's last 3 are strided")
    points: Whole = Field(4, ge=1, le=64, description="points that a query samples per level and attention head")
    queries: Whole = Field(900, ge=1, le=5000, description="queries per image: the most boxes that can be predicted")
    temperature: Whole = Field(20, ge=1, le=1_000_000, description="temperature of the sine position encoding")
    denoising: Whole = Field(100, ge=0, le=5000, description="denoising queries per image, about; 0: none")
    label_noise: Finite = Field(
        0.5, ge=0, le=2, description="share of denoising queries that get a wrong class, times 2"
    )
    box_noise: Finite = Field(
        1.0, ge=0, le=10, description="greatest shift of a denoising box, in halves of the box's width and height"
    )
    proposal_loss_weight: Finite = Field(
        1.0, ge=0, le=1000, description="weight of the loss of the encoder's proposals"
    )
    suppression: Finite | None = Field(
        None,
        ge=0,
        le=1,
        description="overlap (IoU) above which the worse of two predicted boxes of a class goes; null: none goes, as "
        "in DINO. A short run may not have learned yet to find a thing only once",
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> DetectionConfig:
        if self.embed_dims % self.num_heads or self.embed_dims % 4:
            raise ValueError(
                f"embed_dims is {self.embed_dims} and num_heads {self.num_heads}: num_heads and 4 have to divide it"
            )
        return self


class SegmentationConfig(Section):
    """The shared PPM + FPN (UPerNet) of segmentation."""

    channels: int = Field(128, gt=0, le=8192, description="channels of the decoder")
    pool_scales: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 2, 4, 6), min_length=1, max_length=16, description="grids of the pyramid pooling, cells per side"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the heads")


class RegionGateConfig(Section):
    """Gating of segmentation features by detected boxes (Foundation X+)."""

    score: float = Field(0.3, ge=0, lt=1, description="boxes above this score are regions")
    boxes: int = Field(100, gt=0, le=5000, description="most boxes per image, the best first")
    grow: float = Field(1.5, ge=1, le=100, description="factor on a box's area")
    spread: float = Field(1.5, gt=0, le=100, description="width of the soft rim, in units of the box's longer side")
    weight: float = Field(0.5, gt=0, le=1, description="share of the gated feature in the mix")
    at_test: bool = Field(True, description="gate at test as in training; false is what was released")
    corners: bool = Field(
        False,
        description="a cell of a map stands for its upper left corner, and each region's gate is scaled to 1, as "
        "released; false: it stands for its centre, and an image's gate is scaled",
    )


class NormalisationConfig(Section):
    """Normalisation of one task's images."""

    mean: tuple[Mean, Mean, Mean] = Field(description="mean that is subtracted from pixels in [0, 1]")
    std: tuple[Std, Std, Std] = Field(description="standard deviation that pixels are divided by")


class HeadConfig(Section):
    """The head of one task: which one, and its options."""

    type: str = Field(description="name of a head; the default head of a task has the task's name")
    options: PlainDict = Field(default_factory=dict, description="options of that head")


class ModelConfig(Section):
    """The network."""

    backbone: dict[str, Any] = Field(
        description="`type` is a backbone of mmdet's or mmseg's registry, the other keys are its arguments"
    )
    lora: LoraConfig | None = Field(
        None, description="low-rank adaptation: the backbone's own weights stay frozen; null: all is trained"
    )
    init: Path | None = Field(None, description="safetensors file of an exported backbone to start from")
    init_heads: dict[str, str] = Field(default_factory=dict, description="head -> one of heads.safetensors beside init")
    init_run: Path | None = Field(
        None, description="checkpoint or work directory of an earlier run: its weights, heads and classes by name"
    )
    projector: ProjectorConfig | None = Field(None, description="projector of classification; null: none")
    softmax: tuple[str, ...] = Field(
        (), description="heads (dataset/classification) whose classes exclude each other: cross-entropy, as in Ark+"
    )
    shared_head: bool = Field(
        False, description="one classification head for all datasets, over the concepts of all (ablation of Ark)"
    )
    detection: DetectionConfig = Field(DetectionConfig(), description="sizes and losses of detection")
    segmentation: SegmentationConfig = Field(SegmentationConfig(), description="sizes of segmentation")
    region_gate: RegionGateConfig | None = Field(
        None, description="a dataset's detected boxes guide its segmentation (Foundation X+); null: they do not"
    )
    objective: dict[str, Any] | None = Field(
        None, description="self-supervision: `type` is the name of an objective, the other keys are its options"
    )
    heads: dict[Task, HeadConfig] = Field(
        default_factory=dict, description="head of each task; a task that is not named has the head of its own name"
    )
    mean: tuple[Mean, Mean, Mean] = Field(
        (0.485, 0.456, 0.406), description="mean that is subtracted from pixels in [0, 1], per colour channel"
    )
    std: tuple[Std, Std, Std] = Field(
        (0.229, 0.224, 0.225), description="standard deviation that pixels are divided by, per colour channel"
    )

    normalisation: dict[Task, NormalisationConfig] = Field(
        default_factory=dict,
        description="tasks whose images have a mean and deviation of their own, as in the released Foundation X",
    )

    @model_validator(mode="after")
    def _one_start(self) -> ModelConfig:
        if self.init is not None and self.init_run is not None:
            raise ValueError("init and init_run are both set: a model starts from one of them")
        return self

    @model_validator(mode="after")
    def _shared_classes_are_independent(self) -> ModelConfig:
        if self.shared_head and self.softmax:
            raise ValueError("softmax: classes of one dataset cannot exclude each other in a head that all share")
        return self

    @field_validator("backbone", "objective")
    @classmethod
    def _has_type(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "type" not in value:
            raise ValueError("needs a `type`, e.g. type='mmdet.SwinTransformer' (backbone), type='peac' (objective)")
        return None if value is None else _plain(value)
