"""The dataset card: one YAML file that says all a program must know of a published dataset.

A card names files, columns and classes as they are published, so that no code knows a dataset. Facts that nobody has
checked are listed under ``unverified`` (``mdfp.md`` A.5: licences and diseases in public tables are often wrong).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.identity import Expected, Licence, Survey
from foundationx.datasets.cards.people import Attributes, PatientKey, SplitSource
from foundationx.datasets.cards.schema import Part
from foundationx.datasets.cards.strict_yaml import read_yaml
from foundationx.datasets.cards.tasks import TaskSource


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
    survey: Survey = Survey()
    expected: Expected = Expected()
    evidence: dict[str, str] = Field(
        default_factory=dict, description="where a fact of the card stands, by key: an address or a citation"
    )
    unverified: tuple[str, ...] = Field((), description="keys whose values nobody has checked, e.g. licence.commercial")
    patient: PatientKey | None = Field(None, description="null: every image is its own patient")
    splits: SplitSource | None = None
    attributes: Attributes | None = Field(None, description="sex, age, view of an image, where they are published")
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
        """The YAML file that the card was read from, for messages."""
        return self._file

    def with_options(self, options: Mapping[Task, Mapping[str, Any]]) -> Card:
        """The card with other reader options for some tasks, over its own and over those of a task's parts.

        Raises:
            CardError: the card has no such task.
        """
        tasks = dict(self.tasks)
        for task, values in options.items():
            if task not in tasks:
                known = ", ".join(name.value for name in tasks)
                raise CardError(f"{self.file}: tasks", f"there is no {task.value}", f"a task among {known}")
            parts = tuple(
                part.model_copy(update={"options": part.options | dict(values)}) for part in tasks[task].parts
            )
            changed = {"options": tasks[task].options | dict(values), "parts": parts}
            tasks[task] = tasks[task].model_copy(update=changed)
        changed_card = self.model_copy(update={"tasks": tasks})
        changed_card._file = self._file
        return changed_card

    @property
    def diseases(self) -> tuple[str, ...]:
        """Concepts that the dataset is about: those of the survey, else those of its classes; each once, sorted."""
        of_classes = (item.canonical for spec in self.tasks.values() for item in spec.classes if item.canonical)
        return tuple(sorted(set(self.survey.diseases or of_classes)))

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
        raise validation_error(error, Card, str(path), CardError) from None
    if card.name != path.stem:
        raise CardError(f"{path}: name", f"found {card.name!r}", repr(path.stem), "name card and file alike")
    card._file = path
    return card


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
