"""What an editor and `data readers` tell of the readers' options is what the readers take."""

from __future__ import annotations

from typing import Annotated

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter

from foundationx.apps.cli.main import main
from foundationx.datasets.annotations import READERS
from foundationx.datasets.card_schema import card_schema, option_rows
from tests.helpers.reader_cards import card_values

VALIDATOR = jsonschema.Draft202012Validator(card_schema())


@pytest.mark.parametrize("reader", READERS.names())
def test_every_option_is_explained_with_an_example_that_the_reader_takes(reader):
    options = READERS.get(reader).Options
    rows = option_rows(reader)
    assert [row["option"] for row in rows] == list(options.model_fields)
    for row in rows:
        assert all(row[key] for key in ("meaning", "type", "default", "example")), row
        value = yaml.safe_load(row["example"].partition("  (")[0])
        field = options.model_fields[row["option"]]
        TypeAdapter(Annotated[field.annotation, field]).validate_python(value)


def errors(task="classification", **source):
    return [error.message for error in VALIDATOR.iter_errors(card_values(task=task, classes=["A"], **source))]


def test_the_schema_knows_the_options_of_each_reader():
    assert errors(reader="findings_csv", options={"image_column": "a", "findings_column": "b"}) == []
    assert "'findings_colum' was unexpected" in str(errors(reader="findings_csv", options={"findings_colum": "b"}))
    assert "'box_columns' was unexpected" in str(errors(reader="findings_csv", options={"box_columns": list("abcd")}))
    assert "is not valid under any" in str(errors(reader="bbox_csv", options={"reference_size": 7}))
    wrong = {"parts": [{"file": "a.csv", "options": {"findings_colum": "b"}}]}
    assert "'findings_colum' was unexpected" in str(errors(reader="findings_csv", **wrong))
    assert errors(reader="of_another_package", options={"anything": 1}) == []
    assert set(READERS.names()) <= set(card_schema()["$defs"]["TaskSource"]["properties"]["reader"]["anyOf"][0]["enum"])


def test_data_readers_prints_readers_and_options(capsys):
    assert main(["data", "readers"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in READERS.names())
    assert main(["data", "readers", "bbox_csv"]) == 0
    printed = capsys.readouterr().out
    assert "box_layout" in printed and "reference_size" in printed and "[1024, 1024]" in printed
    assert main(["data", "readers", "bbox_cvs"]) == 2
    assert "did you mean 'bbox_csv'?" in capsys.readouterr().err
