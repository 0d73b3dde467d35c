"""Run folders of others in the portal: whatever files hold, every question has an answer; one run harms no other."""

import copy
import json
import os

import numpy as np
import pytest
from starlette.testclient import TestClient

from foundationx.apps.portal.place import Place
from foundationx.apps.portal.server import create_app, hosts_of
from tests.helpers.run_folders import log_row, metric_row, write_run

pytestmark = pytest.mark.slow

TOKEN, HOST = "a-token-of-twenty-letters", "127.0.0.1:8766"
HEAD = "phantom_labels/classification"
HALF = "\ud800"
"""Half of a character: JSON can hold it, UTF-8 cannot."""

ODD = [True, 10**400, 5e-324, HALF, [], {"a": 1}]


@pytest.fixture
def work(tmp_path):
    (tmp_path / "data").mkdir()
    write_run(tmp_path / "work" / "other", [log_row(3)])
    return tmp_path / "work"


@pytest.fixture
def client(work):
    app = create_app(Place(work.parent / "data", work), hosts_of("127.0.0.1", 8766), TOKEN)
    client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    assert client.get("/", params={"token": TOKEN}).status_code == 303
    return client


def places(value, path=()):
    """The way to every value, and to the first one of every list."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def put(value, path, new):
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = new
    return value


INCIDENT = {"step": 1, "kind": "io", "message": "m", "dataset": "a", "task": "classification", "images": ["x"]}


@pytest.mark.parametrize(
    "name", ["run.json", "plan.json", "config.json", "metrics.json", "log.jsonl", "incidents.jsonl"]
)
def test_every_question_has_an_answer_whatever_a_file_holds(client, work, name):
    rows = [metric_row(HEAD, "AUROC", 0.5, model, 1, "test") for model in ("teacher", "trivial")]
    folder = write_run(work / "run", [log_row(1)], metrics=rows)
    good = {"log.jsonl": log_row(1), "incidents.jsonl": INCIDENT}.get(name)
    good = json.loads((folder / name).read_text()) if good is None else good
    asked = 0
    for path in places(good):
        for odd in ODD:
            asked += 1
            (folder / name).write_text(json.dumps(put(good, path, odd)) + "\n")
            os.utime(folder / name, ns=(asked * 10**9, asked * 10**9))
            for address in ("/api/run?run=run", "/api/run/bands?run=run"):
                answer = client.get(address)
                assert answer.status_code == 200, (path, odd, address)
            listed = {run["name"]: run for run in client.get("/api/runs").json()}
            assert listed["other"]["step"] == 3
    assert asked >= 3 * len(ODD)


def test_half_a_character_is_answered_as_it_stands(client, work):
    write_run(work / "run", [log_row(1)], metrics=[metric_row(HEAD, "AUROC", 0.5, HALF, 1, "test")])
    (headline,) = client.get("/api/run?run=run").json()["headlines"]
    assert headline["head"] == HEAD and headline["model"] == HALF


def keep_example(folder):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"image": np.zeros((8, 8), np.uint8), "name": np.array("secret.png")}
    arrays |= {"labels": np.ones(1, np.float32), "probabilities": np.ones(1, np.float32)}
    path = folder / "phantom_labels.classification.npz"
    np.savez(path, classes=np.array(["c"]), model=np.array("teacher"), **{f"0.{k}": v for k, v in arrays.items()})
    return path


def test_examples_that_are_links_or_pipes_are_not_read(client, work):
    outside = keep_example(work.parent / "outside")
    folder = write_run(work / "run", [log_row(1)])
    (folder / "examples").symlink_to(outside.parent)
    answer = client.get("/api/run/overlays?run=run")
    assert answer.status_code == 403 and "secret" not in answer.text
    (folder / "examples").unlink()
    own = keep_example(folder / "examples")
    assert "secret.png" in client.get("/api/run/overlays?run=run").text
    picture = f"/api/run/overlay.png?run=run&head={HEAD}&index=0"
    assert client.get(picture).content.startswith(b"\x89PNG")
    own.unlink()
    own.symlink_to(outside)
    assert client.get("/api/run/overlays?run=run").json() == []
    own.unlink()
    os.mkfifo(own)
    assert client.get("/api/run/overlays?run=run").json() == [] and client.get(picture).status_code == 404


@pytest.mark.parametrize("name", ["--help", "a;touch mark", "$(touch mark)", "a\nb", "../x", "x" * 65, "", "\uff41"])
def test_names_that_a_shell_or_a_command_would_read_start_nothing(client, work, name, monkeypatch):
    started = []
    monkeypatch.setattr(
        "foundationx.apps.portal.jobs.subprocess.Popen", lambda *words, **options: started.append(words)
    )
    for address, body in [
        ("/api/runs/launch", {"name": name}),
        ("/api/runs/report", {"name": name}),
        ("/api/runs/stop", {"name": name}),
        ("/api/jobs", {"kind": "doctor", "fusion": name}),
        ("/api/jobs", {"kind": "audit", "fusion": name, "apply": True}),
        ("/api/jobs", {"kind": "check", "card": name}),
        ("/api/jobs", {"kind": "phantoms", "cards": [name]}),
    ]:
        assert client.post(address, json=body).status_code in (400, 403, 404), address
    assert started == []


def test_a_run_whose_name_looks_like_an_option_is_a_path_to_the_command(client, work, monkeypatch):
    """A folder may be called anything; the command that writes its report is given the whole path."""
    write_run(work / "--allow-code", [log_row(1)])
    started = []

    def start(jobs, kind, about, words, *further, **options):
        started.append(words)
        raise OSError("not now")

    monkeypatch.setattr("foundationx.apps.portal.jobs.Jobs.start", start)
    client.post("/api/runs/report", json={"name": "--allow-code"})
    assert started == [["foundationx", "report", str(work / "--allow-code")]]
