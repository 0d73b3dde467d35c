"""Annotations of a dataset: files, reader, and the meaning of each class."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from foundationx.core.errors import nearest
from foundationx.core.types import Split
from foundationx.datasets.cards.label_tree import Codes, Label, LabelTree
from foundationx.datasets.cards.schema import (
    AlternativeNames,
    AlternativeTexts,
    Names,
    Part,
    alternatives,
    check_expression,
    repeated,
    template_fields,
)


def _named(value: Any) -> Any:
    """Accepts a class given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


def _numbered(value: Any) -> Any:
    """Accepts the number of points of a line: their names are 1, 2, 3 and so on."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 2 <= value <= MOST_POINTS:
            raise ValueError(f"{value} points; a line has from 2 to {MOST_POINTS}")
        return tuple(str(number) for number in range(1, value + 1))
    return value


def _declared_points(value: Any) -> int:
    """The number of classes that a class in a card stands for: one, or one for each of its points."""
    points = value.get("points", ()) if isinstance(value, dict) else getattr(value, "points", ())
    count = points if isinstance(points, int) else len(points) if isinstance(points, Sized) else 1
    return min(max(1, count), MOST_POINTS)


def _each_point_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := repeated(names):
        raise ValueError(f"the point {twice[0]!r} is given twice")
    return names


MOST_POINTS, MOST_CLASSES = 1000, 20_000
"""Points of one class, and classes of a task when each point counts as one."""

Points = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(max_length=MOST_POINTS),
    BeforeValidator(_numbered, json_schema_input_type=int | tuple[str, ...]),
    AfterValidator(_each_point_once),
]


class ClassSpec(Part):
    """One class: its name in the card, its published names, and its meaning in the common vocabulary.

    ``relation`` and ``polarity`` decide whether classes of two datasets mean the same: only classes that are ``exact``
    and of one polarity may share a target.
    """

    name: str = Field(min_length=1)
    sources: tuple[str, ...] = Field((), description="published names; if empty, the class's own name")
    canonical: str | None = Field(None, description="concept of the vocabulary")
    relation: Literal["exact", "narrower", "broader", "related"] = Field(
        "exact", description="relation of this class to the concept: narrower is a kind of it, broader includes more"
    )
    polarity: Literal["presence", "absence"] = Field(
        "presence", description="absence: a positive label says that the concept is absent (No Finding)"
    )
    codes: Codes = Field(
        default_factory=dict, description="codes of the class that its publisher gives: umls (CUI), radlex"
    )
    points: Points = Field(
        (),
        description="names of the points that the class consists of, or the number of points along a line: the task "
        "then has one class for each, e.g. Right Lung/apex or Tube/1",
    )

    @property
    def parts(self) -> tuple[ClassSpec, ...]:
        """The class itself, or a class for each of its points: ``NAME/POINT``, for published names likewise."""
        if not self.points:
            return (self,)
        relation = "related" if self.canonical else "exact"  # a point is no case of what it belongs to
        return tuple(
            ClassSpec(
                name=f"{self.name}/{point}",
                sources=tuple(f"{source}/{point}" for source in self.sources),
                canonical=self.canonical,
                relation=relation,
            )
            for point in self.points
        )

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the class in the published files."""
        return self.sources or (self.name,)


NamedClass = Annotated[ClassSpec, BeforeValidator(_named, json_schema_input_type=ClassSpec | str)]


class DerivedColumn(Part):
    """A column that the file has in another form: ``00aa`` for the cell ``00aa.dcm``."""

    column: str = Field(description="column of the file")
    form: str = Field(description="how its cells are written, e.g. {value}.dcm")

    @field_validator("form")
    @classmethod
    def _has_one_value(cls, form: str) -> str:
        if template_fields(form) != ("value",) or form.count("{value}") != 1:
            raise ValueError(f"{form!r} must contain {{value}} once, and no other name in braces")
        return form

    @property
    def ends(self) -> tuple[str, str]:
        """What stands before and behind the value."""
        before, _, behind = self.form.partition("{value}")
        return before, behind


