"""What a dataset is: licence, size, and the fields by which a survey describes it."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from foundationx.core.types import Split
from foundationx.datasets.cards.schema import Part


def _yes_or_no(value: Any) -> Any:
    """YAML 1.1 reads a bare ``yes`` as true; the card means the word."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _date_text(value: Any) -> Any:
    """YAML reads a bare 2017 as a number and 2017-09-01 as a date."""
    return str(value) if isinstance(value, int | datetime.date) and not isinstance(value, bool) else value


Permission = Annotated[
    Literal["yes", "no", "unknown"],
    BeforeValidator(_yes_or_no, json_schema_input_type=Literal["yes", "no", "unknown"] | bool),
]
Date = Annotated[
    str,
    Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$"),
    BeforeValidator(_date_text, json_schema_input_type=str | int),
]


class Licence(Part):
    """What may be done with the data. ``unknown`` is an answer; a guess is not."""

    name: str
    spdx: str | None = Field(None, description="SPDX identifier, null where there is none")
    redistribution: Permission
    commercial: Permission


class Expected(Part):
    """Published counts, which ``foundationx data check`` holds the files against."""

    images: int | None = Field(None, gt=0, description="images in the release")
    patients: int | None = Field(None, gt=0)
    splits: dict[Split, int] = Field(default_factory=dict, description="images on each official side")
    valid_images: int | None = Field(None, gt=0, description="images left after cleaning, where a survey counted them")


class Survey(Part):
    """How a survey of datasets describes this one (``mdfp.md`` A.1): what fusion selects by.

    With title, home, licence, expected counts and tasks these are the sixteen published fields and MDFP's further ones
    (dimension, storage size). Null is "unknown", never "no".
    """

    released: Date | None = Field(None, description="YYYY, YYYY-MM or YYYY-MM-DD")
    organisations: tuple[str, ...] = ()
    challenge: str | None = Field(None, description="the challenge it was made for")
    description: str | None = None
    modality: str | None = Field(None, description="primary modality, e.g. X-ray")
    modality_detail: str | None = Field(None, description="e.g. computed radiography")
    dimension: Literal["2D", "3D", "video"] | None = None
    anatomy: tuple[str, ...] = Field((), description="concepts of the vocabulary, e.g. chest, lung")
    diseases: tuple[str, ...] = Field((), description="concepts of the vocabulary; its classes' findings where empty")
    label_presence: Literal["labelled", "unlabelled", "mixed"] | None = None
    storage_gb: float | None = Field(None, gt=0, description="size of the download in gigabytes")
