"""The project's own tools: the shape of the code is measured right, and two runs are told apart to the last bit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def run_tool(name, *arguments):
    command = [sys.executable, ROOT / "tools" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def package(tmp_path):
    """Three folders and core: top imports middle and base, middle imports base; base.one and base.two are a circle."""
    texts = {
        "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.top import use\n",
        "core.py": "NAME = 1\n",
        "base/__init__.py": "",
        "base/one.py": "from house.base import two\nfrom house.core import NAME\nimport mmdet.models\n",
        "base/two.py": "def late():\n    from house.base.one import NAME\n    return NAME\n",
        "middle/__init__.py": "",
        "middle/part.py": "from house.base.one import NAME\nfrom mmengine.config import Config, ConfigDict\n",
        "middle/table.py": "NAMES = {'Loop': 'mmengine.runner', 'type': 'mmdet.Thing', 'other': 'numpy'}\n",
        "top/__init__.py": "",
        "top/use.py": "from house.middle.part import NAME\nfrom house.base import one\n\n\ndef long():\n    a = 1\n"
        "    b = Task.DETECTION\n    return a, b\n",
    }
    for name, text in texts.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


def test_a_package_of_known_shape_is_measured_right(package):
    ended = run_tool("measure_code.py", package)
    assert ended.returncode == 0, ended.stderr
    rows = {line[:58].strip(): line[58 + 8 + 9 + 2 :] for line in ended.stdout.splitlines()[1:]}
    assert rows["names at the top of the package"] == "4"
    assert rows["levels of imports between folders"] == "4", "core, base, middle, top"
    assert rows["imports inside their own folder, core apart"] == "40 %", "2 of 5: base.one <-> base.two"
    assert rows["lines of a function, longest"] == "4 (house.top.use.long)"
    assert rows["import circles"] == "1 (house.base.one, house.base.two)"
    assert rows["names imported from mm* packages"] == "4"
    assert rows["files that import from mm* packages"] == "3"
    assert rows["places that name a concrete task outside tasks and core"] == "1"


@pytest.mark.slow
def test_the_package_itself_is_measured(capsys):
    ended = run_tool("measure_code.py")
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 11


LOG = [{"step": 1, "losses": {"total": 0.1}, "images_per_second": 5.0, "data_wait": 0.2}]
METRICS = [{"metric": "AUROC", "value": 0.5}]


def write_run(folder, log=LOG, metrics=METRICS):
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_runs_that_differ_in_speed_alone_are_equal(tmp_path):
    slower = [LOG[0] | {"images_per_second": 1.0, "data_wait": 9.0}]
    ended = run_tool("compare_logs.py", write_run(tmp_path / "a"), write_run(tmp_path / "b", slower))
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "equal"
    hashes = [line.split()[0] for line in ended.stdout.splitlines()[:2]]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 64


@pytest.mark.parametrize(
    ("log", "metrics", "shown"),
    [
        ([LOG[0] | {"losses": {"total": 0.1 + 2**-56}}], METRICS, "row 1"),
        (LOG, [METRICS[0] | {"value": None}], "row 2"),
        ([*LOG, LOG[0] | {"step": 2}], [], "row 2"),
        (LOG, [], "2 rows and 1 rows"),
    ],
)
def test_any_difference_in_what_was_learned_is_detected(tmp_path, log, metrics, shown):
    ended = run_tool("compare_logs.py", write_run(tmp_path / "a"), write_run(tmp_path / "b", log, metrics))
    assert ended.returncode == 1 and shown in ended.stdout
    assert len({line.split()[0] for line in ended.stdout.splitlines()[:2]}) == 2


def test_text_files_are_checked_for_spaces_and_their_end(tmp_path):
    texts = {"good": "a\n  b\n", "spaces": "a \nb\n", "no_end": "a", "two_ends": "a\n\n", "empty": ""}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    ended = run_tool("check_text.py", *(tmp_path / name for name in texts))
    assert ended.returncode == 1
    assert [line.rpartition("/")[2].partition(":")[0] for line in ended.stdout.splitlines()] == [
        "spaces",
        "no_end",
        "two_ends",
    ]
    assert run_tool("check_text.py", tmp_path / "good", tmp_path / "empty").returncode == 0


def test_hooks_before_a_commit_run_without_a_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    entries = [hook["entry"].split() for hook in hooks[0]["hooks"]]
    assert all(entry[0].startswith(".venv/bin/") for entry in entries)
    assert {entry[0].rpartition("/")[2] for entry in entries} == {"ruff", "mypy", "python"}
    assert all((ROOT / word).exists() for entry in entries for word in entry if word.startswith("tools/"))


def test_mutants_are_noticed_by_tests_that_look_and_survive_those_that_do_not(tmp_path):
    pytest.importorskip("cosmic_ray", reason="tools/mutate.py needs cosmic-ray, a development extra")
    (tmp_path / "test_it.py").write_text(
        "from foundationx.engine.schedule.curves import cosine\n\n\n"
        "def test_it():\n    assert cosine(1.0, 3.0)(1.0) == 3.0\n"
    )
    code = (
        "import sys; sys.path.insert(0, 'tools'); import mutate\n"
        f"mutate.SUBJECTS = {{'curves': (['engine/schedule/curves'], [{str(tmp_path / 'test_it.py')!r}])}}\n"
        "sys.argv = ['mutate', 'curves', '--sample', '8']; mutate.main()\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout
    killed, total = map(int, re.search(r"curves: (\d+) of (\d+) noticed", result).groups())
    assert 0 < killed < total == 8, "only lines of the cosine are looked at"
    assert result.count("survives") == total - killed


def test_mutants_that_change_nothing_are_lines_that_exist():
    for entry in yaml.safe_load((ROOT / "tools" / "equivalent_mutants.yaml").read_text()):
        lines = {line.strip() for line in (ROOT / "foundationx" / f"{entry['module']}.py").read_text().splitlines()}
        for change in entry["changes"]:
            assert change["before"] in lines and change["why"], change
