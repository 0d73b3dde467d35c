"""Damaged or foreign state of a run ends in one clear line or is passed over; a run can always be resumed."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from foundationx.apps.cli.main import main
from foundationx.apps.run.train import resume_newest
from foundationx.core.atomic_write import checksum_file, sha256
from foundationx.core.errors import FoundationXError
from foundationx.core.run_files import NAMES, read_checked
from foundationx.core.strict_json import read_json, to_json
from foundationx.core.workdir import WorkDir
from foundationx.engine.checkpoint import checkpoints_in, load_checkpoint, newest_checkpoint, step_of
from foundationx.evaluation.report import filling_page, ledger_page, origin_page
from foundationx.evaluation.report.facts import read_facts
from foundationx.phantoms.write import write_phantom_datasets
from tests.helpers.survival import CONFIG, equal, tiny_trainer

pytestmark = pytest.mark.slow

OTHERS = {
    "subgroups.json": json.dumps(
        [
            {"dataset": "phantom_labels", "task": "classification", "model": "teacher", "split": "test", "visit": 1}
            | {"attribute": "sex", "group": "F", "images": 9, "patients": 8, "value": 0.5, "low": 0.4, "high": None}
        ]
    ).encode(),
    "splits_before.json": b'{"phantom_labels:91": "train", "phantom_labels:92": "test"}',
    "anatomy.json": b'{"title": "a", "notes": [], "rows": [{"a": 1}]}',
    "origin.json": b'{"title": "a", "notes": ["b"], "rows": [{"a": 0.5}]}',
    "ledger.json": b'{"title": "a", "note": "b", "notes": ["c"], "rows": [{"head": "d"}], "summary": [{"head": "e"}], '
    b'"verdicts": {"phantom_labels/classification": "harmed"}}',
    "filled.json": b'{"cycle": 1, "precision": 0.9, "limits": [{"head": "a/classification", "class": "b", '
    b'"present": 0.5, "absent": 0.1}], "rows": [{"dataset": "c", "head": "a/classification", "class": "b", '
    b'"present": 1, "absent": 0, "unknown": 2}]}',
    "incidents.jsonl": b'{"step": 1, "kind": "io", "message": "m", "dataset": "", "task": "", "images": []}\n',
    "bad_samples.json": b'[{"dataset": "a", "task": "b", "file": "c", "row": "1", "reason": "d"}]',
}
"""Files that the run does not write, or writes empty."""

DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "not UTF-8": lambda data: b"\xff\xfe" + data[::-1],
    "list": lambda data: b"[1, null, [], {}]\n",
    "dict": lambda data: b'{"visits": 3, "a": {"b": null}, "step": "x"}\n',
    "text": lambda data: b'"nothing"\n',
    "NaN": lambda data: data.replace(b"0.", b"NaN, 0.", 1).replace(b": ", b": NaN, ", 1),
    "deep": lambda data: b"[" * 100_000 + b"\n",
    "wrong types": lambda data: json.dumps(_swapped(_parsed(data))).encode() + b"\n",
    "no keys": lambda data: json.dumps(_emptied(_parsed(data))).encode() + b"\n",
}


def _parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return json.loads(data.split(b"\n")[0])


def _swapped(value):
    """Every text a number and every number a text, at all depths."""
    if isinstance(value, dict):
        return {name: _swapped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_swapped(item) for item in value]
    return 7 if isinstance(value, str) else "seven"


def _emptied(value):
    if isinstance(value, dict):
        return {name: {} for name in value}
    return [{} for _ in value] if isinstance(value, list) else None


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A tiny finished run, its images and an image."""
    root = tmp_path_factory.mktemp("damaged")
    write_phantom_datasets(root / "data", 14, size=64, processes=1)
    config = root / "one.py"
    config.write_text(f"_base_ = [{str(CONFIG)!r}]\ndatasets = [dict(card='phantom_labels')]\n")
    command = ["train", str(config), "--data-root", str(root / "data"), "--work-dir", str(root / "run")]
    assert main([*command, "--cfg-options", "schedule.max_steps=2"]) == 0
    return root


