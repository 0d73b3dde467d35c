"""Errors of pydantic become errors of foundationx: source and key, what was found, what is expected, and a fix."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from foundationx.core.errors import CardError, ConfigError, RecipeError
from foundationx.core.validation import key_path, validation_error


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int
    colour: Literal["red", "green"] = "red"

    @field_validator("size")
    @classmethod
    def _even(cls, size: int) -> int:
        if size % 2:
            raise ValueError(f"{size} is odd")
        return size


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner | None = None
    several: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}


def explained(values, kind=ConfigError, source="run.py", prefix=""):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    return validation_error(caught.value, Outer, source, kind, prefix)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"iner": {}}, ("run.py: iner", "unknown key", "did you mean 'inner'?", "correct or remove the key")),
        ({"inner": {}}, ("run.py: inner.size", "is missing", "a value, since the key has no default", "add the key")),
        ({"several": [{"size": 2}, {"size": 3}]}, ("run.py: several[1].size", "3 is odd", "", "correct the value")),
        ({"by_name": {"a": {"size": 2, "siz": 1}}}, ("run.py: by_name.a.siz", "unknown key", "did you mean 'size'?")),
        ({"inner": {"size": "x"}}, ("run.py: inner.size", "found 'x'", "valid integer", "correct the value")),
    ],
)
def test_source_key_found_expected_and_fix(values, parts):
    error = explained(values)
    where, result, expected, *fix = parts
    assert (error.where, error.found) == (where, result)
    assert expected in error.expected and error.fix == (fix[0] if fix else "correct or remove the key")


def test_a_misspelt_key_is_named_before_the_key_that_it_leaves_missing():
    error = explained({"inner": {"sizes": 2}})
    assert (error.where, error.expected) == ("run.py: inner.sizes", "did you mean 'size'?")


def test_the_nearest_choice_is_suggested():
    assert "did you mean 'green'?" in explained({"inner": {"size": 2, "colour": "gren"}}).expected


@pytest.mark.parametrize("kind", [CardError, ConfigError, RecipeError])
def test_kind_and_prefix(kind):
    error = explained({"inner": {}}, kind, "", "model.objective")
    assert type(error) is kind and error.where == "model.objective.inner.size"
    assert explained({"inner": {}}, kind, "a.yaml", "tasks").where == "a.yaml: tasks.inner.size"


def test_key_path():
    assert key_path(("tasks", "classification", "classes", 3, "name")) == "tasks.classification.classes[3].name"
    assert key_path(("values", "train", "[key]")) == "values.train"
