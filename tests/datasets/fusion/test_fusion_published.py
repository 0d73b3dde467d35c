"""On the published table of Project Imaging-X: what the portal loses without a word is kept, or the reason is told."""

import csv

import pytest

from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.aliases import OTHER, dimensions_of, modalities_of, tasks_of
from foundationx.datasets.fusion.harmonise import harmonise
from foundationx.datasets.fusion.recipe import Recipe
from foundationx.datasets.fusion.select import select
from foundationx.datasets.fusion.tables import read_table

pytestmark = pytest.mark.shared
CATALOG = Catalog()
# docs/methods/mdfp.md, "3.3 What a recipe loses": what the recipe {2D, X-Ray, four tasks, 100 images, lung or chest}
# loses on the portal's data.
LOST = [
    *("RSNA Pneumonia Detection", "VinBigData Chest X-ray", "SIIM-FISABIO-RSNA COVID-19", "VinDr-CXR", "VinDr-PCXR"),
    *("SIIM-ACR Pneumothorax Seg", "CheXmask", "MedFM2023", "ChestX-Det", "COVIDGR", "RANZCR CLiP"),
]
RECIPE = Recipe.model_validate(
    {
        "name": "portal",
        "dimension": "2D",
        "modalities": ["X-Ray"],
        "task_types": ["Cls", "Seg", "Det", "Reg"],
        "min_valid_images": 100,
        "anatomy_whitelist": ["chest"],
        "unknown_policy": "keep",
    }
)


@pytest.fixture(scope="module")
def tables(shared_data):
    return [shared_data / "imagingx" / name for name in ("unified_table_readme_1151.csv", "cxr_subset.csv")]


@pytest.fixture(scope="module")
def rows(tables):
    return [record for path in tables for record in read_table(path, CATALOG.vocabulary)]


def portal(row):
    """The rules of the portal's script as docs/methods/mdfp.md, "3.1 Recipe and rules" describes them: an AND in which
    a null never passes."""
    total = row["images_portal"]
    return (
        "2d" in row["dim"].casefold()
        and "x-ray" in row["modality"].casefold()
        and bool(set(row["task"].split(", ")) & {"Cls", "Seg", "Detection", "Reg"})  # Det is another code to it
        and total != ""
        and int(total) >= 100
        and any(word in row["structure"].casefold() for word in ("lung", "chest", "thorax"))
    )


def reasons_by_name(decisions, wanted):
    return {d.record.title: d.reasons for d in decisions if d.record.title in wanted and not d.kept}


def test_the_table_alone_loses_only_what_it_calls_a_breast(rows):
    """Without any card: the row of RANZCR says "Breast" (wrong, and known to be wrong only to its card)."""
    decisions = select(harmonise([], CATALOG.vocabulary, rows), RECIPE, CATALOG.vocabulary)
    assert {one.record.title for one in decisions} >= set(LOST)
    assert reasons_by_name(decisions, LOST) == {"RANZCR CLiP": ("anatomy_whitelist: is Breast",)}


def test_the_portal_s_rules_lose_most_of_them(tables):
    """On the reviewed rows; their count column fills some totals (ChestX-Det, COVIDGR) that are null in the portal."""
    with tables[1].open(encoding="utf-8") as file:
        kept = {row["name"] for row in csv.DictReader(file) if portal(row)}
    assert set(LOST) - kept == set(LOST) - {"ChestX-Det", "COVIDGR"}


def test_with_the_cards_every_one_is_selected(rows):
    """A card whose row says "Breast" or nothing is judged by the card."""
    cards = [CATALOG.card(name) for name in CATALOG.names()]
    decisions = select(harmonise(cards, CATALOG.vocabulary, rows), RECIPE, CATALOG.vocabulary)
    positions = {row.title: position for row in rows for position in row.rows}
    for name in LOST:
        result = [one for one in decisions if one.record.title == name or positions[name] in one.record.rows]
        assert any(one.kept for one in result), (name, [one.reasons for one in result])


def test_what_nobody_knows_is_named(rows):
    decisions = select(harmonise([], CATALOG.vocabulary, rows), RECIPE, CATALOG.vocabulary)
    unknown = {one.record.title: [text.split(":")[0] for text in one.unknown] for one in decisions if one.kept}
    assert unknown["VinDr-CXR"] == ["task_types"] and unknown["MedFM2023"] == ["anatomy_whitelist"]
    assert unknown["RSNA Pneumonia Detection"] == []
    strict = RECIPE.model_copy(update={"unknown_policy": "drop"})
    dropped = reasons_by_name(select(harmonise([], CATALOG.vocabulary, rows), strict, CATALOG.vocabulary), LOST)
    assert set(dropped) == {"RANZCR CLiP", "VinDr-CXR", "VinDr-PCXR", "CheXmask", "MedFM2023"}


def test_known_errors_of_the_table_are_listed_and_not_believed(rows):
    cards = [CATALOG.card(name) for name in CATALOG.names()]
    records = {record.name: record for record in harmonise(cards, CATALOG.vocabulary, rows) if record.card}
    chexpert = records["chexpert"]
    assert any("Diabetic retinopathy" in text for text in chexpert.differences)
    assert any("BRAINMETSHARE" in text for text in chexpert.differences)
    assert "Diabetic retinopathy" not in chexpert.diseases and "BRAINMETSHARE" not in chexpert.licence
    assert any("Breast" in text for text in records["ranzcr_clip"].differences)


def test_every_spelling_of_the_table_is_understood(tables):
    """14 spellings of a dimension, 136 of a modality, 89 of a task, NA among them (docs/methods/mdfp.md,
    "1.1 Unified table")."""
    with tables[0].open(encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert len(published) == 1151
    assert all(dimensions_of(row["dim"]) for row in published)
    odd = {row["modality"] for row in published if OTHER in modalities_of(row["modality"])}
    assert odd == {"Others", "CT, MR, Others"}
    silent = {row["modality"] for row in published if not modalities_of(row["modality"])}
    assert silent == {"NA", "Multi", "Series Data"}
    odd = {row["task"] for row in published if OTHER in tasks_of(row["task"])}
    assert odd == {
        *("Recon, Est, Stereo Matching", "Rest", "Seg/Lab", "Atlas", "IQA", "Cls, Retrieval", "Seg/MGMT"),
    }
    assert {row["task"] for row in published if not tasks_of(row["task"])} == {"NA", "No", "-"}