@pytest.fixture
def run(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished / "run", folder)
    return folder


def command(name, finished, folder):
    data, image = str(finished / "data"), str(next((finished / "data").glob("*/images/*.png")))
    out = str(folder.parent / "out")
    return {
        "train": ["train", str(folder / "config.py"), "--data-root", data, "--work-dir", str(folder), *RESUME],
        "report": ["report", str(folder)],
        "eval": ["eval", str(folder), "--data-root", data, "--out", str(folder)],
        "compare": ["compare", str(folder), "--split", "val", "--repeats", "0"],
        "predict": ["predict", str(folder), image, "--out", out],
        "export": ["export", str(folder), "--out", out + ".safetensors"],
    }[name]


RESUME = ("--resume", "--cfg-options", "schedule.max_steps=2")
OF_OTHERS = ("anatomy.json", "filled.json", "incidents.jsonl", "ledger.json", "origin.json", "splits_before.json")
OF_OTHERS += ("subgroups.json",)  # of so few patients there are none
FILES = [name for name in NAMES if name not in OF_OTHERS]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", NAMES)
def test_readers_give_what_makes_sense_of_a_damaged_file(finished, tmp_path, file, damage):
    """Whatever they give is of the kind that the file holds, and can be read again without a fault when written."""
    source = finished / "run" / file
    content = (source.read_bytes() if source.exists() else b"") or OTHERS[file]
    (tmp_path / file).write_bytes(DAMAGES[damage](content))
    work = WorkDir(tmp_path)
    faults = work.faults()
    assert set(faults) <= {file} and work.set_faults_aside() == faults
    assert (tmp_path / f"{file}.damaged").exists() == bool(faults)
    assert not work.faults()
    work.read_log(), work.read_incidents(), work.read_metrics(), read_facts(tmp_path)
    sections = [page.section(tmp_path) for page in (filling_page, ledger_page, origin_page)]
    assert any(sections) == (file in ("filled.json", "ledger.json", "origin.json") and work.read_json(file) is not None)
    if damage in ("not UTF-8", "text", "deep") or (damage == "empty" and file.endswith(".json")):
        assert faults, "it is said"


@pytest.mark.parametrize("name", ["../../elsewhere", "..", "", "x" * 300, "x\0y", "\ud800"])
def test_rows_of_a_dataset_after_which_no_file_can_be_named_are_passed_over(run, name, capsys):
    rows = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps([*rows, {**rows[-1], "dataset": name}]))
    assert "metrics.json" in WorkDir(run).faults()
    assert len(WorkDir(run).read_metrics()) == len(rows)
    assert main(["report", str(run)]) == 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [4, 4], "counts": "0b0"},  # more or fewer pixels than the size has
        {"size": [100_000, 4], "counts": "0"},
        {"size": [4, 4], "counts": "\x00\xff"},
        {"size": [4], "counts": "d0"},
    ],
)
def test_a_mean_mask_whose_runs_do_not_fill_it_is_not_decoded(mask, tmp_path):
    """pycocotools reads what lies beyond in memory."""
    file = tmp_path / "trivial.json"
    file.write_text(json.dumps({"a/segmentation": {"left lung": mask}}))
    assert read_checked(file, {})[0] == {}
    whole = {"size": [4, 4], "counts": rle.encode(np.eye(4, dtype=np.uint8, order="F"))["counts"].decode()}
    file.write_text(json.dumps({"a/segmentation": {"left lung": whole}}))
    assert read_checked(file, {})[1] is None


