"""``foundationx export`` and ``push``: names, nothing overwritten, the best checkpoint, model card, upload."""

import base64
import http.server
import json
import shutil
import stat
import threading

import pytest
import torch
import yaml

from foundationx.apps.cli.main import FAULT, main
from foundationx.apps.run.model_card import can_write_card
from foundationx.core.config.load import load_config
from foundationx.core.types import Split, Task, TaskKey
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.evaluation.evaluator import measure
from foundationx.evaluation.stored import store
from foundationx.models.foundation_model import FoundationModel
from tests.apps.test_cli import TINY
from tests.helpers.predicted import labelled

CARD = "nih_chestxray14"
KEY = TaskKey(CARD, Task.CLASSIFICATION)
HEADS = {KEY: ("a", "b"), TaskKey("made", Task.CLASSIFICATION): ("x",)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A work directory with two checkpoints, metrics, thresholds and a best checkpoint."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("work") / "run"
    config = load_config(TINY, {"image_size": 64, "name": "my run"})
    models = []
    for step in (1, 2):
        torch.manual_seed(step)
        models.append(FoundationModel(config.model, HEADS).eval())
        state = {"optimizer": {}, "step": step, "visit": step, "progress": {}}
        save_checkpoint(folder / "checkpoints", config=config, model=models[-1], teacher=models[-1], **state)
    made = labelled([[0, 1], [1, 0], [1, 1], [0, 0]] * 3, torch.rand(12, 2).numpy())
    predictions = [replace(made, key=KEY, visit=2, split=split) for split in (Split.VAL, Split.TEST)]
    store(folder, measure(predictions))
    best = {str(key): {"step": 1, "visit": 1, "value": 0.5, "metric": "AUROC"} for key in HEADS}
    (folder / "best.json").write_text(json.dumps(best))
    return folder, models


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_default_name_is_the_runs_and_nothing_is_overwritten_silently(made, here, capsys):
    folder, _ = made
    command = ["export", str(folder), "--to", "mmdet", "--no-card"]
    assert main(command) == 0
    path = here / "my_run_teacher_mmdet.pth"
    before = path.stat().st_mtime_ns
    assert main(command) == FAULT
    assert "exists" in capsys.readouterr().err and path.stat().st_mtime_ns == before
    assert main([*command, "--overwrite"]) == 0
    assert path.stat().st_mtime_ns > before and stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044


def test_the_best_checkpoint_of_a_head_is_exported(made, here, capsys):
    folder, (first, last) = made
    for options, model in (([], last), (["--best", str(KEY)], first)):
        assert main(["export", str(folder), "--to", "mmdet", "--no-card", "--overwrite", *options]) == 0
        stored = torch.load(here / "my_run_teacher_mmdet.pth", weights_only=True)["state_dict"]
        assert torch.equal(stored["backbone.norm3.weight"], model.backbone.net.norm3.weight)
        name = "patch_embed.projection.weight"
        assert torch.equal(stored[f"backbone.{name}"], model.backbone.net.state_dict()[name])
    assert main(["export", str(folder), "--to", "mmdet", "--best"]) == FAULT
    assert "2 heads have a best checkpoint each" in capsys.readouterr().err
    assert main(["export", str(folder), "--to", "mmdet", "--best", "made/classificatio"]) == FAULT
    assert "did you mean 'made/classification'" in capsys.readouterr().err


def test_heads_are_refused_where_they_do_not_fit(made, here, capsys):
    folder, _ = made
    for options, words in (
        (["--to", "mmdet", "--head", str(KEY)], "the format holds the backbone alone"),
        (["--to", "mmdet-detector"], "a head of detection"),
        (["--to", "onnx-model", "--head", "made/detection"], "did you mean"),
    ):
        assert main(["export", str(folder), *options]) == FAULT
        assert words in " ".join(capsys.readouterr().err.split())
    assert main(["export", "--to", "list"]) == 0
    assert "onnx-model" in capsys.readouterr().out
    assert main(["export"]) == FAULT


@pytest.fixture
def exported(made, here):
    if not can_write_card():
        pytest.skip("huggingface_hub is not installed: model cards are not written")
    folder, _ = made
    assert main(["export", str(folder), "--to", "timm", "--out", "out"]) == 0
    return here / "out"


def test_the_card_tells_licences_metrics_use_patent_and_origin(exported):
    text = (exported / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "other" and facts["library_name"] == "timm" and facts["datasets"] == [CARD]
    (entry,) = facts["model-index"]
    assert {result["dataset"]["name"] for result in entry["results"]} == {CARD}
    assert {m["type"] for result in entry["results"] for m in result["metrics"]} >= {"auroc"}
    from foundationx.datasets.cards.catalog import Catalog

    licence = Catalog().card(CARD).licence
    assert licence.name in body and f"| {licence.commercial} |" in body
    for words in ("SwinTransformer(", "95%", "| AUROC", "not a medical device", "US 2026/0066123", "Islam et al."):
        assert words in body, words
    assert "step 2, visit 2" in body and "64 x 64" in body


def test_a_card_never_shows_metrics_of_another_state(made, here):
    folder, _ = made
    if not can_write_card():
        pytest.skip("huggingface_hub is not installed: model cards are not written")
    assert main(["export", str(folder), "--to", "timm", "--out", "best", "--best", str(KEY)]) == 0
    text = (here / "best/README.md").read_text()
    assert "There are none for this checkpoint" in text and "AUROC" not in text and "step 1, visit 1" in text


class Hub(http.server.BaseHTTPRequestHandler):
    """Takes what huggingface_hub sends, as the Hub would."""

    received: dict = {}  # noqa: RUF012  (of the server, not of a request)

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.path.split("?")[0]
        answer: dict = {}
        if name == "/api/repos/create":
            self.received["create"] = json.loads(content)
            answer = {"url": f"http://{self.headers['Host']}/me/thing", "id": "1", "name": "me/thing"}
        elif name.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(content)["files"]]
            answer = {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        elif name.endswith("/commit/main"):
            rows = [json.loads(line) for line in content.decode().splitlines()]
            files = {row["value"]["path"]: row["value"]["content"] for row in rows if row["key"] == "file"}
            self.received["files"] = {path: base64.b64decode(text) for path, text in files.items()}
            answer = {
                "success": True,
                "commitOid": "0" * 40,
                "commitUrl": f"http://{self.headers['Host']}/me/thing/commit/{'0' * 40}",
            }
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def test_push_uploads_every_file_once_and_privately(exported, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_stand_in")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert main(["push", str(exported), "me/thing", "--endpoint", address]) == 0
    finally:
        server.shutdown()
    assert Hub.received["create"]["name"] == "thing"
    assert Hub.received["create"].get("private") is True or Hub.received["create"].get("visibility") == "private"
    files = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert Hub.received["files"] == files and "README.md" in files
    assert "/me/thing/commit/0" in capsys.readouterr().out


def test_push_refuses_what_has_no_card(exported, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(exported, bare)
    (bare / "README.md").unlink()
    assert main(["push", str(bare), "me/thing", "--endpoint", "http://127.0.0.1:9"]) == FAULT
    assert "has no model card" in capsys.readouterr().err
    assert main(["push", str(tmp_path / "none"), "me/thing"]) == FAULT
