"""The dataset card: one YAML file that says all a program must know of a published dataset.

A card names files, columns and classes as they are published, so that no code knows a dataset. Facts that nobody has
checked are listed under ``unverified`` (``mdfp.md`` A.5: licences and diseases in public tables are often wrong).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from foundationx.errors import CardError
from foundationx.registry.faults import card_error
from foundationx.registry.strict_yaml import read_yaml
from foundationx.types import Split, Task


def _yes_or_no(value: Any) -> Any:
    """YAML 1.1 reads a bare ``yes`` as true; the card means the word."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _named(value: Any) -> Any:
    """A class given by its bare name."""
    return {"name": value} if isinstance(value, str) else value


Permission = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_yes_or_no)]


class Part(BaseModel):
    """Base of all parts of a card: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(Part):
    """What may be done with the data. ``unknown`` is an answer; a guess is not."""

    name: str
    spdx: str | None = Field(None, description="SPDX identifier, null where there is none")
    redistribution: Permission
    commercial: Permission


class Expected(Part):
    """Published counts, for comparison with what is found on disk."""

    images: int | None = Field(None, gt=0)
    patients: int | None = Field(None, gt=0)


class PatientKey(Part):
    """Where the patient of an image stands: in a column, in the file's name or in another table.

    Exactly one of ``column``, ``pattern`` and ``table`` is set. The patient's name is ``namespace:value``; datasets
    that share patients share the namespace, so that a patient is on one side of the split everywhere.
    """

    column: str | None = Field(None, description="column of the annotation file (key of the image's record in JSON)")
    pattern: str | None = Field(None, description="regular expression on the file's name; group 1 is the patient")
    table: str | None = Field(None, description="CSV file, relative to the dataset's folder, inside the data root")
    image_column: str | None = Field(None, description="column of the table that names the image")
    value_column: str | None = Field(None, description="column of the table that names the patient")
    image_value: str = Field(
        "{image_name}", description="how the table writes an image: {image} (path), {image_name} or {image_stem}"
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
        for expression in filter(None, [self.pattern, *self.namespaces.values()]):
            _check_expression(expression)
        try:
            self.image_value.format(image="", image_name="", image_stem="")
        except (KeyError, ValueError, IndexError):
            raise ValueError(
                f"image_value {self.image_value!r} may contain {{image}}, {{image_name}}, {{image_stem}}"
            ) from None
        return self


class SplitSource(Part):
    """The official split: a column of the annotation file, or one list of image names a side.

    Images that no list names, and empty cells, have no official side.
    """

    column: str | None = None
    values: dict[Split, tuple[str, ...]] = Field(default_factory=dict, description="values of the column by side")
    lists: dict[Split, str] = Field(default_factory=dict, description="text files of image names by side")

    @model_validator(mode="after")
    def _one_source(self) -> SplitSource:
        if (self.column is None) == (not self.lists):
            raise ValueError("needs exactly one of column (with values) and lists")
        if (self.column is None) != (not self.values):
            raise ValueError("column and values belong together")
        twice = _repeated(value for values in self.values.values() for value in values)
        if twice:
            raise ValueError(f"the value {twice[0]!r} stands for two sides")
        return self


class ClassSpec(Part):
    """One class: its name here, the published names it stands for, and what it means in a common vocabulary."""

    name: str = Field(min_length=1)
    sources: tuple[str, ...] = Field((), description="published names; the class's own name where there is none")
    canonical: str | None = Field(None, description="name in the common vocabulary")
    relation: Literal["exact", "narrower", "broader", "related"] = Field(
        "exact", description="of this class to the canonical one"
    )

    @property
    def published(self) -> tuple[str, ...]:
        """Names under which the published files know the class."""
        return self.sources or (self.name,)


class TaskSource(Part):
    """One task of a dataset: which file, read how, into which classes."""

    reader: str = Field(description="a file of foundationx/data/readers")
    file: str = Field("", description="annotation file relative to the dataset's folder; some readers need none")
    images: str = Field("", description="folder in front of the published image names")
    image_suffix: str = Field("", description="put behind the published image names, e.g. .png")
    options: dict[str, Any] = Field(default_factory=dict, description="of the reader; checked by it")
    classes: tuple[Annotated[ClassSpec, BeforeValidator(_named)], ...] = Field(min_length=1)

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: tuple[ClassSpec, ...]) -> tuple[ClassSpec, ...]:
        if twice := _repeated(item.name for item in classes):
            raise ValueError(f"the class {twice[0]!r} stands twice")
        if twice := _repeated(source for item in classes for source in item.published):
            raise ValueError(f"the published name {twice[0]!r} belongs to two classes")
        return classes


class Card(Part):
    """A dataset card. Load one with :func:`load_card`."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="equal to the name of the card's file")
    title: str
    home: str | None = None
    licence: Licence
    access: Literal["open", "registration", "credentialed", "generated"]
    citation: str | None = None
    notes: str | None = Field(None, description="what a user of the data should know")
    parent: str | None = Field(None, description="card whose images this dataset re-uses")
    root: str = Field(min_length=1, description="default folder under the user's data root")
    expected: Expected = Expected()
    unverified: tuple[str, ...] = Field((), description="keys whose values nobody has checked, e.g. licence.commercial")
    patient: PatientKey | None = Field(None, description="null: every image is its own patient")
    splits: SplitSource | None = None
    tasks: dict[Task, TaskSource] = Field(min_length=1)

    _file: Path = PrivateAttr(default=Path("card"))

    @model_validator(mode="after")
    def _unverified_keys_exist(self) -> Card:
        for key in self.unverified:
            if not _has_key(self, key):
                raise ValueError(f"unverified names {key!r}, which a card does not have")
        return self

    @property
    def file(self) -> Path:
        """The YAML file that the card was read from, for messages."""
        return self._file

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema of a card, for editors."""
        return cls.model_json_schema()


def load_card(path: str | Path) -> Card:
    """Reads a dataset card.

    Args:
        path: YAML file whose stem is the card's name.

    Returns:
        The checked card. What only its reader can check (the reader's name, its options) is checked when it is opened.

    Raises:
        CardError: the file is missing, is not YAML, repeats a key, or a key or value is wrong; names file and key.
    """
    path = Path(path)
    values = read_yaml(path)
    try:
        card = Card.model_validate(values)
    except ValidationError as error:
        raise card_error(error, Card, str(path)) from None
    if card.name != path.stem:
        raise CardError(f"{path}: name", f"found {card.name!r}", repr(path.stem), "name card and file alike")
    card._file = path
    return card


def _repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]


def _check_expression(expression: str) -> None:
    try:
        groups = re.compile(expression).groups
    except re.error as error:
        raise ValueError(f"{expression!r} is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"{expression!r} has {groups} groups; exactly one must enclose the patient")


def _has_key(card: Card, key: str) -> bool:
    """Whether ``key`` (``licence.commercial``) leads somewhere in the card, if only to null."""
    value: Any = card
    for part in key.split("."):
        if isinstance(value, BaseModel) and part in type(value).model_fields:
            value = getattr(value, part)
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True
