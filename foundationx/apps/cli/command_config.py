"""``foundationx config``."""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foundationx.apps.cli.options import add_changes, add_config_file, parse_options, wide_console
from foundationx.core.strict_json import to_json

if TYPE_CHECKING:
    from foundationx.core.config.describe import KeyRow
    from foundationx.core.config.run import RunConfig

HELP = "print every key of a configuration with its value, default, type and meaning"
EXAMPLE = "foundationx config quickstart/phantom --changed --cfg-options schedule.cycles=2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_config_file(parser)
    add_changes(parser)
    parser.add_argument("--changed", action="store_true", help="only keys that differ from their default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> None:
    """Prints the table; keys that differ from their default are marked with a star."""
    from foundationx.core.config.load import load_config

    rows = rows_of(load_config(options.config, parse_options(options.cfg_options)))
    rows = [row for row in rows if row.is_changed or not options.changed]
    if options.json:
        print(to_json([_as_json(row) for row in rows], indent=1))
        return
    from rich.table import Table

    table = Table(title=f"{options.config} (*: differs from the default)")
    for column in ("", "key", "value", "default", "type", "meaning"):
        table.add_column(column, overflow="fold")
    for row in rows:
        mark, style = ("*", "bold") if row.is_changed else ("", "")
        table.add_row(mark, row.key, _shown(row.value), _shown(row.default), row.type, row.meaning, style=style)
    wide_console().print(table, markup=False)


def rows_of(config: RunConfig) -> list[KeyRow]:
    """Rows of a run's configuration; options of the objective and of heads are described by their own classes."""
    from foundationx.core.config.describe import describe
    from foundationx.tasks.base import open_head
    from foundationx.tasks.self_supervision.objective import open_objective

    rows = [_backbone_row(config, row) if row.key.startswith("model.backbone.") else row for row in describe(config)]
    if config.model.objective is not None:
        rows = [row for row in rows if not row.key.startswith("model.objective.")]
        rows += describe(open_objective(config.model.objective)[1], "model.objective")
    for task in config.model.heads:
        prefix = f"model.heads.{task.value}.options"
        rows = [row for row in rows if row.key != prefix and not row.key.startswith(f"{prefix}.")]
        rows += describe(open_head(task, config.model)[1], prefix)
    return rows


def _backbone_row(config: RunConfig, row: KeyRow) -> KeyRow:
    """An argument of the backbone, with the default of the backbone's class."""
    from foundationx.models.backbone import backbone_classes

    name = str(config.model.backbone["type"])
    argument = row.key.removeprefix("model.backbone.")
    if name not in backbone_classes() or argument == "type":
        return row
    parameters = inspect.signature(backbone_classes()[name]).parameters
    default = parameters[argument].default if argument in parameters else inspect.Parameter.empty
    if default is inspect.Parameter.empty:
        return replace(row, meaning=f"argument of {name}")
    return replace(row, default=json.loads(json.dumps(default, default=str)), meaning=f"argument of {name}")


def _as_json(row: KeyRow) -> dict[str, Any]:
    return {
        "key": row.key,
        "value": row.value,
        "default": row.default,
        "type": row.type,
        "meaning": row.meaning,
        "changed": row.is_changed,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)
