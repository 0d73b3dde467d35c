"""Free text becomes enumerations; a row that describes a card is joined to it, but the card is believed."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundationx.core.errors import RecipeError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.aliases import count_of, dimensions_of, modalities_of, tasks_of
from foundationx.datasets.fusion.harmonise import address_of, harmonise, merge_rows, record_of_card
from foundationx.datasets.fusion.licences import permissions_of
from foundationx.datasets.fusion.tables import read_table
from tests.helpers.reader_cards import card_values

CELL = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.text(max_size=4))
)
VOCABULARY = Catalog().vocabulary
HEADER = "section,name,url,year,dim,modality,structure,samples,label,task,diseases,access\n"
ROW = 'X-ray,Tiny,https://www.a.org/c/tiny/data,2020,2D,X-Ray,Breast,"9,125",True,Cls,Cataract,registration\n'


def make_card(**changes):
    survey = changes.pop("survey", {})
    classes = [{"name": "Mass", "canonical": "mass"}, {"name": "Heart", "canonical": "heart"}]
    values = card_values("findings_csv", classes)
    return Card.model_validate(values | {"home": "http://a.org/tiny", "survey": survey} | changes)


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "table.csv"
    path.write_text(header + "".join(rows), encoding="utf-8")
    return read_table(path, VOCABULARY)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5.9k", 5900),
        ("9,125", 9125),
        ("1.2M", 1_200_000),
        ("200+", 200),
        ("93", 93),
        ("303,001 images & 450,724 VQA entires", 303_001),
        ("NA", None),
        ("Neck", None),
        ("", None),
    ],
)
def test_counts(text, number):
    assert count_of(text) == number


def test_dimensions_modalities_and_tasks_by_hand():
    assert dimensions_of("2D/ 3D") == ("2D", "3D") and dimensions_of("2D+Video") == ("2D", "video")
    assert dimensions_of("4D") == ("3D",) and dimensions_of("2021") == () and dimensions_of("2D+Text") == ("2D",)
    assert modalities_of("CT/ X-RAY") == ("CT", "X-ray") and modalities_of("CR/ DX") == ("X-ray",)
    assert modalities_of("Histopathology (WSI)") == ("histopathology",) and modalities_of("Multi") == ()
    assert modalities_of("PET/CT, HistoPathology?") == ("PET", "CT", "histopathology")
    assert modalities_of("Sonar") == ("other",) and modalities_of("NA") == ()
    assert tasks_of("Seg/ Cls/ Loc") == ("segmentation", "classification", "localisation")
    assert tasks_of("Det") == tasks_of("Detection") == ("detection",) and tasks_of("Yes") == tasks_of("-") == ()
    assert tasks_of("Reg") == tasks_of("Registration") == ("registration",)


@pytest.mark.parametrize(
    ("licence", "redistribution", "commercial"),
    [
        ("CC BY 4.0", "yes", "yes"),
        ("CC-BY-NC-SA 4.0", "yes", "no"),
        ("CC BY 4.0, CC BY-NC 4.0", "yes", "no"),
        ("MIT licence", "yes", "yes"),
        ("CC0", "yes", "yes"),
        ("tcia", "unknown", "unknown"),
        ("Academic use", "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ],
)
def test_permissions_are_read_from_licences_that_everybody_knows(licence, redistribution, commercial):
    assert permissions_of(licence) == (redistribution, commercial)


def test_a_row_of_the_published_table(tmp_path):
    (record,) = table(tmp_path, ROW)
    assert (record.title, record.released, record.images, record.label_presence) == ("Tiny", "2020", 9125, "labelled")
    assert record.modalities == ("X-ray",) and record.tasks == ("classification",) and record.anatomy == ("Breast",)
    assert record.licence is None and record.commercial == "unknown" and record.card is None
    assert record.rows == ("table.csv row 2",)


def test_what_a_row_does_not_say_is_unknown_and_not_no(tmp_path):
    (record,) = table(tmp_path, "X-ray,Bare,,NA,NA,NA,NA,NA,,NA,NA,unknown\n")
    assert record.images is None and record.label_presence is None and record.released is None
    assert record.dimensions == record.modalities == record.tasks == record.anatomy == () and record.access is None


def test_a_comma_of_full_width_and_a_table_escape(tmp_path):
    header = "name,organisation,url,year\n"
    (record,) = table(tmp_path, 'A,"ailab\uff0cstju \\",b.org,2021\n', header=header)
    assert record.organisations == ("ailab", "stju")


def test_json_and_csv_of_one_table_agree(tmp_path):
    (of_csv,) = table(tmp_path, ROW)
    (row,) = csv.DictReader((HEADER + ROW).splitlines())
    (tmp_path / "table.json").write_text(json.dumps([row | {"label": True, "year": 2020}]))
    (of_json,) = read_table(tmp_path / "table.json", VOCABULARY)
    assert {**vars(of_json), "rows": ()} == {**vars(of_csv), "rows": ()}


def test_the_portal_s_json(tmp_path):
    portal = {
        "name": "P",
        "link": "https://p.org/x",
        "organization": "A, B",
        "license": "CC BY-NC 4.0",
        "release_date": "2019-05",
        "dimension": "2019",
        "modality": ["X-Ray", "CT"],
        "task": ["Det", "Loc"],
        "organ": None,
        "images_valid": None,
        "has_labels": False,
        "data_volume_total": None,
        "data_volume_train": 30,
        "data_volume_test": 12,
        "tumor": "NA \\",
    }
    (tmp_path / "p.json").write_text(json.dumps([portal]))
    (record,) = read_table(tmp_path / "p.json", VOCABULARY)
    assert record.images == 42, "split counts stand in for a total that is null"
    assert record.organisations == ("A", "B") and record.commercial == "no" and record.released == "2019-05"
    assert (
        record.dimensions == ()
        and record.modalities == ("X-ray", "CT")
        and record.tasks == ("detection", "localisation")
    )
    assert record.label_presence == "unlabelled" and record.diseases == ()


def test_addresses_without_what_does_not_name_the_dataset():
    assert address_of("https://www.kaggle.com/c/siim/data") == address_of("http://kaggle.com/competitions/siim/")
    assert address_of("https://physionet.org/content/x/1.0.0/") == ("physionet.org", "x")
    assert address_of("https://physionet.org/content/") is None and address_of(None) is None, "a host alone is no name"
    assert address_of("https://isic.org/landing/2016") != address_of("https://isic.org/landing/2017")
    assert address_of("https://node21.grand-challenge.org/Home") == ("node21.grand-challenge.org",)


def test_a_row_is_joined_by_address_and_not_believed_over_the_card(tmp_path):
    card = make_card(survey={"anatomy": ["chest"], "released": "2019"})
    other = "X-ray,Other name,https://a.org/competitions/tiny,2021,2D,X-Ray,Breast,100,True,Seg,Cataract,open\n"
    (record,) = harmonise([card], VOCABULARY, table(tmp_path, other))
    assert record.card == "tiny" and record.rows == ("table.csv row 2",)
    assert record.anatomy == ("chest",) and record.diseases == ("mass",) and record.tasks == ("classification",)
    assert record.released == "2019"
    assert record.filled == ("dimensions", "modalities", "volume") and record.images == 100
    assert [text.split(" is ")[0].rpartition(": ")[2] for text in record.differences] == [
        "released",
        "anatomy",
        "diseases",
        "tasks",
    ]


def test_nothing_fills_licence_anatomy_and_diseases(tmp_path):
    card = make_card(survey={})
    header = "name,url,structure,diseases,license\n"
    (record,) = harmonise([card], VOCABULARY, table(tmp_path, "tiny,,Lung,Pneumonia,CC BY 4.0\n", header=header))
    assert record.anatomy == () and record.licence == "none" and record.commercial == "unknown"
    assert record.diseases == ("mass",), "the heart is an organ, no disease"
    assert any("anatomy is lung, the card has nothing" in text for text in record.differences)


def test_a_row_that_is_about_no_card_stays_a_dataset(tmp_path):
    records = harmonise([make_card()], VOCABULARY, table(tmp_path, ROW.replace("Tiny", "Huge").replace("tiny", "huge")))
    assert [(record.name, record.card) for record in records] == [("tiny", "tiny"), ("Huge", None)]
    assert record_of_card(make_card(), VOCABULARY) == records[0]


def test_rows_of_one_dataset_in_several_sections_are_one(tmp_path):
    again = ROW.replace("X-Ray", "CT").replace('"9,125"', "10k").replace("Cls", "Seg")
    namesake = ROW.replace("a.org", "b.org")
    first, second = merge_rows(table(tmp_path, ROW, again, namesake))
    assert first.modalities == ("X-ray", "CT") and first.tasks == ("classification", "segmentation")
    assert first.images == 10_000 and first.rows == ("table.csv row 2", "table.csv row 3")
    assert second.rows == ("table.csv row 4",), "the same name at another address is another dataset"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("t.csv", "a,b\n1,2\n", "has the columns a, b"),
        ("t.json", "[{", "valid JSON"),
        ("t.json", '{"name": 1}', "not a list of objects"),
        ("missing.csv", None, "there is no such file"),
    ],
)
def test_a_table_that_cannot_be_read_is_reported(tmp_path, name, text, found):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=found):
        read_table(tmp_path / name, VOCABULARY)


@given(st.text(max_size=300))
def test_a_table_of_any_text_is_read_or_refused_in_our_words(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(HEADER + text, encoding="utf-8", errors="replace")
    assert all(record.title for record in read_table(path, VOCABULARY))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["name", "dim", "samples", "images_valid", "storage_size_gb", "year"]), CELL)
    )
)
def test_any_cells_of_a_json_table_are_read(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps([{"name": "x"}, *rows]), encoding="utf-8")
    assert read_table(path, VOCABULARY)[0].title == "x"
