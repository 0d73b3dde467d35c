"""The configuration of the network: the section ``model`` of ``config.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from foundationx.core.types import Task


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The dictionary as JSON gives it back (lists for tuples): a stored configuration then equals its source."""
    return json.loads(json.dumps(value))


PlainDict = Annotated[dict[str, Any], AfterValidator(_plain)]


class ProjectorConfig(Section):
    """Projector between the pooled feature and the classification heads (Ark: ``ark.md`` section 1)."""

    features: int = Field(1376, gt=0)
    hidden: bool = Field(False, description="Linear-ReLU-Linear (the released Ark-6) instead of one Linear (Ark+)")


class SegmentationConfig(Section):
    """The shared PPM + FPN of segmentation (``foundation_x.md`` section 1.4)."""

    channels: int = Field(128, gt=0)
    pool_scales: tuple[int, ...] = (1, 2, 4, 6)
    dropout: float = Field(0.1, ge=0, lt=1)


class RegionGateConfig(Section):
    """Gating of segmentation features by found boxes (``foundation_x.md`` section 1.5)."""

    score: float = Field(0.3, ge=0, lt=1, description="boxes above this score are regions")
    boxes: int = Field(100, gt=0, description="at most this many boxes an image, the best first")
    grow: float = Field(1.5, ge=1, description="factor on a box's area")
    spread: float = Field(1.5, gt=0, description="width of the soft rim, by the box's longer side")
    weight: float = Field(0.5, gt=0, le=1, description="share of the gated feature in the mix")
    at_test: bool = Field(True, description="gate at test as in training; false is what was released")


class HeadConfig(Section):
    """The head of one task: which one, and its options."""

    type: str = Field(description="name of a head; the default head of a task has the task's name")
    options: PlainDict = Field(default_factory=dict, description="options of that head")


class ModelConfig(Section):
    """The network. ``backbone`` is any backbone of mmdet's or mmseg's registry, ``detection`` a DetectionConfig."""

    backbone: dict[str, Any]
    init: Path | None = Field(None, description="safetensors file of an exported backbone to start from")
    init_heads: dict[str, str] = Field(default_factory=dict, description="head -> one of heads.safetensors beside init")
    init_run: Path | None = Field(
        None, description="checkpoint or work directory of an earlier run: its weights, heads and classes by name"
    )
    projector: ProjectorConfig | None = None
    softmax: tuple[str, ...] = Field(
        (), description="heads (dataset/classification) whose classes exclude each other: cross-entropy, as in Ark+"
    )
    shared_head: bool = Field(
        False, description="one classification head for all datasets, over the concepts of all (ablation of Ark)"
    )
    detection: PlainDict = Field(default_factory=dict)
    segmentation: SegmentationConfig = SegmentationConfig()
    region_gate: RegionGateConfig | None = Field(
        None, description="Foundation X+: a dataset's boxes guide its segmentation"
    )
    objective: dict[str, Any] | None = Field(
        None, description="self-supervision: `type` names a file of foundationx/objectives, the others are its options"
    )
    heads: dict[Task, HeadConfig] = Field(
        default_factory=dict, description="head of each task; a task that is not named has the head of its own name"
    )
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _one_beginning(self) -> ModelConfig:
        if self.init is not None and self.init_run is not None:
            raise ValueError("init and init_run are both set: a model begins from one of them")
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