@pytest.mark.parametrize("file", FILES)
def test_the_report_passes_over_a_damaged_file(finished, run, file, capsys):
    path = run / file
    path.write_bytes(DAMAGES["wrong types"](path.read_bytes()))
    assert main(command("report", finished, run)) == 0
    assert "phantom_labels" in (run / "report.html").read_text(), "the rest is shown"
    printed = capsys.readouterr().out
    assert (f"note: {path}" in printed) == bool(WorkDir(run).faults())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_all_of_whose_files_are_damaged_is_resumed_evaluated_and_used(finished, run, damage, capsys):
    """Damages every JSON file at once, then runs each command; what was damaged is kept beside and said."""
    before = load_checkpoint(run).student
    for name in FILES:
        (run / name).write_bytes(DAMAGES[damage]((run / name).read_bytes()))
    faults = WorkDir(run).faults()
    shutil.copy(finished / "one.py", run / "config.py")
    for name in ("train", "report", "eval", "compare", "predict", "export"):
        assert main(command(name, finished, run)) == 0, name
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    for name in faults:
        assert (run / f"{name}.damaged").exists() and f"{name}.damaged" in printed.out
    rebuilt = set(FILES) - {"log.jsonl"}
    assert all(read_checked(run / name)[1] is None and (run / name).exists() for name in rebuilt)
    assert WorkDir(run).read_metrics(), "evaluated again"
    after = load_checkpoint(run).student
    assert all(torch.equal(before[name], after[name]) for name in before)


def rewrite(path, change):
    """Changes a checkpoint's content and gives it the right checksum."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    checksum_file(path).write_text(f"{sha256(path)}  {path.name}\n")


def without(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def other(value, *keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def first_weight(which, change):
    def apply(content):
        name = next(name for name, tensor in content[which].items() if tensor.is_floating_point() and tensor.ndim > 1)
        content[which][name] = change(content[which][name])

    return apply


def first_moment(change):
    def apply(content):
        state = next(state for state in content["optimizer"]["state"].values() if state["exp_avg"].ndim)
        change(state)

    return apply


ENTRIES = ("config", "classes", "step", "visit", "student", "teacher", "optimizer", "progress")
PROGRESS = ("phase_ends", "teacher", "metric_logger", "nonfinite", "last_losses", "bad")
CHECKPOINTS = (
    {f"{name} missing": without(name) for name in ENTRIES}
    | {f"{name} is a list": other([1], name) for name in ENTRIES}
    | {f"{name} is a number": other(3.5, name) for name in ENTRIES}
    | {f"{name} is empty": other({}, name) for name in ("student", "teacher", "optimizer", "progress")}
    | {f"progress.{name} missing": without("progress", name) for name in PROGRESS}
    | {
        "configuration is no JSON": other("{", "config"),
        "configuration is a list": other("[]", "config"),
        "configuration has an unknown key": other('{"a": 1}', "config"),
        "class of no task": other({"a/b": ["c"]}, "classes"),
        "step is negative": other(-1, "step"),
        "step after the end": other(10**6, "step"),
        "NaN in the student": first_weight("student", lambda tensor: tensor * math.nan),
        "infinity in the teacher": first_weight("teacher", lambda tensor: tensor + math.inf),
        "misshapen student": first_weight("student", lambda tensor: tensor[:1]),
        "misshapen teacher": first_weight("teacher", lambda tensor: tensor[None]),
        "a number for a weight": first_weight("student", lambda tensor: 1.0),
        "sparse weight": first_weight("student", lambda tensor: tensor.to_sparse()),
        "moment missing": first_moment(lambda state: state.pop("exp_avg")),
        "moment misshapen": first_moment(lambda state: state.update(exp_avg=torch.zeros(3, 1, 7))),
        "moment is NaN": first_moment(lambda state: state["exp_avg"].fill_(math.nan)),
        "moment is text": first_moment(lambda state: state.update(exp_avg="x")),
        "groups missing": without("optimizer", "param_groups"),
        "last losses": other({"a": 1}, "progress", "last_losses"),
        "bad samples": other([{"a": 1}], "progress", "bad"),
        "row of bad steps": other({"in_a_row": "x"}, "progress", "nonfinite"),
    }
)
HARMLESS_TO_RESUME = {"groups missing"}
"""Settings of the optimizer are the configuration's, so that those of the file are not read."""

RESUME_ONLY = {
    name
    for name in CHECKPOINTS
    if name.startswith(("progress.", "moment", "step ", "groups", "last", "bad", "row of")) or "optimizer is e" in name
} | {"progress is empty"}
"""Damage to what evaluation and export do not read."""


