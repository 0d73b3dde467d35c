"""What the portal's page knows of cards and tables, and that nothing in a card can break it."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.apps.portal.facts import portal_facts, relatives_of
from foundationx.apps.portal.page import portal_page, script_names
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.relations import share_images
from tests.helpers.reader_cards import card_values

PARTS = ("facts", "details")
HEADER = "section,name,url,year,dim,modality,samples,task,diseases,label\n"


def facts_in(page: str) -> dict:
    """The facts of the page, with the details of the datasets and the values that it leaves out."""
    parts = [
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL) for name in PARTS
    ]
    facts, details = (json.loads(part.group(1)) for part in parts)
    facts["datasets"] = [facts["usual"] | each | more for each, more in zip(facts["datasets"], details, strict=True)]
    return facts


def classes_in(facts: dict, dataset: dict) -> list[list]:
    """The classes of a dataset with words for their numbers and the values that the page leaves out."""
    rows = [row + [None] * (4 - len(row)) for row in dataset["classes"]]
    words = [[facts["words"][at] if at is not None else None for at in (row[0], row[1], row[2])] for row in rows]
    ends = [["exact", "presence"][: 6 - len(row)] if len(row) == 4 else row[4:] for row in rows]
    ends = [[facts["words"][at] if isinstance(at, int) else at for at in end] for end in ends]
    return [
        [*word, row[3], *end, *["exact", "presence"][len(end) :]]
        for word, row, end in zip(words, rows, ends, strict=True)
    ]


@pytest.fixture(scope="module")
def catalog():
    return Catalog(default_folders()[:1])


@pytest.fixture(scope="module")
def page(catalog):
    return portal_page(catalog)


@pytest.fixture
def two_cards(tmp_path):
    """One card that says what may be done with it, and one that does not."""
    spoken = {"name": "spoken", "licence": {"name": "CC BY 4.0", "redistribution": "yes", "commercial": "yes"}}
    silent = {"name": "silent", "licence": {"name": "none", "redistribution": "unknown", "commercial": "unknown"}}
    for changes in (spoken, silent):
        values = card_values("findings_csv", [{"name": "COVID", "canonical": "covid_19"}]) | changes
        values |= {"title": f"</script><b>{changes['name']} & \u2028 /*FACTS*/ /*DETAILS*/", "access": "open"}
        values |= {"home": f"https://example.org/{changes['name']}"}
        (tmp_path / f"{changes['name']}.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return Catalog([tmp_path])


def test_every_public_card_is_there_with_its_classes_and_counts(catalog, page):
    all_facts = facts_in(page)
    shown = {dataset["card"]: dataset for dataset in all_facts["datasets"]}
    cards = [card for card in map(catalog.card, catalog.names()) if card.access != "generated"]
    assert set(shown) == {card.name for card in cards}
    for card in cards:
        facts = shown[card.name]
        assert classes_in(all_facts, facts) == [
            [task, spec.name, spec.canonical, source.expected.positives.get(spec.name), spec.relation, spec.polarity]
            for task, source in card.tasks.items()
            for spec in source.classes
        ]
        assert facts["commercial"] == {"unknown": None}.get(card.licence.commercial, card.licence.commercial)
        assert facts["evidence"] == card.evidence


def test_the_page_loads_nothing_and_allows_its_own_script_only(page):
    assert not re.findall(r"<(?:script|img|iframe)[^>]*src=", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "unsafe" not in policy and "connect-src 'none'" in policy
    assert "innerHTML" not in page and "eval(" not in page


def test_a_title_cannot_end_the_script_nor_stand_for_a_placeholder(two_cards):
    page = portal_page(two_cards)
    assert page.count("</script>") == 3  # facts, program, details
    assert {dataset["title"][:12] for dataset in facts_in(page)["datasets"]} == {"</script><b>"}
    assert all("/*FACTS*/ /*DETAILS*/" in dataset["title"] for dataset in facts_in(page)["datasets"])


def test_scripts_run_in_a_fixed_order():
    assert script_names()[:2] == ["core.js", "index.js"]
    assert script_names()[2:] == sorted(script_names()[2:])


def test_relatives_are_those_that_training_knows(catalog):
    cards = [card for card in catalog.valid().values() if card.access != "generated"]
    relatives = relatives_of(cards)
    for one, other in combinations(cards, 2):
        assert (other.name in [each["name"] for each in relatives[one.name]]) == share_images(one, other)
    what = {each["name"]: each["what"] for each in relatives["rsna_pneumonia"]}
    assert what["nih_chestxray14"] == what["siim_acr"] == "films"


def test_rows_of_tables_stand_beside_the_cards_with_their_errors(two_cards, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        HEADER
        + "X-ray,spoken,https://example.org/spoken,2020,2D,X-Ray,50,Cls,Diabetic retinopathy,True\n"
        + "X-ray,Else,https://example.org/else,2020,2D,X-Ray,70,Cls,COVID-19,False\n"
    )
    shown = {dataset["name"]: dataset for dataset in portal_facts(two_cards, [table])["datasets"]}
    assert set(shown) == {"spoken", "silent", "Else"}
    assert (shown["Else"]["card"], shown["Else"]["year"], shown["Else"]["images"]) == (None, 2020, 70)
    [row] = shown["spoken"]["table_rows"]
    assert row["cards"] == ["spoken"] and "diseases" in [error["field"] for error in row["errors"]]
    assert [error["field"] for error in shown["Else"]["table_rows"][0]["errors"]] == ["label_presence"]
    assert shown["silent"]["table_rows"] == []


def test_a_count_of_a_collection_is_not_the_count_of_a_card(tmp_path):
    for name in ("one", "two"):
        values = card_values("coco", ["A"]) | {"name": name, "access": "open", "home": "https://example.org/all"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    table = tmp_path / "table.csv"
    table.write_text(HEADER + "X-ray,All,https://example.org/all,2020,2D,X-Ray,900,Seg,,True\n")
    for dataset in portal_facts(Catalog([tmp_path]), [table])["datasets"]:
        assert (dataset["images"], dataset["collection_images"]) == (None, 900)
        assert dataset["table_rows"][0]["cards"] == ["one", "two"]


def test_the_command_writes_the_page_or_reports_why_not(tmp_path, capsys):
    assert main(["portal", "--out", str(tmp_path / "deep" / "portal.html")]) == 0
    assert facts_in((tmp_path / "deep" / "portal.html").read_text(encoding="utf-8"))["datasets"]
    assert main(["portal", "--out", str(tmp_path)]) != 0
    assert str(Path(tmp_path)) in capsys.readouterr().err
