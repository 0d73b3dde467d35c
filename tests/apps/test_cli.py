"""The commands as a user runs them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open

from foundationx.apps.cli.main import FAULT, build_parser, main
from foundationx.core.config.load import load_config
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.drawing import LEAST_SIDE

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_datasets(folder, 12, size=96, processes=1)
    return folder


@pytest.fixture(scope="module")
def trained(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    arguments = ["train", str(TINY), "--data-root", str(phantoms), "--work-dir", str(folder)]
    assert main([*arguments, "--cfg-options", "schedule.cycles=1", "evaluate.every=0"]) == 0
    return folder


def test_every_command_has_a_file_and_help(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    for path in (ROOT / "foundationx" / "apps" / "cli").glob("command_*.py"):
        assert path.stem.removeprefix("command_") in shown


def test_a_fault_of_the_user_ends_without_a_stack_trace(tmp_path):
    command = [
        sys.executable,
        "-m",
        "foundationx.apps.cli.main",
        "train",
        str(TINY),
        "--data-root",
        str(tmp_path / "no"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == FAULT
    assert "there is no such folder" in ended.stderr and "--data-root" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_plan_prints_every_phase_of_a_cycle_and_trains_nothing(phantoms, capsys):
    assert main(["plan", str(TINY), "--data-root", str(phantoms)]) == 0
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if "│" in line and "phantom_boxes/detection" in line]
    assert [name for line in rows for name in ("lock", "release") if f" {name} " in line] == ["lock", "release"]
    assert "backbone, neck, encoder, head" in shown and "cycle 1 of 2" in shown
    summary = shown[shown.index("the whole run: 3 heads of 3 datasets") :].splitlines()
    cells = {row[0]: row[1:] for row in ([c.strip() for c in line.split("│")[1:-1]] for line in summary) if row}
    steps = {task: int(cells[task][3].replace(",", "")) for task in ("classification", "detection", "segmentation")}
    assert steps["detection"] == 2 * sum(int(line.split("│")[5].replace(",", "")) for line in rows)
    assert int(cells["all"][3].replace(",", "")) == sum(steps.values())
    assert f"{sum(steps.values()):,} steps" in shown
    assert cells["all"][0] == "3" and cells["all"][4] == "100.0%"


def test_plan_needs_no_torch(phantoms):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from foundationx.apps.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "plan", "quickstart/phantom", "--data-root", str(phantoms)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "the whole run: 3 heads" in ended.stdout


def test_plan_counts_the_parameters_that_each_phase_trains_if_asked(phantoms, capsys):
    assert main(["plan", str(TINY), "--data-root", str(phantoms), "--parameters"]) == 0
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    counts = {(row[1], row[2]): int(row[-1].replace(",", "")) for row in rows if row[2:3] in (["lock"], ["release"])}
    model = FoundationModel(load_config(TINY).model, open_datasets(load_config(TINY), phantoms).classes)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    head = sum(size for name, size in sizes.items() if name.startswith("heads.phantom_masks__segmentation."))
    below = sum(size for name, size in sizes.items() if name.startswith(("backbone.", "trunks.segmentation.")))
    assert counts["phantom_masks/segmentation", "lock"] == head
    assert counts["phantom_masks/segmentation", "release"] == head + below
    assert f"parameters: {sum(sizes.values()):,}" in shown


@pytest.mark.parametrize("first", [0, 1])
def test_the_untrained_model_is_evaluated_on_as_many_images_as_asked_and_that_is_said(
    first, phantoms, tmp_path, capsys
):
    options = [f"evaluate.first={first}", "schedule.cycles=1", "schedule.max_steps=1", "evaluate.models=[student]"]
    arguments = ["train", str(TINY), "--data-root", str(phantoms), "--work-dir", str(tmp_path)]
    assert main([*arguments, "--cfg-options", *options]) == 0
    rows = [row for row in WorkDir(tmp_path).read_metrics() if row.metric == "AUROC" and row.model == "student"]
    images = {row.visit: row.n for row in rows if row.class_name != "mean" and row.split == "test"}
    last = max(images)
    assert last == 3 and images[last] > 1
    assert images.get(0, 0) == first
    said = capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    if first:
        found = re.search(r"on 3 of (\d+) images of test \(evaluate.first is 1\)", said)
        assert found and int(found[1]) > 3
        assert "evaluated on at most 1 images of a head (evaluate.first)" in page
    else:
        assert "the untrained model is not evaluated (evaluate.first is 0)" in said
        assert "evaluated not at all (evaluate.first)" in page


def test_eval_writes_the_rows_it_prints(trained, phantoms, tmp_path, capsys):
    target = tmp_path / "rows.json"
    arguments = ["eval", str(trained), "--data-root", str(phantoms), "--split", "test", "--json", str(target)]
    assert main(arguments) == 0
    rows = json.loads(target.read_text())
    assert {row["model"] for row in rows} == {"student", "teacher", "trivial", "empty"}
    assert {row["split"] for row in rows} == {"test"}
    assert set(rows[0]) == {"dataset", "task", "metric", "class", "value", "n", "model", "visit", "split"}
    assert "phantom_masks/segmentation" in capsys.readouterr().out


def test_predict_gives_json_in_source_pixels_and_a_picture(trained, tmp_path):
    image = tmp_path / "radiograph.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (120, 200), dtype=np.uint8))
    out = tmp_path / "out"
    assert main(["predict", str(trained), str(image), "--out", str(out), "--threshold", "0.0"]) == 0
    values = json.loads((out / "radiograph.png.json").read_text())["heads"]
    assert set(values) == {"phantom_labels/classification", "phantom_boxes/detection", "phantom_masks/segmentation"}
    assert set(values["phantom_labels/classification"]) >= {"Nodule", "Cardiomegaly"}
    boxes = np.array([result["box"] for result in values["phantom_boxes/detection"]])
    assert len(boxes) and (boxes >= 0).all() and (boxes[:, [0, 2]] <= 200).all() and (boxes[:, [1, 3]] <= 120).all()
    assert boxes[:, 2].max() > 120, "x runs to the image's own width"
    picture = cv2.imread(str(out / "radiograph.png.overlay.png"))
    height, width = LEAST_SIDE, round(LEAST_SIDE * 200 / 120)
    assert picture.shape[0] >= height and picture.shape[1] > width, "the legend stands beside the image"
    drawn = picture[:height, :width]
    assert not np.allclose(drawn[..., 0], drawn[..., 2]), "nothing is drawn in colour"
    assert not picture[height:, :width].any() and picture[:, width:].max() == 255


def test_predict_names_an_unknown_head(trained, tmp_path, capsys):
    assert main(["predict", str(trained), "x.png", "--head", "phantom_label/classification"]) == FAULT
    assert "did you mean 'phantom_labels/classification'" in capsys.readouterr().err


def test_export_reports_its_contents(trained, tmp_path):
    target = tmp_path / "backbone.safetensors"
    assert main(["export", str(trained), "--model", "student", "--out", str(target)]) == 0
    with safe_open(target, framework="pt") as stored:
        facts = stored.metadata()
    assert facts["model"] == "student" and facts["image_size"] == "64"
    assert json.loads(facts["backbone"])["type"] == "mmdet.SwinTransformer"


def test_report_is_written_anew(trained, capsys):
    (trained / "report.html").unlink()
    assert main(["report", str(trained)]) == 0
    assert (trained / "report.html").stat().st_size > 10_000


def test_data_list_and_show(capsys):
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert "nih_chestxray14" in shown and "classification (14)" in shown
    assert main(["data", "show", "ieee8023_covid"]) == 0
    assert "reader: findings_csv" in capsys.readouterr().out
    assert main(["data", "show", "nih_chestxray4"]) == FAULT
    assert "did you mean 'nih_chestxray14'" in capsys.readouterr().err


def test_data_check_finds_planted_faults_and_only_those(phantoms, tmp_path, capsys):
    assert main(["data", "check", "phantom_masks", "--data-root", str(phantoms)]) == 0
    assert "0 faults" in capsys.readouterr().out
    data = tmp_path / "data"
    shutil.copytree(phantoms / "phantom_masks", data / "phantom_masks")
    images = sorted((data / "phantom_masks" / "images").glob("*.png"))
    images[0].write_bytes(b"")
    heart = data / "phantom_masks" / "masks" / "heart" / images[1].name
    cv2.imwrite(str(heart), np.zeros((10, 10), np.uint8))
    assert main(["data", "check", "phantom_masks", "--data-root", str(data)]) == 1
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "2 faults" in shown and "the file is empty" in shown and "10 x 10 pixels" in shown
    assert images[0].name in shown and images[1].name in shown


@pytest.mark.parametrize("door", ["train.py", "test.py"])
def test_tools_run_the_same_commands(door):
    ended = subprocess.run(
        [sys.executable, ROOT / "tools" / door, "--help"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0 and "--data-root" in ended.stdout
