"""The discovery portal: what it knows, that nothing in a card can break it, and what its script does with it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.fusion.portal import portal_facts, portal_page
from foundationx.datasets.fusion.recipe import load_recipe
from tests.helpers.reader_cards import card_values

NODE = shutil.which("node")
STUB = """
const parts = {};
const part = (id) => (parts[id] ||= {innerHTML: "", handlers: {}, hidden: false, value: "", textContent: "",
  addEventListener(kind, act) { this.handlers[kind] = act; }, setAttribute() {}, showModal() {}, close() {}});
globalThis.document = {getElementById: part};
"""


def facts_in(page: str) -> dict:
    return json.loads(re.search(r"const FACTS = (.*);\n</script>", page).group(1))


def run_script(page: str, then: str) -> object:
    """What the page's own script answers to the expression ``then``, on a page that is only remembered."""
    scripts = re.findall(r"<script>\n(.*?)</script>", page, flags=re.DOTALL)
    program = STUB + "\n".join(scripts) + f"\nconsole.log(JSON.stringify({then}));"
    done = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
        values |= {"title": f"</script><b>{changes['name']} & \u2028", "access": "open"}
        (tmp_path / f"{changes['name']}.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return Catalog([tmp_path])


def test_every_public_card_is_there_with_its_classes(catalog, page):
    shown = {dataset["card"]: dataset for dataset in facts_in(page)["datasets"]}
    cards = [catalog.card(name) for name in catalog.names()]
    assert set(shown) == {card.name for card in cards if card.access != "generated"}
    for card in cards:
        if card.access != "generated":
            names = [spec.name for source in card.tasks.values() for spec in source.classes]
            assert [each["name"] for each in shown[card.name]["classes"]] == names
            assert shown[card.name]["commercial"] == {"unknown": None}.get(
                card.licence.commercial, card.licence.commercial
            )


def test_the_page_loads_nothing(page):
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", page)
    assert "fetch(" not in page and "XMLHttpRequest" not in page


def test_a_title_cannot_end_the_script(two_cards):
    page = portal_page(two_cards)
    assert page.count("</script>") == 2  # the facts and the program
    assert {dataset["title"][:12] for dataset in facts_in(page)["datasets"]} == {"</script><b>"}
    assert "\u2028" not in page  # ends a line in older scripts


def test_datasets_of_public_tables_stand_beside_the_cards(two_cards, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(
        "section,name,url,year,dim,modality,samples,task\nX-ray,Else,https://b.org/x,2020,2D,X-Ray,50,Cls\n"
    )
    shown = {dataset["name"]: dataset for dataset in portal_facts(two_cards, [table])["datasets"]}
    assert set(shown) == {"spoken", "silent", "Else"}
    assert (shown["Else"]["card"], shown["Else"]["year"], shown["Else"]["images"]) == (None, 2020, 50)


@pytest.mark.skipif(NODE is None, reason="the page's script is run by node, which is not on this machine")
def test_a_filter_keeps_what_is_not_known_by_default(two_cards):
    page = portal_page(two_cards)
    names = "visible().map((d) => d.name).sort()"
    asked = 'state.filters["commercial use"] = new Set(["yes"])'
    assert run_script(page, f"({asked}, {names})") == ["silent", "spoken"]
    assert run_script(page, f"({asked}, state.keepUnknown = false, {names})") == ["spoken"]
    assert (
        run_script(page, f'(state.filters["commercial use"] = new Set(["no"]), state.keepUnknown = false, {names})')
        == []
    )


@pytest.mark.skipif(NODE is None, reason="the page's script is run by node, which is not on this machine")
@pytest.mark.parametrize(
    ("text", "found"), [("", 2), ("covid", 2), ("pneumonia", 2), ("pneumonia spoken", 1), ("pneumothorax", 0)]
)
def test_the_search_knows_wider_concepts(two_cards, text, found):
    assert run_script(portal_page(two_cards), f"(state.search = {json.dumps(text)}, visible().length)") == found


@pytest.mark.skipif(NODE is None, reason="the page's script is run by node, which is not on this machine")
def test_what_the_page_draws_is_escaped(two_cards):
    drawn = run_script(portal_page(two_cards), '(state.open.add("spoken"), draw(), parts.sets.innerHTML)')
    assert "&lt;/script&gt;&lt;b&gt;spoken &amp;" in drawn
    assert "<b>spoken" not in drawn


@pytest.mark.skipif(NODE is None, reason="the page's script is run by node, which is not on this machine")
def test_the_recipe_of_what_was_chosen_is_a_recipe(page, catalog, tmp_path):
    chosen = ["nih_chestxray14", "rsna_pneumonia"]
    text = run_script(page, f"({json.dumps(chosen)}.forEach((name) => state.chosen.add(name)), recipe())")
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert sorted(load_recipe(path, catalog.vocabulary).cards.allow) == chosen


def test_the_command_writes_the_page_or_reports_why_not(tmp_path, capsys):
    assert main(["data", "portal", "--out", str(tmp_path / "deep" / "portal.html")]) == 0
    assert facts_in((tmp_path / "deep" / "portal.html").read_text(encoding="utf-8"))["datasets"]
    assert main(["data", "portal", "--out", str(tmp_path)]) != 0
    assert str(Path(tmp_path)) in capsys.readouterr().err
