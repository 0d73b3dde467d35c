"""The dataset card: one YAML file that describes everything the code needs to know about a published dataset.

A card names files, columns and classes as they are published, so that no dataset is hard-coded. Facts that nobody has
checked are listed under ``unverified``, since public tables of datasets often get licences and diseases wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from foundationx.core.errors import CardError
from foundationx.core.types import Split, Task
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.schema import (
    AlternativeNames,
    Names,
    Part,
    alternatives,
    check_expression,
    check_names,
    repeated,
    template_fields,
)
from foundationx.datasets.cards.spdx import licence_ref, normalised
from foundationx.datasets.cards.strict_yaml import read_yaml
from foundationx.datasets.cards.tasks import TaskSource


def _yes_or_no(value: Any) -> Any:
    """The word that a card means: YAML 1.1 reads a bare ``yes`` as true."""
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _date_text(value: Any) -> Any:
    """A date as text: YAML reads a bare 2017 as a number and 2017-09-01 as a date."""
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


def _spdx(value: str) -> str:
    return value and normalised(value)


Spdx = Annotated[str, AfterValidator(_spdx)]


class Licence(Part):
    """What the licence permits. Write ``unknown`` rather than a guess."""

    name: str
    spdx: Spdx = Field(
        "", description="SPDX expression; LicenseRef-NAME where SPDX has none (if left out, made of the licence's name)"
    )
    redistribution: Permission
    commercial: Permission

    @model_validator(mode="before")
    @classmethod
    def _never_without_identifier(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("name"), str) and values.get("spdx") is None:
            return values | {"spdx": licence_ref(values["name"])}
        return values


class Expected(Part):
    """Published counts, with which ``foundationx data check`` compares the files."""

    images: int | None = Field(None, gt=0, description="images in the release")
    patients: int | None = Field(None, gt=0)
    splits: dict[Split, int] = Field(default_factory=dict, description="images of each official split")
    valid_images: int | None = Field(None, gt=0, description="images left after cleaning, if a survey counted them")


class Survey(Part):
    """How a survey of datasets describes this one; fusion selects datasets by these fields.

    Together with title, home, licence, expected counts and tasks these are the sixteen fields of Project Imaging-X and
    two that MDFP adds (dimension, storage size). Null is "unknown", never "no".
    """

    released: Date | None = Field(None, description="YYYY, YYYY-MM or YYYY-MM-DD")
    organisations: tuple[str, ...] = ()
    challenge: str | None = Field(None, description="the challenge it was made for")
    description: str | None = None
    modality: str | None = Field(None, description="primary modality, e.g. X-ray")
    modality_detail: str | None = Field(None, description="e.g. computed radiography")
    dimension: Literal["2D", "3D", "video"] | None = None
    anatomy: tuple[str, ...] = Field((), description="concepts of the vocabulary, e.g. chest, lung")
    diseases: tuple[str, ...] = Field(
        (), description="concepts of the vocabulary; if empty, the findings among its classes"
    )
    label_presence: Literal["labelled", "unlabelled", "mixed"] | None = None
    storage_gb: float | None = Field(None, gt=0, description="size of the download in gigabytes")


class PatientTable(Part):
    """A published table that leads from an image, or from the patient known so far, to the patient."""

    file: Names = Field(
        description="CSV, or a JSON list of records; relative to the dataset's folder, inside the data root. "
        "If several are named, the first that exists is read"
    )
    image_column: Names = Field(
        description="column that names the image; of several, the first that the table has (in JSON: key of a record)"
    )
    value_column: Names = Field(
        description="column that names the patient; of several, the first that the table has (in JSON: key of a record)"
    )
    image_value: str = Field(
        "{image_name}",
        description="how the table writes an image: {image} (path), {image_name} or {image_stem}; or {value}: what "
        "column, pattern or the tables before have given, which this table translates",
    )
    required: bool = Field(True, description="false: the table is used if it exists")
    namespace: str | None = Field(None, description="namespace of the table's patients; null: as for all others")
    repeated: Literal["error", "first"] = Field(
        "error", description="an image that rows give to several patients; first: it counts for that of its first row"
    )
    source: str | None = Field(None, description="where the table can be downloaded, for messages")

    @model_validator(mode="after")
    def _template_is_known(self) -> PatientTable:
        check_names(self.image_value, ("image", "image_name", "image_stem", "value"))
        return self

    @property
    def translates(self) -> bool:
        """Whether the table translates an earlier value, not an image."""
        return "value" in template_fields(self.image_value)


class PatientKey(Part):
    """Where the patient of an image is recorded: in a column, in the image's path, in other tables.

    ``column`` or ``pattern`` give a value, or the first of ``tables`` that lists the image. Tables with ``{value}``
    then translate the value; what they do not list stays. The patient's name is ``namespace:value``; datasets that
    share patients share the namespace, so that a patient is in the same split everywhere.
    """

    column: str | None = Field(
        None, min_length=1, description="column of the annotation file (in JSON: key of the image's record)"
    )
    pattern: str | None = Field(None, description="regular expression on the image's path; group 1 is the patient")
    dicom: str | None = Field(
        None, pattern=r"^[A-Z][A-Za-z0-9]*$", description="keyword in the DICOM headers of the images: PatientID"
    )
    tables: tuple[PatientTable, ...] = Field((), description="tables of patients, in the order in which they are asked")
    unlisted: Literal["error", "own"] = Field(
        "error", description="an image that is in no table; own: it counts as its own patient"
    )
    same: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of values that are one patient; the first of a group is the name"
    )
    namespace: str | None = Field(None, description="null: the card's name")
    namespaces: dict[str, str] = Field(
        default_factory=dict,
        description="other namespaces by a regular expression that the whole value must match; group 1 is the patient",
    )

    @model_validator(mode="after")
    def _one_source(self) -> PatientKey:
        naming = any(not table.translates for table in self.tables)
        given = [name for name in ("column", "pattern", "dicom") if getattr(self, name) is not None]
        given += ["tables"] * naming
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"needs exactly one of column, pattern, dicom and tables, found {found}")
        if self.unlisted != "error" and not naming:
            raise ValueError("unlisted applies to tables that list images, and no such table is given")
        if self.tables and naming and self.tables[0].translates:
            raise ValueError("the first table translates {value}, and nothing gives a value before it")
        for expression in [self.pattern, *self.namespaces.values()]:
            if expression is not None:
                check_expression(expression)
        if twice := repeated(value for group in self.same for value in group):
            raise ValueError(f"same: the value {twice[0]!r} is given twice")
        return self

    @property
    def all_namespaces(self) -> set[str]:
        """Namespaces other than the key's own that a patient may have."""
        return set(self.namespaces) | {table.namespace for table in self.tables if table.namespace is not None}


