"""The page in a real browser: finding datasets, with an independent count over the cards as the second source."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from foundationx.apps.portal.page import portal_page
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.fusion.recipe import load_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def catalog():
    return Catalog(default_folders()[:1])


@pytest.fixture(scope="module")
def home(catalog, tmp_path_factory):
    path = tmp_path_factory.mktemp("portal") / "portal.html"
    path.write_text(portal_page(catalog), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def cards(catalog):
    return [card for card in catalog.valid().values() if card.access != "generated"]


def found(page) -> int:
    """Number of datasets found, as the page says it."""
    return int(re.match(r"([\d,]+) of", page.inner_text("#summary")).group(1).replace(",", ""))


def listed(page) -> list[str]:
    """Cards in the table, in its order."""
    hrefs = [link.get_attribute("href") for link in page.query_selector_all(".sets td.title a")]
    return [parse_qs(urlsplit(href).query)["name"][0] for href in hrefs]


def everything(window, query) -> list[str]:
    """Cards of all pages of the list."""
    page = window.open(query)
    cards = listed(page)
    while link := page.query_selector(".pager [aria-current] + a"):
        link.click()
        cards += listed(page)
    return cards


FILTERS = {
    "task=detection": lambda card: "detection" in card.tasks,
    "task=detection&task=segmentation": lambda card: {"detection", "segmentation"} & set(card.tasks),
    "task=detection&task=segmentation&every=task": lambda card: {"detection", "segmentation"} <= set(card.tasks),
    "access=open": lambda card: card.access == "open",
    "commercial=yes": lambda card: card.licence.commercial in ("yes", "unknown"),
    "commercial=yes&unknown=drop": lambda card: card.licence.commercial == "yes",
    "commercial=unknown&unknown=drop": lambda card: card.licence.commercial == "unknown",
    "licence=CC BY 4.0": lambda card: card.licence.name == "CC BY 4.0",
    "reader=coco": lambda card: "coco" in [source.reader for source in card.tasks.values()],
    "access=open&task=classification": lambda card: card.access == "open" and "classification" in card.tasks,
    "min_year=2021&unknown=drop": lambda card: card.survey.released and int(card.survey.released[:4]) >= 2021,
    "min_year=2021": lambda card: not card.survey.released or int(card.survey.released[:4]) >= 2021,
}


def test_filters_find_what_the_cards_say(visit, home, cards):
    window = visit(home)
    for query, passes in FILTERS.items():
        shown = everything(window, query)
        expected = {card.name for card in cards if passes(card)}
        assert 0 < len(expected) < len(cards), query
        assert found(window.page) == len(shown) == len(set(shown)) and set(shown) == expected, query


def test_the_counts_beside_values_are_what_a_click_leaves(visit, home, cards):
    page = visit(home).open("access=open")
    counts = {}
    for row in page.query_selector_all('.facet:has([data-key="facet task"]) .value'):
        counts[row.query_selector(".name").inner_text()] = int(row.query_selector(".number").inner_text())
    expected = {}
    for card in cards:
        for task in card.tasks if card.access == "open" else ():
            expected[task.value] = expected.get(task.value, 0) + 1
    assert counts == expected
    page.click('[data-key="value task detection"]')
    assert found(page) == expected["detection"]


def test_a_broader_word_finds_narrower_concepts_and_a_short_word_only_itself(visit, home, catalog, cards):
    window = visit(home)
    page = window.open("q=lung disease")
    vocabulary = catalog.vocabulary
    broad = vocabulary.find("lung disease")
    concepts = {
        card.name: {spec.canonical for source in card.tasks.values() for spec in source.classes} - {None}
        for card in cards
    }
    within = {name for name, own in concepts.items() if any(vocabulary.within(each, broad) for each in own)}
    assert broad and within and found(page) >= len(within)
    assert within <= set(everything(window, "q=lung disease"))
    texts = {"PA": 0, "CC-BY-4.0": sum("CC BY 4.0" in card.licence.name for card in cards), "kaggle": None}
    for word, number in texts.items():
        page = window.open(f"q={word}")
        if number is None:
            on_kaggle = [card.name for card in cards if "kaggle" in (card.home or "")]
            assert set(on_kaggle) <= set(everything(window, f"q={word}"))
        elif number:
            assert found(page) == number
        else:
            assert "padchest" not in everything(window, f"q={word}")


def test_a_word_without_a_hit_suggests_near_ones_and_spellings_of_both_sides_of_the_ocean_are_one(visit, home):
    page = visit(home).open()
    for word, near in (("pnuemonia", "pneumonia"), ("segmentatoin", "segmentation")):
        page.fill("#search", word)
        assert found(page) == 0
        page.click(f'#hints a:has-text("{near}")')
        assert page.input_value("#search") == near and found(page) > 0
    page.fill("#search", "oedema")
    british = listed(page)
    page.fill("#search", "edema")
    assert british and listed(page) == british


def test_every_choice_is_in_the_address_and_survives_reload_copy_and_back(visit, home):
    first = visit(home)
    page = first.open()
    page.fill("#search", "chest")
    page.click('[data-key="value task classification"]')
    page.click('[data-key="facet licence"]')
    page.fill('[data-key="in licence"]', "cc")
    page.click('[data-key="sort title"]')
    page.click('[data-key="pick nih_chestxray14"]')
    page.click('[data-key="keep"]')
    view = page.inner_text("body")
    address = page.url
    page.reload()
    page.wait_for_selector("main h1")
    assert page.inner_text("body") == view
    copied = visit(home).open(urlsplit(address).query)
    assert copied.inner_text("body") == view
    assert copied.input_value("#search") == "chest" and copied.input_value('[data-key="in licence"]') == "cc"
    page.click('[data-key="open nih_chestxray14"]')
    assert page.inner_text("h1") == "NIH ChestX-ray14"
    page.go_back()
    assert page.inner_text("body") == view
    page.go_back()
    assert page.is_checked('[data-key="keep"]') and page.is_visible("#basket")
    page.go_back()
    assert page.is_hidden("#basket")
    page.go_forward()
    page.click("text=clear all")
    assert found(page) == found(visit(home).open())


def test_the_order_puts_unknown_last_in_both_directions(visit, home, cards):
    counts = {card.name: card.expected for card in cards}
    images = {name: n.valid_images or n.images or sum(n.splits.values()) or None for name, n in counts.items()}
    known = [n for n in images.values() if n is not None]
    window = visit(home)
    for query, down in (("sort=images&unknown=drop", True), ("sort=images&dir=up", False)):
        shown = [images[name] for name in everything(window, query)]
        assert shown[: len(known)] == sorted(known, reverse=down)[: len(shown)]


def test_a_total_counts_a_film_once(visit, home):
    alone = visit(home).open("view=compare&pick=nih_chestxray14&pick=rsna_pneumonia&pick=siim_acr")
    assert "at least 112,120 images (2 datasets with films or patients of a larger one are not added)" in (
        alone.inner_text("main")
    )


def test_files_of_what_is_chosen(visit, home, catalog, tmp_path):
    chosen = ["nih_chestxray14", "rsna_pneumonia"]
    page = visit(home).open("&".join(f"pick={name}" for name in chosen))
    for key, name in (("recipe", "recipe.yaml"), ("config", "datasets.py"), ("csv", "datasets.csv")):
        with page.expect_download() as download:
            page.click(f'[data-key="chosen {key}"]')
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert sorted(load_recipe(tmp_path / "recipe.yaml", catalog.vocabulary).cards.allow) == chosen
    values = {}
    exec((tmp_path / "datasets.py").read_text(), values)
    assert [(each["card"], set(each["tasks"])) for each in values["datasets"]] == [
        (name, {task.value for task in catalog.card(name).tasks}) for name in chosen
    ]
    rows = (tmp_path / "datasets.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("name,title,card")
    with page.expect_download() as download:
        page.click('[data-key="json"]')
    download.value.save_as(tmp_path / "all.json")
    assert len(json.loads((tmp_path / "all.json").read_text())) == found(page)


def test_what_shares_films_is_said_before_it_is_used(visit, home):
    page = visit(home).open("pick=rsna_pneumonia&pick=siim_acr&notes=open")
    notes = page.inner_text("#basket .notes")
    assert "RSNA Pneumonia Detection Challenge and SIIM-ACR" in notes and "the same films" in notes


def test_with_a_server_the_page_knows_the_disk_and_shows_sample_images(visit, catalog):
    window = visit("http://127.0.0.1:9/")
    answers = {
        "/": ("text/html", portal_page(catalog, server=True)),
        "/api/disk": ("application/json", json.dumps({"cards": ["jsrt", "kermany"]})),
        "/api/samples/jsrt": ("application/json", json.dumps({"images": SAMPLES, "why": ""})),
        "/api/samples/kermany": ("application/json", json.dumps({"images": [], "why": "no annotation file"})),
        "/film.svg": ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
    }

    def answer(route):
        kind, body = answers[urlsplit(route.request.url).path]
        route.fulfill(content_type=kind, body=body)

    window.context.route("**/*", answer)
    page = window.open("disk=here")
    page.wait_for_selector('[data-key="value disk here"]')
    assert sorted(listed(page)) == ["jsrt", "kermany"]
    page.click('[data-key="open jsrt"]')
    film = page.wait_for_selector(".films img")
    assert "Nodule" in film.get_attribute("alt") and "on your disk" in page.inner_text("main")
    page = window.open("view=dataset&name=kermany")
    page.wait_for_selector("text=no annotation file")


SAMPLES = [{"url": "/film.svg", "name": "a.png", "labels": ["Nodule"]}]
