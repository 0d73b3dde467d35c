"""A recipe is data: what it says about the run is checked, and what is written from it is plain values."""

import ast
import os
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.config.load import load_config
from foundationx.core.errors import FoundationXError, RecipeError
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.fusion.blueprint import config_text, run_values
from foundationx.datasets.fusion.fuse import fuse
from foundationx.datasets.fusion.recipe import load_recipe

CATALOG = Catalog()
POPEN = {"type": "subprocess.Popen", "args": ["/usr/bin/touch", "MARK"]}
RECIPE = {"name": "phantoms", "cards": {"allow": ["phantom_labels"]}, "unknown_policy": "keep"}


def write(folder, name="recipe.yaml", **changes):
    path = folder / name
    path.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    return path


def values_of(path, **options):
    recipe = load_recipe(path, CATALOG.vocabulary)
    return run_values(recipe, fuse(recipe, CATALOG).entries, **options), recipe


BASES = {
    "a path": "evil.py",
    "a path with folders": "./evil.py",
    "an absolute path": "/FOLDER/evil.py",
    "up and down": "_base_/../evil.py",
    "a preset with its ending": "_base_/swin_base.py",
    "a folder named like the presets": "_base_/evil",
    "an address": "http://127.0.0.1:9/evil.py",
    "a file address": "file:///FOLDER/evil.py",
    "mmengine's notation for other packages": "mmdet::_base_/default_runtime.py",
    "a line break": "_base_/swin_base\n",
    "a full-width letter": "_base_/\uff53win_base",
    "empty": "",
}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_base_is_a_preset_by_name_and_no_file_is_run(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = f"open({str(tmp_path / 'mark')!r}, 'w')\n"
    (tmp_path / "_base_").mkdir()
    for name in ("evil.py", "_base_/evil.py", "_base_/swin_base.py"):
        (tmp_path / name).write_text(code)
    path = write(tmp_path, run={"base": [base.replace("/FOLDER", str(tmp_path))]})
    with pytest.raises(RecipeError, match="preset"):
        values_of(path)
    assert not (tmp_path / "mark").exists()


def test_a_preset_is_that_of_the_package_even_beside_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "swin_nano.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    names = ["_base_/swin_nano", "_base_/schedule", "_base_/views"]
    values, _ = values_of(write(tmp_path, run={"base": names}))
    assert values["model"]["backbone"]["type"].startswith("mmdet.") and not (tmp_path / "mark").exists()


def test_a_path_is_run_if_the_user_allows_code(tmp_path, capsys):
    (tmp_path / "own.py").write_text("model = dict(backbone=dict(type='mmdet.ResNet', depth=18))\n")
    path = write(tmp_path, run={"base": ["own.py"]})
    assert main(["data", "fuse", str(path), "--out", str(tmp_path / "out")]) == FAULT
    assert "--allow-code" in capsys.readouterr().err and not (tmp_path / "out" / "config.py").exists()
    assert main(["data", "fuse", str(path), "--out", str(tmp_path / "out"), "--allow-code"]) == 0
    assert load_config(tmp_path / "out" / "config.py").model.backbone["depth"] == 18


OPTIONS = {
    "a program as backbone": {"model": {"backbone": POPEN}},
    "a program as activation": {"model": {"backbone": {"act_cfg": POPEN}}},
    "a program as norm": {"model": {"backbone": {"norm_cfg": {"type": "builtins.eval"}}}},
    "weights from an address": {"model": {"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "http://x/"}}}},
    "weights by name": {"model": {"backbone": {"pretrained": "torchvision://resnet18"}}},
    "weights from a file": {"model": {"init": "/etc/passwd"}},
    "a run of others": {"model": {"init_run": "/tmp/run"}},
    "a cache elsewhere": {"runtime": {"cache": "/tmp/cache"}},
    "a list elsewhere": {"exclude": "/etc/passwd"},
    "a type in a loss": {"model": {"detection": {"loss": POPEN}}},
    "a type in an objective": {"model": {"objective": {"type": "peac", "network": POPEN}}},
    "a type in a list": {"datasets": [{"card": "phantom_labels", "options": {"classification": {"reader": POPEN}}}]},
    "a type in the options of a head": {
        "model": {"heads": {"classification": {"type": "classification", "options": {"x": POPEN}}}}
    },
    "environment": {"runtime": {"device": "{{$HOME:cpu}}"}},
    "environment with blanks": {"runtime": {"device": "{{ $HOME : cpu }}"}},
    "folder of the file": {"runtime": {"device": "{{ fileDirname }}"}},
    "value of a base": {"runtime": {"device": "{{ _base_.model }}"}},
    "braces in a key": {"optimizer": {"lr_scale": {"{{ fileDirname }}": 1.0}}},
    "a base of the configuration": {"_base_": ["/tmp/evil.py"]},
    "imports": {"custom_imports": {"imports": ["evil"]}},
    "hooks": {"custom_hooks": [POPEN]},
    "removal": {"model": {"backbone": {"_delete_": True, "type": "mmdet.DINO"}}},
    "a scope": {"model": {"backbone": {"_scope_": "os"}}},
    "a name elsewhere": {"name": "../../evil"},
    "a name with a line break": {"name": "x'\nimport os\n#"},
    "no number": {"optimizer": {"lr": float("nan")}},
    "endless": {"optimizer": {"lr": float("inf")}},
    "a date": {"runtime": {"device": __import__("datetime").date(2020, 1, 1)}},
    "a huge network": {"model": {"backbone": {"embed_dims": 10**9}}},
    "a deep network": {"model": {"backbone": {"depths": [10**6] * 4}}},
    "many workers": {"runtime": {"workers": 10**6}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_are_plain_data(options, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/x'\nimport os\n")
    path = write(tmp_path, run={"options": options})
    with pytest.raises(FoundationXError) as refused:
        values_of(path)
    assert refused.value.fix and str(path) in refused.value.where


TAGS = {
    "python object": "name: !!python/object/apply:os.system ['touch MARK']",
    "python name": "name: !!python/name:os.system",
    "python module": "name: !!python/module:os",
    "own tag": "name: !evil x",
    "a key twice": "name: a\nname: b",
    "aliases without end": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)),
}


@pytest.mark.parametrize("text", TAGS.values(), ids=TAGS)
def test_tags_and_aliases_call_nothing(text, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("MARK", str(tmp_path / "mark")))
    with pytest.raises(RecipeError):
        load_recipe(path, CATALOG.vocabulary)
    assert not (tmp_path / "mark").exists()


FILES = {
    "line break": "a\nimport os; os.mkdir('MARK')\n#.yaml",
    "carriage return": "a\rimport os; os.mkdir('MARK')\r#.yaml",
    "form feed": "a\x0cb.yaml",
    "line separator": "a\u2028import os.yaml",
    "quotes": "a'''\"\"\".yaml",
    "substitution": "{{ fileDirname }}.yaml",
    "environment": "{{$HOME:x}}.yaml",
}


@pytest.mark.parametrize("name", FILES.values(), ids=FILES)
def test_the_name_of_a_recipe_is_no_code(name, tmp_path, monkeypatch):
    """Neither in the comment nor in the path of the exclusion list beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    values, recipe = values_of(write(folder, name, exclude="list.csv"))
    text = config_text(values, recipe)
    body = ast.parse(text).body
    assert all(isinstance(line, ast.Assign) for line in body) and "{{" not in text
    out = tmp_path / "config.py"
    out.write_text(text, encoding="utf-8")
    assert load_config(out).exclude == (folder / "list.csv").resolve()
    assert sorted(os.listdir(tmp_path)) == sorted(["config.py", name])


def test_presets_by_name_give_what_their_files_hold(tmp_path):
    """The shipped recipes name presets; each is the file of the package."""
    root = Path(__file__).resolve().parents[2] / "configs"
    for path in sorted((root / "recipes").glob("*.yaml")):
        names = yaml.safe_load(path.read_text())["run"]["base"]
        assert all((root / f"{name}.py").is_file() for name in names)
        values_of(path)
