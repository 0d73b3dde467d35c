"""The catalogue: a dataset is one file in a folder, and every card of the project can be opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from foundationx.core.errors import CardError
from foundationx.datasets.annotations import open_reader
from foundationx.datasets.cards.catalog import Catalog, default_folders
from tests.helpers.reader_cards import Folder, card_values

OWN = Catalog(default_folders()[:1])


@pytest.mark.parametrize("name", OWN.names())
def test_every_card_of_the_project_can_be_opened(name):
    card = OWN.card(name)
    for task in card.tasks:
        open_reader(card, task)
    assert card.parent is None or card.parent in OWN.names()


@pytest.mark.parametrize("name", OWN.names())
def test_no_card_joins_classes_into_one_word_of_the_vocabulary(name):
    """Two classes of one task must not claim to be the same thing exactly."""
    for source in OWN.card(name).tasks.values():
        exact = [item.canonical for item in source.classes if item.canonical and item.relation == "exact"]
        assert len(exact) == len(set(exact))
        assert all(re.fullmatch(r"[a-z0-9_]+", word) for word in exact)


def test_a_card_in_a_folder_is_all_a_dataset_needs(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.files("images/a.png")
    folder.write("labels.csv", "file,found\na.png,Mass\n")
    options = {"image_column": "file", "findings_column": "found"}
    values = card_values("findings_csv", ["Mass"], file="labels.csv", images="images", options=options)
    registry = tmp_path / "registry"
    registry.mkdir()
    (registry / "tiny.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(registry))
    catalog = Catalog()
    assert {"tiny", *OWN.names()} == set(catalog.names())
    assert folder.read(catalog.card("tiny")).labels.tolist() == [[1.0]]


def test_a_later_folder_wins(tmp_path):
    for position, title in (("one", "First"), ("two", "Second")):
        (tmp_path / position).mkdir()
        (tmp_path / position / "tiny.yaml").write_text(yaml.safe_dump(card_values("coco", ["A"]) | {"title": title}))
    assert Catalog([tmp_path / "one", tmp_path / "two"]).card("tiny").title == "Second"
    assert Catalog([tmp_path / "two", tmp_path / "one"]).card("tiny").title == "First"


def test_a_faulty_card_harms_nobody_who_does_not_ask_for_it(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(card_values("coco", ["A"])))
    catalog = Catalog([tmp_path])
    assert catalog.names() == ("bad", "tiny")
    assert catalog.card("tiny").title == "Tiny"
    with pytest.raises(CardError, match=r"bad\.yaml"):
        catalog.card("bad")


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(CardError, match="did you mean 'phantom_labels'"):
        OWN.card("phantom_label")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CardError, match="nowhere"):
        Catalog([Path(tmp_path / "nowhere")])