class TableFormat(Part):
    """Format of a table: CSV with a header by default."""

    delimiter: Literal[",", ";", "tab", "whitespace"] = Field(
        ",", description="between cells; a header without a comma, but with semicolons or tabs, says so itself"
    )
    header: tuple[str, ...] | None = Field(
        None, description="column names of a file without header; an unnamed column may be empty or missing"
    )
    skip: int = Field(0, ge=0, le=100, description="lines with content before the header")
    repeated: Literal["error", "number"] = Field(
        "error", description="a column name that is given twice; number: the second one is NAME.1, the third NAME.2"
    )
    row_column: str | None = Field(
        None, min_length=1, description="name of a column with the number of each row, counted from 0"
    )
    derived: dict[str, DerivedColumn] = Field(
        default_factory=dict,
        description="columns made of others, e.g. dicom_id: {column: image_id, form: '{value}.dcm'}",
    )

    @field_validator("header")
    @classmethod
    def _each_once(cls, header: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if header is not None and (twice := repeated(name for name in header if name)):
            raise ValueError(f"the column {twice[0]!r} is given twice")
        return header


class Join(Part):
    """A second table, joined to the first row by row on the columns ``on``."""

    file: AlternativeNames = Field(
        description="relative to the dataset's folder, inside the data root; of several, the first that is there"
    )
    on: tuple[str, ...] = Field(min_length=1, description="columns that both tables have")
    table: TableFormat = TableFormat()
    missing: Literal["error", "leave_out"] = Field("error", description="a row without a match")


class AnnotationFile(Part):
    """One published annotation file, the folder of its images, and their official split."""

    file: AlternativeNames = Field(
        "",
        description="relative to the dataset's folder, inside the data root; of several, the first that is there; "
        "some readers need none",
    )
    images: Names | None = Field(None, description="null: the same as the task's")
    image_suffix: AlternativeTexts | None = Field(None, description="null: the same as the task's")
    split: Split | None = Field(None, description="official split of its images")
    options: dict[str, Any] = Field(default_factory=dict, description="reader options, which override the task's")


class TaskExpected(Part):
    """Published counts of one task."""

    images: int | None = Field(None, gt=0, description="annotated images")
    boxes: int | None = Field(None, gt=0)
    positives: dict[str, int] = Field(
        default_factory=dict, description="images with each class, by its name in the card"
    )


def _paired(pair: tuple[str, str], names: Sequence[str]) -> list[tuple[str, str]]:
    """A pair of classes, or the pairs of the points of two classes that have points of the same names."""
    points = [[name.removeprefix(f"{one}/") for name in names if name.startswith(f"{one}/")] for one in pair]
    if set(pair) & set(names) or not all(points):
        return [pair]
    if set(points[0]) != set(points[1]):
        raise ValueError(f"the points of {pair[0]!r} and {pair[1]!r} differ: pair the points by their own names")
    return [(f"{pair[0]}/{point}", f"{pair[1]}/{point}") for point in points[0]]


class TaskSource(Part):
    """One task of a dataset: its annotation files, their reader and the classes."""

    reader: str = Field(description="name of a reader, e.g. findings_csv")
    file: AlternativeNames = Field(
        "",
        description="annotation file; of several, the first that is there, packed (.gz) or not; some readers need none",
    )
    parts: tuple[AnnotationFile, ...] = Field((), description="several annotation files, instead of file")
    images: Names = Field(
        ("",),
        description="folders in front of the image names; * and ? stand for any name, ** for folders in folders; "
        "A | B: the first that is there",
    )
    image_suffix: AlternativeTexts = Field(
        "",
        description="appended to the image names, e.g. .png; of several ([.dicom, .png]) the first that is there, and "
        "those after the first also replace the suffix of a name",
    )
    image_path: AlternativeTexts | None = Field(
        None,
        description="the image's path built from columns, e.g. files/p{subject_id:.2}/{dicom_id}; "
        "of several, the first that is there",
    )
    table: TableFormat = TableFormat()
    join: tuple[Join, ...] = ()
    keep: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="rows to use, by values of columns, e.g. modality: [X-ray]"
    )
    leave_out: dict[str, str] = Field(
        default_factory=dict,
        description="rows to leave out, by a regular expression that the whole cell of a column must match",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="reader options, checked by the reader")
    shared: tuple[str, ...] = Field(
        (), description="published names that stand for several classes at once, e.g. hydropneumothorax: air and fluid"
    )
    classes: tuple[NamedClass, ...] = Field(min_length=1)
    mirror_pairs: tuple[tuple[str, str], ...] = Field(
        (),
        description="classes of the two sides of the patient, e.g. [[Left Lung, Right Lung]]: where a view flips the "
        "image, they change places",
    )
    tree: dict[str, Label] = Field(
        default_factory=dict,
        description="the publisher's tree: the parents of each label, here or in a YAML file beside the card. A label "
        "makes its parents present; one that is named without any of its kinds leaves their classes unknown",
        json_schema_extra={"type": ["object", "string"]},
    )
    expected: TaskExpected = TaskExpected()

    @field_validator("image_path")
    @classmethod
    def _is_template(cls, template: str | None) -> str | None:
        for one in alternatives(template) if template is not None else ():
            if not template_fields(one):
                raise ValueError(f"{one!r} names no column")
        return template

    @field_validator("leave_out")
    @classmethod
    def _are_expressions(cls, patterns: dict[str, str]) -> dict[str, str]:
        for pattern in patterns.values():
            check_expression(pattern, groups=None)
        return patterns

    @field_validator("classes", mode="before")
    @classmethod
    def _not_too_many(cls, classes: Any) -> Any:
        """Counts classes and points before any is made."""
        count = sum(map(_declared_points, classes)) if isinstance(classes, list | tuple) else 0
        if count > MOST_CLASSES:
            raise ValueError(f"{count:,} classes and points; a card has up to {MOST_CLASSES:,}")
        return classes

    @field_validator("classes")
    @classmethod
    def _with_points(cls, classes: tuple[ClassSpec, ...]) -> tuple[ClassSpec, ...]:
        return tuple(part for item in classes for part in item.parts)

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: tuple[ClassSpec, ...], info: ValidationInfo) -> tuple[ClassSpec, ...]:
        if twice := repeated(item.name for item in classes):
            raise ValueError(f"the class {twice[0]!r} is given twice")
        if twice := [name for item in classes for name in repeated(item.published)]:
            raise ValueError(f"a class has the published name {twice[0]!r} twice")
        several = repeated(source for item in classes for source in item.published)
        shared = info.data.get("shared", ())
        if accidental := [name for name in several if name not in shared]:
            text = f"the published name {accidental[0]!r} belongs to two classes"
            raise ValueError(f"{text}; if it stands for both at once, list it under shared")
        if idle := [name for name in shared if name not in several]:
            raise ValueError(f"{idle[0]!r} is listed under shared, but is not a published name of several classes")
        return classes

    @field_validator("mirror_pairs")
    @classmethod
    def _pairs_of_points(cls, pairs: tuple[tuple[str, str], ...], info: ValidationInfo) -> tuple[tuple[str, str], ...]:
        names = [item.name for item in info.data.get("classes", ())]
        return tuple(one for pair in pairs for one in _paired(pair, names))

    @model_validator(mode="after")
    def _agrees(self) -> TaskSource:
        if self.file and self.parts:
            raise ValueError("has both file and parts")
        self._check_tree()
        names = {item.name for item in self.classes}
        paired = [name for pair in self.mirror_pairs for name in pair]
        for key, given in (("expected.positives", [*self.expected.positives]), ("mirror_pairs", paired)):
            if unknown := sorted(set(given) - names):
                raise ValueError(f"{key} names {unknown[0]!r}, which is not a class of the task")
        if twice := repeated(paired):
            raise ValueError(f"mirror_pairs names {twice[0]!r} twice")
        return self

    def _check_tree(self) -> None:
        """Raises ValueError if a parent is unknown or a label its own ancestor."""
        known = {*self.tree, *(source for item in self.classes for source in item.published)}
        for name, label in self.tree.items():
            for parent in label.parents:
                if parent not in known:
                    found = f"the parent {parent!r} of {name!r} is neither in the tree nor a class"
                    raise ValueError(f"{found}; {nearest(parent, known)}")
        LabelTree(self.tree)

    def codes(self, item: ClassSpec) -> dict[str, tuple[str, ...]]:
        """Codes of a class by system: its own, or those that the tree gives its published names."""
        if item.codes:
            return {str(system): values for system, values in item.codes.items()}
        labels = [self.tree[name] for name in item.published if name in self.tree]
        systems = {str(system) for label in labels for system in label.codes}
        return {
            system: tuple(code for label in labels for code in dict(label.codes).get(system, ()))  # type: ignore[call-overload]  # names of systems are texts
            for system in sorted(systems)
        }

    @property
    def files(self) -> tuple[AnnotationFile, ...]:
        """The annotation files, completed by the settings of the task."""
        parts = self.parts or (AnnotationFile(file=self.file),)
        return tuple(
            AnnotationFile(
                file=part.file,
                images=part.images or self.images,
                image_suffix=self.image_suffix if part.image_suffix is None else part.image_suffix,
                split=part.split,
                options=self.options | part.options,
            )
            for part in parts
        )