class SplitTable(Part):
    """Another table that names the official split of an image; it may have several rows per image."""

    file: AlternativeNames = Field(
        description="CSV file, relative to the dataset's folder; of several, the first that is there"
    )
    image_column: str = Field(description="column that names the image")
    value_column: str = Field(description="column of the split")
    image_value: str = Field(
        "{image_name}", description="how the table writes an image: {image} (path), {image_name} or {image_stem}"
    )

    @model_validator(mode="after")
    def _template_is_known(self) -> SplitTable:
        check_names(self.image_value, ("image", "image_name", "image_stem"))
        return self


class SplitSource(Part):
    """The official split: a column of the annotation file or of another table, a part of the path, or lists of images.

    Images in no list or table, empty cells and paths that do not match have no official split. If a dataset is
    published as one file per split, the task's ``parts`` name the splits instead.
    """

    column: str | None = Field(None, min_length=1)
    pattern: str | None = Field(None, description="regular expression on the image's path; group 1 is the value")
    table: SplitTable | None = None
    values: dict[Split, tuple[str, ...]] = Field(
        default_factory=dict, description="values of the column, the pattern or the table for each split"
    )
    unassigned: tuple[str, ...] = Field((), description="values of images that have no official split")
    lists: dict[Split, AlternativeNames] = Field(
        default_factory=dict, description="text file of image names for each split; of several, the first that is there"
    )

    @model_validator(mode="after")
    def _one_source(self) -> SplitSource:
        given = [name for name in ("column", "pattern", "table", "lists") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("needs exactly one of column, pattern, table (each with values) and lists")
        if bool(self.lists) == bool(self.values):
            raise ValueError("a column, pattern or table needs values, and lists take none")
        if self.pattern:
            check_expression(self.pattern)
        twice = repeated([*(value for values in self.values.values() for value in values), *self.unassigned])
        if twice:
            raise ValueError(f"the value {twice[0]!r} stands for two splits")
        return self


class Attributes(Part):
    """Attributes of the patient or of the acquisition, from a table: for metrics per subgroup.

    All cards use the same names (sex, age, view), so that attributes can be compared across datasets.
    """

    files: tuple[AlternativeNames, ...] = Field(
        min_length=1, description="CSV files, relative to the dataset's folder; of several, the first that is there"
    )
    image_column: str = Field(description="column that names the image")
    image_value: str = Field(
        "{image_name}", description="how the table writes an image: {image} (path), {image_name} or {image_stem}"
    )
    columns: dict[str, str] = Field(min_length=1, description="column of each attribute")


class Card(Part):
    """A dataset card. Load one with :func:`load_card`."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="same as the name of the card's file")
    title: str
    home: str | None = None
    licence: Licence
    access: Literal["open", "registration", "credentialed", "generated", "private"] = Field(
        description="how the data can be had; private: one's own, which joins a recipe only if that names the card"
    )
    citation: str | None = None
    notes: str | None = Field(None, description="what users of the data should know")
    parent: str | None = Field(None, description="card of the dataset whose images this one re-uses")
    held_out_by: tuple[str, ...] = Field(
        (),
        description="cards whose official test or validation split has every image of this one: in a run with one of "
        "them nothing is left to train on",
    )
    root: str = Field(min_length=1, description="default folder under the user's data root")
    survey: Survey = Survey()
    expected: Expected = Expected()
    evidence: dict[str, str] = Field(
        default_factory=dict, description="sources of the card's facts, by key: an address or a citation"
    )
    unverified: tuple[str, ...] = Field(
        (), description="keys with values that nobody has checked, e.g. licence.commercial"
    )
    patient: PatientKey | None = Field(None, description="null: each image counts as its own patient")
    splits: SplitSource | None = None
    attributes: Attributes | None = Field(None, description="sex, age, view of an image, if published")
    tasks: dict[Task, TaskSource] = Field(min_length=1)

    _file: Path = PrivateAttr(default=Path("card"))

    @model_validator(mode="after")
    def _named_keys_exist(self) -> Card:
        for part in ("unverified", "evidence"):
            for key in getattr(self, part):
                if not _has_key(self, key):
                    raise ValueError(f"{part} names {key!r}, which a card does not have")
        return self

    @property
    def file(self) -> Path:
        """YAML file that the card was read from, for messages."""
        return self._file

    def with_options(self, options: Mapping[Task, Mapping[str, Any]]) -> Card:
        """A copy with reader options changed for some tasks; they override those of the card and of its parts.

        Args:
            options: Reader options by task. ``file``, ``images``, ``image_suffix`` and ``image_path`` among them change
                the task itself, for copies of a dataset with other names.

        Raises:
            CardError: The card has no such task, or a value is wrong.
        """
        tasks = dict(self.tasks)
        for task, values in options.items():
            if task not in tasks:
                expected = f"one of {', '.join(name.value for name in tasks)}"
                raise CardError(f"{self.file}: tasks", f"the card has no {task.value}", expected, "correct the task")
            tasks[task] = self._changed(task, values)
        changed_card = self.model_copy(update={"tasks": tasks})
        changed_card._file = self._file
        return changed_card

    def _changed(self, task: Task, values: Mapping[str, Any]) -> TaskSource:
        """A task with other options and names of files."""
        spec = self.tasks[task]
        names = {key: value for key, value in values.items() if key in CHANGEABLE}
        own = {key: value for key, value in values.items() if key not in CHANGEABLE}
        if spec.parts and "file" in names:
            where, fix = f"{self.file}: tasks.{task.value}", "write a card of your own that names each file"
            raise CardError(where, "file is given for a task of several files", "other options", fix)
        part_names = {"images": None, "image_suffix": None}.items() & dict.fromkeys(names).items()
        parts = tuple(
            part.model_copy(update={"options": part.options | own, **dict(part_names)}) for part in spec.parts
        )
        checked = _checked_names(names, f"{self.file}: tasks.{task.value}")
        return spec.model_copy(update={"options": spec.options | own, "parts": parts, **checked})

    def published_form(self) -> Card:
        """A copy that names the first of all alternatives: the files as they were published."""
        changes: dict[str, Any] = {"tasks": {task: _first_names(spec) for task, spec in self.tasks.items()}}
        if self.splits is not None:
            lists = {split: alternatives(name)[0] for split, name in self.splits.lists.items()}
            table = _first_names(self.splits.table) if self.splits.table is not None else None
            changes["splits"] = self.splits.model_copy(update={"lists": lists, "table": table})
        if self.attributes is not None:
            changes["attributes"] = _first_names(self.attributes)
        copied = self.model_copy(update=changes)
        copied._file = self._file
        return copied

    @property
    def diseases(self) -> tuple[str, ...]:
        """Concepts of the survey, or else of the classes: each once, sorted."""
        from_classes = (item.canonical for spec in self.tasks.values() for item in spec.classes if item.canonical)
        return tuple(sorted(set(self.survey.diseases or from_classes)))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema of a card, for editors."""
        return cls.model_json_schema()


def load_card(path: str | Path) -> Card:
    """Reads a dataset card.

    Args:
        path: YAML file; its stem is the card's name.

    Returns:
        The checked card. The reader's name and options are checked later, when the reader is opened.

    Raises:
        CardError: The file is missing, is not YAML, repeats a key, or a key or value is wrong; names file and key.
    """
    path = Path(path)
    values = read_yaml(path)
    _read_trees(values, path)
    try:
        card = Card.model_validate(values)
    except ValidationError as error:
        raise validation_error(error, Card, str(path), CardError) from None
    if card.name != path.stem:
        raise CardError(f"{path}: name", f"found {card.name!r}", repr(path.stem), "give card and file the same name")
    card._file = path
    return card


def _read_trees(values: dict[str, Any], path: Path) -> None:
    """Puts the trees that a card names as files beside it into its values. Raises CardError."""
    tasks = values.get("tasks")
    for task, source in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(source, dict) and isinstance(name := source.get("tree"), str):
            file, folder = (path.parent / name).resolve(), path.parent.resolve()
            if not file.is_relative_to(folder) or not file.is_file():
                where, found = f"{path}: tasks.{task}.tree", f"{name!r} is no file in {folder}"
                raise CardError(where, found, "a file beside the card", "correct the name")
            source["tree"] = read_yaml(file, expected="a tree of findings")


CHANGEABLE = ("file", "images", "image_suffix", "image_path")
"""Keys of a task that a configuration may change together with the reader's options."""


def _checked_names(names: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Changed keys of a task as a card holds them. Raises CardError if a value is wrong."""
    try:
        spec = TaskSource.model_validate({"reader": "any", "classes": ["any"], **names})
    except ValidationError as error:
        raise validation_error(error, TaskSource, where, CardError) from None
    return {key: getattr(spec, key) for key in names}


NAMES = ("file", "files", "table", "images", "image_suffix", "image_path")
"""Keys of a card's parts with names of files and folders, which may have alternatives."""

PartT = TypeVar("PartT", bound=Part)


def _first_names(part: PartT) -> PartT:
    """A copy of a part of a card with the first of all alternative names."""
    changes: dict[str, Any] = {}
    for key in type(part).model_fields:
        value = getattr(part, key)
        if key in NAMES and isinstance(value, str):
            changes[key] = alternatives(value)[0]
        elif key in NAMES and isinstance(value, tuple):
            changes[key] = tuple(alternatives(name)[0] for name in value)
        elif key in ("parts", "join"):
            changes[key] = tuple(map(_first_names, value))
    return part.model_copy(update=changes)


def _has_key(card: Card, key: str) -> bool:
    """Whether the card has a ``key`` such as ``licence.commercial``, even if its value is null."""
    value: Any = card
    for part in key.split("."):
        if isinstance(value, BaseModel) and part in type(value).model_fields:
            value = getattr(value, part)
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True
