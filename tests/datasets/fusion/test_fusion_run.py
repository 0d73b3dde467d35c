"""From a recipe to a folder that trains: what is written, and that it holds what it promises."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError, RecipeError
from foundationx.core.types import Task
from foundationx.core.workdir import WorkDir
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.blueprint import config_text, run_values
from foundationx.datasets.fusion.fuse import fuse
from foundationx.datasets.fusion.grouping import group
from foundationx.datasets.fusion.licences import licence_report
from foundationx.datasets.fusion.recipe import Recipe, load_recipe
from foundationx.datasets.fusion.record import Record
from foundationx.datasets.fusion.write import write_fusion
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.reader_cards import card_values

ROOT = Path(__file__).resolve().parents[3]
TINY = Path(__file__).parents[3] / "tests" / "helpers" / "tiny_config.py"
RECIPES = sorted((ROOT / "configs" / "recipes").glob("*.yaml"))
# The sixteen fields of the published data-meta.jsonl in their order (docs/methods/mdfp.md, "1.3 Sixteen fields").
SIXTEEN = [
    *("dataset_name", "release_date", "homepage_url", "organization", "challenge_series", "license"),
    *("dataset_description", "modality_primary", "modality_secondary", "anatomical_structure", "disease"),
    *("data_volume", "valid_image_n", "label_presence", "task_type", "num_classes_per_task"),
]
CATALOG = Catalog()
PHANTOMS = {
    "name": "phantoms",
    "cards": {"allow": ["phantom_*"], "deny": ["phantom_all"]},
    "dimension": "2D",
    "modalities": ["X-ray"],
    "task_types": ["classification", "detection", "segmentation"],
    "anatomy_whitelist": ["chest"],
    "include_unlabelled": False,
    "unknown_policy": "keep",
    "sampling": {"order": "temperature", "temperature": 2},
    "run": {"base": [str(TINY)], "image_size": 64, "cycles": 1, "options": {"evaluate": {"every": 0}}},
}


def write_recipe(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(PHANTOMS | changes))
    return path


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 12, size=96, processes=1)
    return folder


@pytest.fixture(scope="module")
def fused(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused")
    out = folder / "out"
    arguments = ["data", "fuse", str(write_recipe(folder)), "--out", str(out), "--data-root", str(phantoms)]
    assert main([*arguments, "--allow-code"]) == 0  # its base is a file
    return out


def test_datasets_that_share_images_are_named_with_whether_their_patients_are_known(tmp_path, capsys):
    """RSNA has ChestX-ray14's patients by its table, RANZCR and SIIM have names of their own."""
    allow = ["nih_chestxray14", "rsna_pneumonia", "ranzcr_clip", "siim_acr", "jsrt"]
    recipe = tmp_path / "recipe.yaml"
    run = {"base": ["_base_/swin_tiny", "_base_/schedule", "_base_/views"], "image_size": 224, "cycles": 1}
    values = {"name": "related", "cards": {"allow": allow}, "anatomy_whitelist": ["chest", "lung"], "run": run}
    recipe.write_text(yaml.safe_dump(PHANTOMS | values))
    main(["data", "fuse", str(recipe), "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    (known,) = [line for line in lines if "share patients, by name" in line]
    (unknown,) = [line for line in lines if "name their patients differently" in line]
    assert known.startswith("nih_chestxray14, rsna_pneumonia share")
    assert unknown.startswith("nih_chestxray14, ranzcr_clip, rsna_pneumonia, siim_acr show") and "--apply" in unknown


def test_the_configuration_is_complete_in_itself(fused):
    config = load_config(fused / "config.py")
    assert [(one.card, one.tasks) for one in config.datasets] == [
        ("phantom_boxes", (Task.DETECTION,)),
        ("phantom_labels", (Task.CLASSIFICATION,)),
        ("phantom_masks", (Task.SEGMENTATION,)),
    ]
    assert (config.image_size, config.schedule.cycles, config.evaluate.every) == (64, 1, 0)
    assert (config.schedule.order, config.schedule.temperature) == ("temperature", 2.0)
    tiny = load_config(TINY)
    assert config.model == tiny.model and config.views == tiny.views and config.evaluate.examples == 2
    assert "_base_" not in (fused / "config.py").read_text()


@pytest.mark.slow
def test_what_is_written_trains_without_an_edit(fused, phantoms, tmp_path):
    arguments = ["train", str(fused / "config.py"), "--data-root", str(phantoms), "--work-dir", str(tmp_path / "run")]
    assert main(arguments) == 0
    work = WorkDir(tmp_path / "run")
    assert work.read_json("plan.json")["order"] == "temperature" and work.report.is_file()
    heads = {f"{row['dataset']}/{row['task']}" for row in work.read_log()}
    assert heads == {"phantom_labels/classification", "phantom_boxes/detection", "phantom_masks/segmentation"}


def test_every_dataset_of_the_registry_has_a_reason(fused):
    rows = rows_of(fused / "audit.csv")
    assert sorted(row["dataset"] for row in rows) == sorted(CATALOG.names())
    assert all(row["reason"] for row in rows)
    by_name = {row["dataset"]: row for row in rows}
    assert by_name["phantom_all"]["decision"] == "dropped"
    assert by_name["phantom_all"]["reason"] == "cards.deny: 'phantom_all' matches it"
    assert by_name["phantom_boxes"]["trains"] == "detection"
    assert [row["decision"] for row in rows[:3]] == ["kept"] * 3, "kept datasets come first"
    reported = json.loads((fused / "audit.json").read_text())
    assert [row["dataset"] for row in reported] == [row["dataset"] for row in rows]
    assert set(reported[0]) == set(rows[0])


def test_the_alignment_of_the_phantoms(fused):
    rows = {(row["head"], row["class"]): row for row in rows_of(fused / "alignment.csv")}
    labels, boxes = rows["phantom_labels/classification", "Nodule"], rows["phantom_boxes/detection", "Nodule"]
    assert labels["concept"] == boxes["concept"] == "nodule" and labels["shares"] == boxes["shares"] == ""
    assert "task detection" in labels["why_not"]
    reported = json.loads((fused / "alignment.json").read_text())
    heart = next(one for one in reported["concepts"] if one["concept"] == "heart")
    assert heart["unknown_for"] == ["phantom_labels/classification"] and heart["path"] == ["chest", "heart"]


def test_the_index_has_the_sixteen_fields_in_their_order(fused):
    lines = [json.loads(line) for line in (fused / "data-meta.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [SIXTEEN] * 3
    assert lines[0]["num_classes_per_task"] == {"detection": 3} and lines[0]["label_presence"] == "labeled"
    assert lines[0]["valid_image_n"] == "NA", "nobody counted after cleaning"


def test_only_what_is_there_trains(phantoms, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "phantom_boxes").symlink_to(phantoms / "phantom_boxes")
    recipe = load_recipe(write_recipe(tmp_path), CATALOG.vocabulary)
    fusion = fuse(recipe, CATALOG, data_root=tmp_path / "data")
    trains = {entry.name: (entry.tasks, entry.obstacle) for entry in fusion.entries}
    assert trains["phantom_boxes"] == ((Task.DETECTION,), "")
    assert trains["phantom_labels"][0] == () and "Data_Entry_2017_v2020.csv: missing" in trains["phantom_labels"][1]
    assert [one["card"] for one in run_values(recipe, fusion.entries, allow_code=True)["datasets"]] == ["phantom_boxes"]


def test_without_anything_to_train_the_audit_is_written_and_no_configuration(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.py").write_text("# of an earlier recipe")
    arguments = ["data", "fuse", str(write_recipe(tmp_path, modalities=["CT"], unknown_policy="drop"))]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == FAULT
    shown = capsys.readouterr()
    assert "no dataset of the selection can be trained" in shown.err and "0 of " in shown.out
    assert (tmp_path / "out" / "audit.csv").is_file() and not (tmp_path / "out" / "config.py").exists()


def test_an_exclusion_list_lies_beside_the_recipe(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, exclude="exclude.csv"), CATALOG.vocabulary)
    values = run_values(recipe, fuse(recipe, CATALOG).entries, allow_code=True)
    assert values["exclude"] == str(tmp_path / "exclude.csv")


def test_without_base_files_it_is_the_project_s_large_network(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, run={"image_size": 448}), CATALOG.vocabulary)
    (tmp_path / "config.py").write_text(config_text(run_values(recipe, fuse(recipe, CATALOG).entries), recipe))
    config, base = load_config(tmp_path / "config.py"), ROOT / "configs" / "_base_"
    assert config.image_size == 448 and config.schedule.cycles == 10
    embed_dims = config.model.backbone["embed_dims"]
    assert f"embed_dims={embed_dims}" in (base / "swin_base.py").read_text() and config.views[Task.DETECTION].geometry


def test_a_missing_base_file_is_reported(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, run={"base": ["no.py"]}), CATALOG.vocabulary)
    with pytest.raises(RecipeError, match="there is no file"):
        run_values(recipe, fuse(recipe, CATALOG).entries, allow_code=True)
    with pytest.raises(RecipeError, match="is no preset"):
        run_values(recipe, fuse(recipe, CATALOG).entries)


def test_a_wrong_option_is_reported_by_recipe_and_key(tmp_path):
    run = PHANTOMS["run"] | {"options": {"runtime": {"batchsize": 4}}}
    recipe = load_recipe(write_recipe(tmp_path, run=run), CATALOG.vocabulary)
    with pytest.raises(ConfigError, match="did you mean 'batch_size'") as caught:
        run_values(recipe, fuse(recipe, CATALOG).entries, allow_code=True)
    assert "recipe.yaml: run: runtime.batchsize" in caught.value.where


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_make_a_configuration(path, tmp_path):
    fusion = fuse(load_recipe(path, CATALOG.vocabulary), CATALOG)
    write_fusion(fusion, tmp_path)
    config = load_config(tmp_path / "config.py")
    for one in config.datasets:
        card = CATALOG.card(one.card)
        assert card.access != "generated" and set(one.tasks) <= set(card.tasks)
        assert fusion.recipe.commercial == "any" or card.licence.commercial == "yes"


def test_groups_by_hand():
    def record(name, **facts):
        return Record(name=name, title=name, **facts)

    xray = {"modalities": ("X-ray",), "label_presence": "labelled", "organisations": ("A",)}
    records = [
        record("a", **xray, tasks=("detection",), volume={"total": 100}, annotations=("box",), anatomy=("lung",)),
        record("b", **xray, tasks=("detection", "segmentation"), volume={"total": 50}, annotations=("box", "mask")),
        record("c", modalities=("X-ray", "CT"), label_presence="unlabelled", organisations=("B", "a"), storage_gb=7.5),
    ]
    groups = {(one.level, one.modality, one.task): one for one in group(records, modalities=("X-ray",))}
    summary = groups["modality", "X-ray", ""]
    assert (summary.datasets, summary.images, summary.images_unknown, summary.organisations) == (3, 150, 1, 2)
    assert (summary.tasks, summary.storage_gb, summary.anatomies) == (2, 7.5, 1)
    assert summary.labelled_share == pytest.approx(2 / 3) and summary.clash == "annotations: box / mask"
    assert groups["modality, task", "X-ray", "detection"].images == 150
    assert ("modality", "CT", "") not in groups, "the recipe does not ask for it"


def test_the_licence_report_lists_what_forbids_what():
    def record(name, licence, redistribution="yes", commercial="yes", **facts):
        return Record(
            name=name,
            title=name,
            card=name,
            licence=licence,
            redistribution=redistribution,
            commercial=commercial,
            **facts,
        )

    free = record("free", "CC BY 4.0", unverified=("licence.commercial",))
    closed = record("closed", "agreement", "no", "unknown", access="credentialed")
    report = licence_report([free], [closed])
    assert "| free | CC BY 4.0 | yes | yes, unverified | the source is named |" in report
    trains, kept = report.split("## All selected datasets")
    assert "Redistribution of all data is allowed" in trains and "Commercial use of all data is allowed" in trains
    assert "**Redistribution of all data is forbidden** by: closed." in kept
    assert "**Commercial use of all data: unknown**, since it is unknown for: closed." in kept
    assert "must sign an individual agreement for: closed" in kept
    alike = [record("a", "CC BY-SA 4.0"), record("b", "CC BY-NC-SA 4.0", commercial="no")]
    assert "different licences for one adaptation" in licence_report(alike, [])
    assert "different licences for one adaptation" not in licence_report([alike[0], record("c", "CC-BY-SA 3.0")], [])


def test_datasets_that_share_images_are_named(tmp_path, monkeypatch):
    registry = tmp_path / "registry"
    registry.mkdir()
    for name, extra in (("mother", {}), ("child", {"parent": "mother"}), ("stranger", {})):
        values = card_values("findings_csv", ["A"]) | {"name": name} | extra
        (registry / f"{name}.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(registry))
    catalog = Catalog()
    recipe = write_recipe(tmp_path, cards={"allow": ["mother", "child", "stranger"]})
    write_fusion(fuse(load_recipe(recipe, catalog.vocabulary), catalog), tmp_path, allow_code=True)
    shared = {row["dataset"]: row["shares_images_with"] for row in rows_of(tmp_path / "audit.csv")}
    assert (shared["mother"], shared["child"], shared["stranger"]) == ("child", "mother", "")


def test_every_key_of_a_recipe_is_explained():
    reported = (ROOT / "docs" / "fusion.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in reported.splitlines() if line.startswith("| `"))
    assert [key for key in Recipe.model_fields if f"`{key}`" not in rows] == []
