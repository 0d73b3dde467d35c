"""``foundationx list``."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from foundationx.apps.cli.options import wide_console

HELP = "list what can be chosen, with options: backbones, heads, objectives, schedules, readers, metrics and more"
EXAMPLE = "foundationx list objectives"

KINDS = {
    "tasks": "foundationx.core.task:TASKS",
    "heads": "foundationx.tasks.base:HEADS",
    "label_losses": "foundationx.tasks.classification.label_loss:LABEL_LOSSES",
    "objectives": "foundationx.tasks.self_supervision.objective:OBJECTIVES",
    "schedules": "foundationx.engine.schedule.plan:SCHEDULES",
    "readers": "foundationx.datasets.annotations:READERS",
    "metrics": "foundationx.evaluation.measure:METRICS",
    "layouts": "foundationx.phantoms.task_files:LAYOUTS",
    "trackers": "foundationx.apps.trackers:TRACKERS",
    "protocols": "foundationx.apps.protocols:PROTOCOLS",
    "formats": "foundationx.weights.exports.formats:FORMATS",
    "commands": "foundationx.apps.cli.main:COMMANDS",
}
"""Kinds of extensions, and where each one's Extensions object is."""

LIBRARIES = ("mmdet", "mmseg")
"""OpenMMLab's libraries whose backbones can be chosen."""


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen.

    Attributes:
        name: Name that a configuration, card or command line uses.
        text: What it is, in one line; what is wrong with it if it is broken.
        options: One line per option: name, default and meaning.
    """

    name: str
    text: str
    options: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    kinds = sorted([*KINDS, "backbones", "configs"])
    parser.add_argument("kind", choices=kinds, metavar="KIND", help=f"what to list: {', '.join(kinds)}")


def run(options: argparse.Namespace) -> None:
    """Prints a table."""
    from rich.table import Table

    table = Table(title=options.kind)
    for column in ("name", "what it is", "options"):
        table.add_column(column, overflow="fold")
    for entry in entries(options.kind):
        table.add_row(entry.name, entry.text, "\n".join(entry.options))
    wide_console().print(table, markup=False)


def entries(kind: str) -> Iterator[Entry]:
    """What can be chosen of a kind."""
    if kind == "backbones":
        yield from _backbones()
    elif kind == "configs":
        yield from _configs()
    else:
        module, _, attribute = KINDS[kind].partition(":")
        for row in getattr(import_module(module), attribute).listing():
            if row.error is not None:
                yield Entry(row.name, f"broken: {row.error}")
            else:
                yield Entry(row.name, _text(row.value), _options(row.value))


def _text(value: Any) -> str:
    """One line on an extension: its own words for it, else the first sentence of its docstring or its module's."""
    for attribute in ("HELP", "use"):
        if isinstance(text := getattr(value, attribute, None), str):
            return text
    if inspect.isfunction(value):
        value = inspect.getmodule(value)
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _options(value: Any) -> list[str]:
    from foundationx.core.config.describe import options_of

    model = getattr(value, "Options", None)
    if model is None:
        return []
    return [f"{row.key}={row.default}: {row.meaning} ({row.type})" for row in options_of(model)]


def _backbones() -> Iterator[Entry]:
    from foundationx.models.backbone import backbone_classes

    for name, kind in sorted(backbone_classes().items()):
        parameters = list(inspect.signature(kind).parameters.values())
        options = [f"{item.name}={item.default!r}" for item in parameters if item.default is not item.empty]
        yield Entry(name, _text(kind), [", ".join(options)])


def _configs() -> Iterator[Entry]:
    from foundationx.core.resources import packaged_configs

    for name, path in packaged_configs().items():
        if not name.endswith(path.suffix):
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            yield Entry(name, first.lstrip("# "))
