"""Cards: what they accept, and that every fault names file and key."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.datasets.cards.card import Card, load_card
from tests.helpers.reader_cards import card_values

REGISTRY = Path(__file__).resolve().parents[2] / "data_registry"
CARDS = sorted(REGISTRY.glob("*.yaml"))
LISTS = {"file": "a.csv", "image_column": "image", "value_column": "who"}
TRANSLATES = LISTS | {"image_value": "{value}"}


def write(folder: Path, values: dict, name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def fault(path: Path) -> CardError:
    with pytest.raises(CardError) as caught:
        load_card(path)
    assert str(path) in caught.value.where
    return caught.value


@pytest.fixture
def values() -> dict:
    return card_values("findings_csv", ["Mass", {"name": "Lung", "sources": ["lung", "lungs"]}])


def test_bare_names_and_mappings_are_classes(tmp_path, values):
    card = load_card(write(tmp_path, values))
    source = card.tasks[Task.CLASSIFICATION]
    assert [item.name for item in source.classes] == ["Mass", "Lung"]
    assert [item.published for item in source.classes] == [("Mass",), ("lung", "lungs")]
    assert card.file == tmp_path / "tiny.yaml"


@pytest.mark.parametrize(("written", "meant"), [("yes", "yes"), ("no", "no"), ("unknown", "unknown")])
def test_yes_without_quotes_is_the_word(tmp_path, values, written, meant):
    text = yaml.safe_dump(values).replace("commercial: unknown", f"commercial: {written}")
    (tmp_path / "tiny.yaml").write_text(text)
    assert load_card(tmp_path / "tiny.yaml").licence.commercial == meant


def test_a_loaded_card_cannot_be_changed(tmp_path, values):
    card = load_card(write(tmp_path, values))
    with pytest.raises(ValueError, match="frozen"):
        card.title = "Other"


@pytest.mark.parametrize(
    ("key", "value", "place", "words"),
    [
        ("licnce", {}, "licnce", "did you mean 'licence'?"),
        ("access", "opne", "access", "did you mean 'open'?"),
        ("name", "Tiny Set", "name", "pattern"),
        ("title", None, "title", "string"),
        ("tasks", {}, "tasks", "at least 1 item"),
        ("tasks", {"clasification": {}}, "tasks.clasification", "did you mean 'classification'?"),
        ("patient", {}, "patient", "exactly one of column, pattern, dicom and tables, found none"),
        ("patient", {"column": "a", "pattern": "(b)"}, "patient", "found column, pattern"),
        ("patient", {"tables": [{"file": "a.csv"}]}, "patient.tables[0].image_column", "is missing"),
        (
            "patient",
            {"tables": [TRANSLATES]},
            "patient",
            "exactly one of column, pattern, dicom and tables, found none",
        ),
        ("patient", {"tables": [TRANSLATES, LISTS]}, "patient", "nothing gives a value before it"),
        ("patient", {"column": "a", "tables": [LISTS]}, "patient", "found column, tables"),
        ("patient", {"column": "a", "tables": [TRANSLATES], "unlisted": "own"}, "patient", "no such table is given"),
        ("patient", {"column": "a", "same": [["1", "2"], ["2", "3"]]}, "patient", "'2' is given twice"),
        ("patient", {"pattern": "p("}, "patient", "not a regular expression"),
        ("patient", {"pattern": "p"}, "patient", "0 groups"),
        ("patient", {"column": ""}, "patient.column", "at least 1 character"),
        ("splits", {"column": "", "values": {"train": ["a"]}}, "splits.column", "at least 1 character"),
        ("patient", {"colum": "a"}, "patient.colum", "did you mean 'column'?"),
        ("splits", {"column": "split"}, "splits", "a column, pattern or table needs values"),
        ("splits", {}, "splits", "exactly one of"),
        ("splits", {"column": "s", "values": {"train": ["a"], "test": ["a"]}}, "splits", "two splits"),
        ("unverified", ["licence.comercial"], "", "licence.comercial"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path, values, key, value, place, words):
    error = fault(write(tmp_path, values | {key: value}))
    assert error.where == f"{tmp_path / 'tiny.yaml'}: {place}" if place else str(tmp_path / "tiny.yaml")
    assert words in str(error)


@pytest.mark.parametrize(
    ("classes", "place", "words"),
    [
        ([], "", "at least 1"),
        (["A", "A"], "", "the class 'A' is given twice"),
        (["A", {"name": "B", "sources": ["A"]}], "", "'A' belongs to two classes"),
        (["A", {"nam": "B"}], "[1].nam", "unknown key\n  expected: did you mean 'name'?"),
        (["A", {"name": "B", "canoncal": "b"}], "[1].canoncal", "did you mean 'canonical'?"),
        (["A", "B", {"name": "C", "relation": "boarder"}], "[2].relation", "did you mean 'broader'?"),
    ],
)
def test_a_fault_of_a_class_names_its_position(tmp_path, values, classes, place, words):
    values["tasks"]["classification"]["classes"] = classes
    error = fault(write(tmp_path, values))
    assert error.where.endswith(f"tiny.yaml: tasks.classification.classes{place}")
    assert words in str(error)


def test_a_missing_key_is_named(tmp_path, values):
    del values["licence"]["commercial"]
    error = fault(write(tmp_path, values))
    assert error.where.endswith("licence.commercial")
    assert error.found == "is missing"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("name: a\ntitle: b\nname: c\n", "tiny.yaml line 3", "'name' is given twice"),
        ("name: a\nlicence: {name: x, spdx: y, name: z}\n", "tiny.yaml line 2", "'name' is given twice"),
        ("name: [a\n", "tiny.yaml line 2", "expected"),
        ("", "tiny.yaml", "NoneType"),
        ("- a\n", "tiny.yaml", "list"),
        ("name: !!python/object/apply:os.getcwd []\n", "tiny.yaml line 1", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_card(tmp_path, text, where, words):
    (tmp_path / "tiny.yaml").write_text(text)
    error = fault(tmp_path / "tiny.yaml")
    assert error.where.endswith(where)
    assert words in error.found


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "tiny.yaml").write_bytes(b"name: \xff\xfe\n")
    assert "UTF-8" in fault(tmp_path / "tiny.yaml").found


def test_a_missing_file(tmp_path):
    assert "no such file" in fault(tmp_path / "none.yaml").found


def test_card_and_file_have_one_name(tmp_path, values):
    error = fault(write(tmp_path, values, "other.yaml"))
    assert error.where.endswith("other.yaml: name")
    assert "'other'" in error.expected


def test_the_schema_for_editors_knows_every_key():
    schema = json.loads(json.dumps(Card.json_schema()))
    assert set(schema["properties"]) == set(Card.model_fields)
    assert {"title", "licence", "tasks", "root"} <= set(schema["required"])
    assert schema["additionalProperties"] is False


def test_the_schema_for_editors_is_the_cards_own(capsys):
    published = REGISTRY / "card.schema.json"
    assert main(["data", "schema"]) == 0
    assert capsys.readouterr().out == published.read_text(), "write it anew: foundationx data schema > that file"
    schema = json.loads(published.read_text())
    assert schema["additionalProperties"] is False and "licence" in schema["required"]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_schema_for_editors_accepts_every_card(path):
    schema = json.loads((REGISTRY / "card.schema.json").read_text())
    values = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
    jsonschema.Draft202012Validator(schema).validate(values)
    with pytest.raises(jsonschema.ValidationError, match="licens"):
        jsonschema.Draft202012Validator(schema).validate(values | {"license": "CC0"})
