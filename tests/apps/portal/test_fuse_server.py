"""Fusion through the server: the same decisions and, byte for byte, the same files as the command."""

import json

import pytest
import yaml
from starlette.testclient import TestClient

from foundationx.apps.cli.main import main
from foundationx.apps.portal.machine import Machine, preset_for
from foundationx.apps.portal.place import Place
from foundationx.apps.portal.server import create_app, hosts_of
from foundationx.core.resources import base_configs
from foundationx.phantoms.copy import write_copies
from tests.helpers.tiny_recipe import tiny_recipe

TOKEN = "a-token-of-twenty-letters"

TABLE = """name,link,modality,dimension,task,organ,data_volume_total,license
Other Set,https://example.org,X-ray,2D,Cls,lung,500,CC BY 4.0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuse")
    from foundationx.datasets.cards.catalog import Catalog

    write_copies(folder / "data", ["shenzhen"], Catalog(), images=6, size=64, seed=0)
    return Place(folder / "data", folder / "work")


@pytest.fixture(scope="module")
def client(place):
    app = create_app(place, hosts_of("127.0.0.1", 8766), TOKEN)
    client = TestClient(app, base_url="http://127.0.0.1:8766")
    client.get("/", params={"token": TOKEN})
    return client


RECIPES = {
    "chosen": tiny_recipe("chosen", "shenzhen", "montgomery"),
    "filtered": {"name": "filtered", "commercial": "required", "min_valid_images": 1000, "unknown_policy": "drop"},
    "odd": tiny_recipe("odd", "shenzhen") | {"sampling": {"order": "temperature", "temperature": 2}},
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_files_are_those_of_the_command(client, place, name, tmp_path, capsys):
    answer = client.post("/api/fuse", json={"recipe": RECIPES[name]}).json()
    folder = place.fusion_folder(name)
    assert (
        answer["command"] == f"foundationx data fuse {folder}/recipe.yaml --out {folder} --data-root {place.data_root}"
    )
    code = main(
        ["data", "fuse", str(folder / "recipe.yaml"), "--out", str(tmp_path), "--data-root", str(place.data_root)]
    )
    assert (code == 0) == answer["ready"] == (answer["fault"] is None)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    mine = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "recipe.yaml"}
    assert mine == written
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == RECIPES[name]
    assert sorted(answer["files"]) == sorted([*written, "recipe.yaml"])
    for file in answer["files"]:
        assert client.get(f"/api/fusions/{name}/files/{file}").content == (folder / file).read_bytes()


def test_every_dropped_dataset_has_its_reason_before_and_after(client, place):
    before = client.post("/api/fuse/preview", json={"recipe": RECIPES["filtered"]}).json()
    after = client.post("/api/fuse", json={"recipe": RECIPES["filtered"]}).json()
    reasons = {row["dataset"]: row["why"] for row in before["dropped"]}
    assert {row["dataset"]: row["why"] for row in after["dropped"]} == reasons
    assert reasons["montgomery"].startswith("min_valid_images: ") or "commercial" in reasons["montgomery"]
    audit = json.loads((place.fusion_folder("filtered") / "audit.json").read_text())
    assert reasons == {row["dataset"]: row["reason"] for row in audit if row["decision"] == "dropped"}
    assert len(before["kept"]) + len(before["dropped"]) == len(audit) and before["not_chosen"] == 0


def test_sets_that_nobody_chose_are_counted_only(client):
    found = client.post("/api/fuse/preview", json={"recipe": RECIPES["chosen"]}).json()
    assert [row["dataset"] for row in found["kept"]] == ["montgomery", "shenzhen"]
    assert found["dropped"] == [] and found["not_chosen"] > 30
    trains = {row["dataset"]: row["trains"] for row in found["kept"]}
    assert trains == {"montgomery": None, "shenzhen": "classification"}
    obstacle = next(row["obstacle"] for row in found["kept"] if row["dataset"] == "montgomery")
    assert "missing" in obstacle


def test_a_preview_writes_nothing(client, place):
    before = sorted(place.own.rglob("*"))
    assert client.post("/api/fuse/preview", json={"recipe": tiny_recipe("unseen", "shenzhen")}).status_code == 200
    assert sorted(place.own.rglob("*")) == before


WRONG = {
    "a name that is no folder": {"name": "../x"},
    "an unknown key": {"name": "x", "nothing": 1},
    "an unknown dataset": {"name": "x", "cards": {"allow": ["no_such_set"]}},
    "a file": {"name": "x", "exclude": "/etc/passwd"},
    "a network of code": {"name": "x", "cards": {"allow": ["shenzhen"]}, "run": {"base": ["/tmp/evil.py"]}},
    "a path in the options": {
        "name": "x",
        "cards": {"allow": ["shenzhen"]},
        "run": {"options": {"model": {"init": "/x"}}},
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipes_are_explained_and_make_no_configuration(client, place, case):
    answer = client.post("/api/fuse", json={"recipe": WRONG[case]})
    text = answer.json()
    fault = text.get("fault") or text.get("error")
    assert fault["found"] and (fault["expected"] or fault["fix"])
    assert answer.status_code == 400 or text["ready"] is False
    assert not (place.fusion_folder("x") / "config.py").exists()


def test_tables_take_part(place, tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    app = create_app(
        Place(place.data_root, tmp_path / "work", (tmp_path / "table.csv",)), hosts_of("127.0.0.1", 8766), TOKEN
    )
    client = TestClient(app, base_url="http://127.0.0.1:8766")
    client.get("/", params={"token": TOKEN})
    found = client.post("/api/fuse/preview", json={"recipe": {"name": "t", "modalities": ["X-ray"]}}).json()
    assert "Other Set" in {row["title"] for row in found["kept"]}
    assert client.post("/api/fuse", json={"recipe": {"name": "t"}}).json()["command"].endswith("table.csv")


def test_the_proposed_network_follows_the_machine():
    def proposed(*gigabytes):
        return preset_for(Machine(8, tuple((f"GPU {size}", round(size * 1e9)) for size in gigabytes)))

    assert proposed().base == "_base_/swin_nano" and "no GPU" in proposed().why
    assert proposed(4).base == "_base_/swin_nano" and "4 GB" in proposed(4).why
    assert proposed(12).base == "_base_/swin_tiny"
    assert proposed(80).base == "_base_/swin_base"
    assert proposed(80, 12).base == "_base_/swin_tiny"  # each process has one GPU: the smallest decides
    assert {proposed(*sizes).base for sizes in ((), (4,), (12,), (80,))} <= set(base_configs())


def test_the_machine_is_described(client):
    found = client.get("/api/machine").json()
    assert found["cores"] >= 1 and found["base"] in found["presets"] and found["why"]


def test_samples_are_small_pictures_of_the_data_root(client):
    assert client.get("/api/disk").json()["cards"].count("shenzhen") == 1
    found = client.get("/api/samples/shenzhen").json()
    assert len(found["images"]) == 6 and found["why"] == ""
    for image in found["images"]:
        content = client.get(image["url"])
        assert content.headers["content-type"] == "image/png" and content.content[:8] == b"\x89PNG\r\n\x1a\n"
        assert ("Tuberculosis" in image["labels"]) == image["name"].endswith("_1.png")
    assert client.get("/api/samples/shenzhen/6.png").status_code == 404
    absent = client.get("/api/samples/montgomery").json()
    assert absent["images"] == [] and "is not in" in absent["why"]
    assert client.get("/api/samples/no_such_set").status_code == 400


def test_large_tables_are_not_read_for_samples(client, monkeypatch, place):
    from foundationx.apps.portal import api_samples
    from foundationx.core.errors import DataError
    from foundationx.datasets.cards.catalog import Catalog

    monkeypatch.setattr(api_samples, "MOST_IMAGE", 10)
    path = next((place.data_root / "shenzhen").rglob("*.png"))
    with pytest.raises(DataError, match="more than 10 bytes"):
        api_samples.small_png(path)
    card = next(
        card
        for card in Catalog().valid().values()
        if any(part.file for task in card.tasks.values() for part in task.files)
    )
    monkeypatch.setattr(api_samples, "MOST_TABLES", -1)
    (place.data_root / card.root).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match="are read for samples"):
        api_samples.samples_of(card, place.data_root)
