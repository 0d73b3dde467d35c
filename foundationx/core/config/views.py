"""Configuration of views: how images are moved and toned in training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from foundationx.core.config.model import Section

AreaShare = Annotated[float, Field(gt=0, le=1)]
"""Share of an image's area."""


class GeometryConfig(Section):
    """Random geometric transforms; the default moves nothing."""

    hflip: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    rotate: float = Field(0.0, ge=0, le=180, description="largest rotation, in degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="largest relative change of size")
    shift: float = Field(0.0, ge=0, le=1, description="largest shift, as a share of the side")
    affine_chance: float = Field(1.0, ge=0, le=1, description="probability of rotation, scale and shift together")
    crop_scale: tuple[AreaShare, AreaShare] | None = Field(
        None, description="smallest and largest share of the area that a random crop keeps; null: no crop"
    )

    @model_validator(mode="after")
    def _smallest_crop_first(self) -> GeometryConfig:
        if self.crop_scale is not None and self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale is {self.crop_scale}: the smallest share comes first")
        return self


class PhotometryConfig(Section):
    """Random photometric transforms; the default changes nothing."""

    brightness: float = Field(0.0, ge=0, le=10, description="largest relative change of brightness")
    contrast: float = Field(0.0, ge=0, le=10, description="largest relative change of contrast")
    gamma: float = Field(0.0, ge=0, lt=1, description="largest relative change of gamma")
    noise: float = Field(0.0, ge=0, le=1, description="largest standard deviation of noise, as a share of 255")
    blur: float = Field(0.0, ge=0, le=100, description="largest sigma of the blur, in pixels")
    chance: float = Field(1.0, ge=0, le=1, description="probability of brightness with contrast, and of gamma")


class ViewConfig(Section):
    """What student and teacher see of an image in training."""

    geometry: GeometryConfig = Field(GeometryConfig(), description="random geometric transforms")
    photometry: PhotometryConfig = Field(PhotometryConfig(), description="random photometric transforms")
    teacher: Literal["same", "clean", "whole"] = Field(
        "clean",
        description="same: student's view (Foundation X); clean: its geometry without photometry (Ark); "
        "whole: the whole image resized (Ark+; classification only)",
    )
