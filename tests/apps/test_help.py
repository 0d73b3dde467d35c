"""The help of every command: a text, an example, a default for each option; lists, and keys of a configuration."""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from foundationx.apps.cli.command_list import KINDS, entries
from foundationx.apps.cli.main import COMMANDS, build_parser, main
from foundationx.apps.cli.parsers import default_text
from foundationx.core.config.run import RunConfig
from foundationx.core.resources import packaged_configs
from foundationx.tasks.base import HEADS
from foundationx.tasks.self_supervision.objective import OBJECTIVES

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"


def parsers(parser, name="foundationx"):
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for key, inner in action.choices.items():
                yield from parsers(inner, f"{name} {key}")


ALL = dict(parsers(build_parser()))


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_a_text_and_an_example_that_it_accepts(name):
    parser = ALL[name]
    assert parser.description.endswith(".") and len(parser.description) > 15
    assert parser.epilog.startswith("example:\n  foundationx")
    for line in parser.epilog.splitlines()[1:]:
        command, *arguments = shlex.split(line.partition(">")[0])
        assert command == "foundationx" and line.strip().startswith(name)
        build_parser().parse_args(arguments)


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_a_text_and_shows_its_default(name):
    for action in ALL[name]._actions:
        help_text = action.help or ""
        assert len(help_text) > 5, f"{name} {action.dest} has no help"
        optional = action.option_strings and not action.required
        if optional and not isinstance(action, argparse._HelpAction | argparse._VersionAction):
            shown = help_text + default_text(action)
            assert "default:" in shown, f"{name} {action.dest} shows no default: {shown}"


@pytest.mark.parametrize("name", ALL)
def test_examples_name_configurations_that_exist(name):
    known = packaged_configs()
    for word in ALL[name].epilog.split():
        if word.partition("/")[0] in {known_name.partition("/")[0] for known_name in known}:
            assert word in known


def test_defaults_are_shown():
    parser = argparse.ArgumentParser()
    for arguments, shown in [
        ({"default": 3}, " (default: 3)"),
        ({"default": []}, " (default: none)"),
        ({"action": "store_true"}, " (default: off)"),
        ({"required": True}, ""),
        ({"help": "as it is (default: all)"}, ""),
        ({}, ""),
    ]:
        assert default_text(parser.add_argument(f"--a{len(parser._actions)}", **arguments)) == shown


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        (
            "from foundationx.apps.cli.main import build_parser; build_parser().format_help()",
            {"torch", "mmengine", "pydantic", "numpy", "scipy"},
        ),
        (
            "from foundationx.datasets.cards.catalog import Catalog; Catalog().names(); import foundationx.core.types;"
            "import foundationx.core.config.load",
            {"torch", "mmengine", "sklearn", "matplotlib"},
        ),
        (
            "import foundationx.apps.run.train",
            {"sklearn", "matplotlib", "albumentations", "pandas", "torch.distributed.fsdp", "mmdet", "mmseg"},
        ),
        ("import foundationx.evaluation.report", {"torch", "sklearn", "matplotlib", "mmengine"}),
        (
            "from foundationx.core.openmmlab import modules_of; assert 'SwinTransformer' in modules_of('mmdet')",
            {
                "sklearn",
                "transformers",
                "torch.distributed.optim",
                "torch.distributed.fsdp",
                "matplotlib.pyplot",
                "sympy",
            },
        ),
    ],
    ids=["help", "types, cards and configuration", "train", "report", "a backbone"],
)
def test_nothing_is_imported_before_it_is_needed(statement, unneeded):
    code = f"import sys; {statement}; print(*sorted({unneeded!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "foundationx" in script and all(name in script for name in COMMANDS.names())
    assert "cfg-options" in script


def test_the_script_for_bash_is_valid(capsys):
    main(["completion", "bash"])
    subprocess.run(["bash", "-n"], input=capsys.readouterr().out, text=True, check=True)


@pytest.mark.parametrize("kind", [*KINDS, "configs"])
def test_every_kind_is_listed_with_a_line_on_each(kind):
    rows = list(entries(kind))
    assert rows
    for row in rows:
        assert row.text and not row.text.startswith("broken"), f"{kind} {row.name}: {row.text}"


def test_a_list_names_options_with_defaults(capsys):
    assert main(["list", "objectives"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "peac" in shown and "cells=14" in shown
    backbones = {row.name: row for row in entries("backbones")}
    assert {"mmdet.SwinTransformer", "mmdet.PublishedSwin", "mmseg.MixVisionTransformer"} <= set(backbones)
    assert "embed_dims=96" in backbones["mmdet.SwinTransformer"].options[0]
    assert "mmdet.DINO" not in backbones


def sections(model, path=""):
    """Every field of a section and of those inside it."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field
        pending = [field.annotation]
        while pending:
            annotation = pending.pop()
            pending += getattr(annotation, "__args__", ())
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from sections(annotation, f"{path}{name}.")


def test_every_key_of_a_configuration_has_a_description():
    keys = dict(sections(RunConfig))
    assert len(keys) > 100
    assert {"model.detection.queries", "views.geometry.rotate", "datasets.card", "teacher.momentum.start"} <= set(keys)
    keys |= {f"{name}.{key}": field for name, kind in OBJECTIVES.all().items() for key, field in sections(kind.Options)}
    keys |= {f"{name}.{key}": field for name, kind in HEADS.all().items() for key, field in sections(kind.Options)}
    assert not [key for key, field in keys.items() if not field.description]


def test_config_prints_every_key_and_marks_what_differs(capsys):
    assert main(["config", str(CONFIG), "--json", "--cfg-options", "runtime.seed=3"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["runtime.seed"] == {
        "key": "runtime.seed",
        "value": 3,
        "default": 0,
        "type": "integer >= 0, <= 9,223,372,036,854,775,807",
        "meaning": RunConfig.model_fields["runtime"].annotation.model_fields["seed"].description,
        "changed": True,
    }
    assert rows["model.detection.queries"]["value"] == 10 and rows["model.detection.queries"]["default"] == 900
    assert rows["model.detection.queries"]["type"] == "integer >= 1, <= 5,000"
    window = rows["model.backbone.window_size"]
    assert (window["value"], window["default"], window["changed"]) == (4, 7, True)
    assert rows["datasets.1.card"]["value"] == "phantom_boxes"
    assert rows["schedule.lock.detection"] | {"meaning": ""} == {
        "key": "schedule.lock.detection",
        "value": 0.5,
        "default": 0.0,
        "type": "number",
        "meaning": "",
        "changed": True,
    }
    assert not rows["optimizer.lr"]["changed"] and rows["model.region_gate"]["value"] is None
    assert all(row["meaning"] for row in rows.values())


def test_config_shows_options_of_the_objective_and_only_changes_if_asked(capsys):
    assert main(["config", "selfsup/peac_nano", "--changed", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert "model.objective.type" in rows and all(row["changed"] for row in rows.values())
    assert main(["config", "quickstart/phantom", "--changed"]) == 0
    shown = capsys.readouterr().out
    assert "schedule.cycles" in shown and "runtime.seed" not in shown