def trainer_of(finished, run):
    return tiny_trainer(
        finished / "data", run / "checkpoints", datasets=[{"card": "phantom_labels"}], schedule__max_steps=2
    )


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_of_a_damaged_checkpoint_the_older_one_is_used(finished, run, damage):
    """Resuming says what is wrong; evaluation, prediction and export, which read it too, end in one clear error."""
    newest = newest_checkpoint(run)
    rewrite(newest, CHECKPOINTS[damage])
    if damage not in RESUME_ONLY:
        with pytest.raises(FoundationXError, match="fix: "):
            for which in ("teacher", "student"):
                load_checkpoint(newest).model(which)
    trainer = trainer_of(finished, run)
    incidents = resume_newest(trainer, WorkDir(run))
    if damage in HARMLESS_TO_RESUME:
        assert not incidents and trainer.step == step_of(newest)
        return
    (incident,) = incidents
    assert trainer.step == step_of(checkpoints_in(run)[-2]) < step_of(newest)
    assert incident.kind == "io" and f"step {trainer.step} is used instead" in incident.message
    older = load_checkpoint(checkpoints_in(run)[-2])
    assert all(torch.equal(value, older.teacher[name]) for name, value in trainer.teacher.model.state_dict().items())
    assert equal({name: older.student[name] for name in older.student}, dict(trainer.model.state_dict()))


@pytest.mark.parametrize("name", ["predict", "export", "eval", "train"])
def test_commands_say_what_is_wrong_with_every_checkpoint(finished, run, name, capsys):
    for path in checkpoints_in(run):
        rewrite(path, CHECKPOINTS["NaN in the student"])
    shutil.copy(finished / "one.py", run / "config.py")
    assert main(command(name, finished, run)) == 2
    printed = capsys.readouterr().err
    assert "holds numbers that are not finite" in printed and "fix: " in printed and "Traceback" not in printed


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"0" * 64, b"x" * 100_000])
def test_a_damaged_checksum_is_a_fault_of_its_checkpoint(finished, run, content, capsys):
    checksum_file(newest_checkpoint(run)).write_bytes(content)
    assert main(command("export", finished, run)) == 2
    assert "does not have the checksum" in capsys.readouterr().err
    (incident,) = resume_newest(trainer_of(finished, run), WorkDir(run))
    assert "does not have the checksum" in incident.message


def test_a_foreign_name_among_checkpoints_is_passed_over(finished, run):
    (run / "checkpoints" / "step_best.pt").write_bytes(b"x")
    resume_newest(trainer_of(finished, run), WorkDir(run))
    assert main(command("export", finished, run)) == 0


@pytest.mark.parametrize("damage", ["empty", "half", "list", "foreign arrays"])
def test_damaged_predictions_and_examples(finished, run, damage, capsys):
    """A comparison names the file; the report shows the rest."""
    for path in (*run.glob("predictions/*/*.npz"), *run.glob("examples/*.npz")):
        if damage == "foreign arrays":
            with open(path, "wb") as stream:
                np.savez(stream, format=np.array(2), classes=np.array(3.0))
        else:
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert main(command("compare", finished, run)) == 2
    assert "holds no predictions" in capsys.readouterr().err
    assert main(command("report", finished, run)) == 0


def test_strict_json_has_no_word_for_what_is_not_finite():
    value = {"a": [1.0, math.nan, (math.inf, -math.inf)], "b": {"c": math.nan}}
    assert json.loads(to_json(value)) == {"a": [1.0, None, [None, None]], "b": {"c": None}}
    assert to_json({"a": 0.1}, indent=1) == json.dumps({"a": 0.1}, indent=1)
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}', "[" * 10**5):
        with pytest.raises(ValueError):
            read_json(text)


def test_an_error_names_the_file_what_and_the_fix(run):
    rewrite(newest_checkpoint(run), CHECKPOINTS["NaN in the student"])
    with pytest.raises(
        FoundationXError, match=r"step_\d+\.pt, student: \S+ holds numbers that are not finite[^$]*fix:"
    ):
        load_checkpoint(run)
