"""Who an image shows and which official side it is on: patient keys and published splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from foundationx.core.types import Split
from foundationx.datasets.cards.schema import Part, check_expression, check_names, repeated


class PatientKey(Part):
    """Where the patient of an image stands: in a column, in the image's path or in another table.

    Exactly one of ``column``, ``pattern`` and ``table`` is set. The patient's name is ``namespace:value``; datasets
    that share patients share the namespace, so that a patient is on one side of the split everywhere.
    """

    column: str | None = Field(None, description="column of the annotation file (key of the image's record in JSON)")
    pattern: str | None = Field(None, description="regular expression on the image's path; group 1 is the patient")
    table: str | None = Field(None, description="CSV file, relative to the dataset's folder, inside the data root")
    image_column: str | None = Field(None, description="column of the table that names the image")
    value_column: str | None = Field(None, description="column of the table that names the patient")
    image_value: str = Field(
        "{image_name}", description="how the table writes an image: {image} (path), {image_name} or {image_stem}"
    )
    unlisted: Literal["error", "own"] = Field(
        "error", description="an image that the table does not name; own: it is its own patient"
    )
    namespace: str | None = Field(None, description="the card's name where it is null")
    namespaces: dict[str, str] = Field(
        default_factory=dict,
        description="other namespaces by a regular expression that the whole value must match; group 1 is the patient",
    )

    @model_validator(mode="after")
    def _one_source(self) -> PatientKey:
        given = [name for name in ("column", "pattern", "table") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of column, pattern and table, found {', '.join(given) or 'none'}")
        if self.table is not None and not (self.image_column and self.value_column):
            raise ValueError("a table needs image_column and value_column")
        if self.unlisted != "error" and self.table is None:
            raise ValueError("unlisted is said of a table, and there is none")
        for expression in [self.pattern, *self.namespaces.values()]:
            if expression is not None:
                check_expression(expression)
        check_names(self.image_value, ("image", "image_name", "image_stem"))
        return self


class SplitSource(Part):
    """The official split: a column of the annotation file, a part of the image's path, or one list of images a side.

    Images that no list names, empty cells and paths that do not match have no official side. Where a dataset is
    published in one file a side, the task's ``parts`` name the side instead.
    """

    column: str | None = None
    pattern: str | None = Field(None, description="regular expression on the image's path; group 1 is the value")
    values: dict[Split, tuple[str, ...]] = Field(default_factory=dict, description="values of the column by side")
    lists: dict[Split, str] = Field(default_factory=dict, description="text files of image names by side")

    @model_validator(mode="after")
    def _one_source(self) -> SplitSource:
        given = [name for name in ("column", "pattern", "lists") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("needs exactly one of column (with values), pattern (with values) and lists")
        if bool(self.lists) == bool(self.values):
            raise ValueError("a column or pattern needs values, lists need none")
        if self.pattern:
            check_expression(self.pattern)
        twice = repeated(value for values in self.values.values() for value in values)
        if twice:
            raise ValueError(f"the value {twice[0]!r} stands for two sides")
        return self


class Attributes(Part):
    """What a table says of the person in an image or of how it was taken: for gaps between subgroups.

    Attributes are named alike over all cards (sex, age, view), so that they can be compared.
    """

    files: tuple[str, ...] = Field(min_length=1, description="CSV files, relative to the dataset's folder")
    image_column: str = Field(description="column that names the image")
    image_value: str = Field(
        "{image_name}", description="how the table writes an image: {image} (path), {image_name} or {image_stem}"
    )
    columns: dict[str, str] = Field(min_length=1, description="column of each attribute")
