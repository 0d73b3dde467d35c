"""The catalogue: a dataset is one file in a folder, and every card of the project can be opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError
from foundationx.datasets.annotations import open_reader
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.fusion.fuse import fuse
from foundationx.datasets.fusion.recipe import Recipe
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


BROKEN = {
    "no YAML": "name: [",
    "a key twice": "name: broken\nname: broken\n",
    "no card": "- 1\n",
    "a key that no card has": yaml.safe_dump(card_values("coco", ["A"]) | {"name": "broken", "raeder": 1}),
    "another name": yaml.safe_dump(card_values("coco", ["A"])),
    "an unknown concept": yaml.safe_dump(
        card_values("coco", [{"name": "A", "canonical": "pneumonja"}]) | {"name": "broken"}
    ),
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_card_is_named_and_passed_over_by_every_command_over_the_registry(
    content, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(card_values("coco", ["A"]) | {"access": "open"}))
    monkeypatch.delenv("FOUNDATIONX_REGISTRY", raising=False)
    registry = ["--registry", str(tmp_path)]
    commands = {
        "list": ["data", "list", *registry],
        "portal": ["portal", "--out", str(tmp_path / "p.html"), *registry],
        "fuse": ["data", "fuse", "recipes/commercial_use", "--out", str(tmp_path / "fused"), *registry],
    }
    for name, command in commands.items():
        monkeypatch.setenv("FOUNDATIONX_REGISTRY", "")
        assert main(command) == 0, name
        printed = capsys.readouterr()
        assert "passed over: card broken" in printed.err and "broken.yml" in printed.err
        if name == "list":
            assert "tiny" in printed.out and "vindr_cxr" in printed.out
    assert "Tiny" in (tmp_path / "p.html").read_text()
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", "")
    assert main(["data", "show", "broken", *registry]) == 2  # what needs the card fails by its name
    assert "broken.yml" in capsys.readouterr().err


def test_a_broken_vocabulary_is_passed_over_too(tmp_path):
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "own.yaml").write_text("thing: {title: Thing, kind: nonsense}\n")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(card_values("coco", ["A"])))
    catalog = Catalog([*default_folders()[:1], tmp_path])
    assert "tiny" in catalog.valid() and "vindr_cxr" in catalog.valid()
    (error,) = catalog.faults().values()
    assert "own.yaml" in str(error) and "thing" in str(error)


def test_a_private_card_joins_a_recipe_only_if_it_is_named(tmp_path):
    values = card_values("coco", ["A"], file="a.json") | {"access": "private"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "public.yaml").write_text(yaml.safe_dump(values | {"name": "public", "access": "open"}))
    catalog = Catalog([tmp_path])

    def kept(**cards):
        recipe = Recipe.model_validate({"name": "r", "cards": cards})
        return {decision.record.name for decision in fuse(recipe, catalog).decisions if decision.kept}

    assert kept() == kept(allow=["*"]) == {"public"}
    assert kept(allow=["*", "tiny"]) == {"public", "tiny"}
