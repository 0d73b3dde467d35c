"""Croissant 1.0 both ways, held against mlcroissant."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.datasets.cards.card import load_card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.croissant import croissant_of, draft_of
from foundationx.datasets.drafts import draft_text

CATALOG = Catalog()


def issues_of(values: dict) -> tuple[set[str], set[str]]:
    """Errors and warnings of mlcroissant."""
    import mlcroissant
    from mlcroissant._src.core.context import Context

    try:
        metadata = mlcroissant.Metadata.from_json(Context(), values)
    except mlcroissant.ValidationError as error:
        return {str(error)}, set()
    return set(metadata.ctx.issues.errors), set(metadata.ctx.issues.warnings)


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_card_is_valid_croissant(name):
    errors, warnings = issues_of(croissant_of(CATALOG.card(name)))
    assert not errors
    assert all("is recommended, but does not exist" in warning for warning in warnings), "facts that the card lacks"


def test_the_check_itself_sees_faults():
    values = croissant_of(CATALOG.card("padchest"))
    values["recordSet"][1]["field"][0]["source"]["fileObject"] = {"@id": "nowhere"}
    errors, _ = issues_of(values)
    assert errors


def test_classes_carry_concepts_and_codes():
    values = croissant_of(CATALOG.card("padchest"))
    (classes,) = [item for item in values["recordSet"] if item["@id"] == "classification_classes"]
    rows = {row["classification_classes/name"]: row for row in classes["data"]}
    assert rows["Cardiomegaly"]["classification_classes/concept"] == "cardiomegaly"
    assert rows["Cardiomegaly"]["classification_classes/codes"].endswith("/C0018800")


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Path:
    """Phantoms in the files of a card."""
    folder = tmp_path_factory.mktemp("copies")
    assert main(["data", "phantoms", str(folder), "--card", "chestdr", "--images", "6", "--size", "64"]) in (0, None)
    return folder


def test_mlcroissant_reads_the_records_of_our_description(copies):
    import mlcroissant

    card = CATALOG.card("chestdr")
    out = copies / card.root / "croissant.json"
    words = ["data", "export", "chestdr", "--to", "croissant", "--data-root", str(copies), "--out", str(out)]
    assert main(words) in (0, None)
    values = json.loads(out.read_text())
    file = next(item for item in values["distribution"] if item["@type"] == "cr:FileObject")
    table = out.parent / file["contentUrl"]
    assert "isLiveDataset" not in values
    assert file["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    records = list(mlcroissant.Dataset(jsonld=str(out)).records("classification"))
    with table.open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(records) == len(rows) >= 6
    columns = {"image": "img_id"}
    columns |= {
        f"label_{item.name.replace(' ', '_')}": item.published[0] for item in card.tasks[Task.CLASSIFICATION].classes
    }
    for record, row in zip(records, rows, strict=True):
        for field_name, column in columns.items():
            value = record[f"classification/{field_name}"]
            if field_name == "image":
                assert value.decode() == row[column]
            else:
                assert value == (float(row[column]) if row[column] else None), "an empty cell is unknown"


def test_a_draft_of_our_own_description_says_what_the_card_says(tmp_path):
    path = tmp_path / "c.json"
    for name in ("chestdr", "covidx", "nih_chestxray14", "vindr_pcxr"):
        card = CATALOG.card(name)
        path.write_text(json.dumps(croissant_of(card)))
        draft = draft_of(path)
        assert (draft["name"], draft["title"], draft["home"]) == (card.name, card.title, card.home)
        assert draft["citation"] == card.citation and draft["notes"] == card.notes
        assert draft["survey"].get("released") == card.survey.released
        assert tuple(draft["survey"].get("organisations", ())) == card.survey.organisations
        if "LicenseRef" not in card.licence.spdx:
            assert draft["licence"]["spdx"] == card.licence.spdx


@pytest.mark.parametrize("name", ["chestdr", "nih_chestxray14", "vindr_cxr_global", "padchest", "chexpert"])
def test_a_draft_of_our_own_description_reads_the_same_columns(tmp_path, name):
    (tmp_path / "c.json").write_text(json.dumps(croissant_of(CATALOG.card(name))))
    spec, draft = CATALOG.card(name).tasks[Task.CLASSIFICATION], draft_of(tmp_path / "c.json")
    (tmp_path / f"{name}.yaml").write_text(draft_text(draft, "c.json"))
    own = load_card(tmp_path / f"{name}.yaml").tasks[Task.CLASSIFICATION]
    assert own.reader == spec.reader and own.files[0].file == spec.files[0].file.split(" | ")[0]
    keys = ("image_column", "findings_column")
    assert [own.options.get(key) for key in keys] == [spec.options.get(key) for key in keys]
    assert [item.name for item in own.classes] == [item.name for item in spec.classes]
    assert [item.published[0] for item in own.classes] == [item.published[0] for item in spec.classes]


COLUMNS = {"image_id": "sc:Text", "Age": "sc:Integer", "Effusion": "sc:Boolean", "Mass": "sc:Integer"}


def field(column: str, kind: str) -> dict:
    source = {"cr:fileObject": {"@id": "t"}, "cr:extract": {"cr:column": column}}
    return {"@id": f"town/{column}", "cr:dataType": kind, "cr:source": source}


FOREIGN = {
    "@context": {"@vocab": "https://schema.org/", "sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/"},
    "@type": "sc:Dataset",
    "name": "Chest Radiographs of Town",
    "description": {"@value": "Radiographs."},
    "dct:conformsTo": "http://mlcommons.org/croissant/1.0",
    "license": ["https://creativecommons.org/licenses/by-nc/4.0/"],
    "url": "https://example.org/radiographs",
    "creator": {"@type": "Organization", "name": "Town Hospital"},
    "datePublished": "2024-05-01T00:00:00",
    "distribution": [
        {"@type": "cr:FileObject", "@id": "t", "contentUrl": "labels/t.csv"},
        {"@type": "cr:FileSet", "@id": "f", "cr:includes": "images/part_*/*.png"},
    ],
    "cr:recordSet": [{"@type": "cr:RecordSet", "cr:field": [field(*column) for column in COLUMNS.items()]}],
}


def test_a_strangers_description_becomes_a_card_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("town.json").write_text(json.dumps(FOREIGN))
    assert main(["data", "new", "--croissant", "town.json"]) in (0, None)
    card = load_card(Path("chest_radiographs_of_town.yaml"))
    assert card.title == "Chest Radiographs of Town" and card.licence.spdx == "CC-BY-NC-4.0"
    assert card.licence.commercial == "unknown", "permissions are not guessed"
    assert card.survey.released == "2024-05-01" and card.survey.organisations == ("Town Hospital",)
    spec = card.tasks[Task.CLASSIFICATION]
    assert spec.file == "labels/t.csv" and [item.name for item in spec.classes] == ["Effusion", "Mass"]
    assert spec.images == ("images",) and spec.options == {"image_column": "image_id"} and "tasks" in card.unverified
    assert "# fill in: open, registration" in Path("chest_radiographs_of_town.yaml").read_text()
    assert main(["data", "new", "--croissant", "town.json"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "found"),
    [("{", "is not JSON"), ("[]", "describes no dataset"), ('{"@type": "sc:Person"}', "describes no dataset")],
)
def test_what_is_no_description_is_refused(tmp_path, content, found):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CardError, match=found):
        draft_of(tmp_path / "x.json")
    with pytest.raises(CardError, match="no such file"):
        draft_of(tmp_path / "y.json")


def test_a_draft_with_nothing_but_a_name_loads(tmp_path):
    (tmp_path / "bare.yaml").write_text(draft_text({"name": "bare"}, "nothing"))
    assert load_card(tmp_path / "bare.yaml").licence.spdx == "LicenseRef-not-stated"
