"""``foundationx import``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from foundationx.apps.cli.options import wide_console

if TYPE_CHECKING:
    from foundationx.weights.imports.released import Released

HELP = "import released weights: Ark, Ark+, Foundation X, X+, Adam, Adam-v2, PEAC, ACE, Lamps, or a backbone alone"
EXAMPLE = "foundationx import Ark6_swinBase_768_ep50.pth.tar --out imports/ark6"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("file", type=Path, help="released file (.pth.tar, .pth, .safetensors); no code in it is run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--kind", default="auto", help="what the file holds, which is checked; docs/weights.md lists all kinds"
    )
    parser.add_argument("--entry", help="entry of the file that holds the weights (default: the teacher's)")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="training image size, if the file does not record it (default: as recorded)",
    )
    parser.add_argument(
        "--heads",
        nargs="+",
        metavar="CARD",
        help="datasets of the heads in the order of the file, or `none` (default: as released)",
    )


def run(options: argparse.Namespace) -> None:
    """Imports, and prints the tensors that were loaded, skipped and initialised, by groups."""
    from foundationx.core.atomic_write import require_folder
    from foundationx.core.errors import CheckpointError
    from foundationx.weights.imports.imported import is_run, write_imported
    from foundationx.weights.imports.released import KINDS, read_released

    if options.kind not in ("auto", *KINDS):
        raise CheckpointError("--kind", f"found {options.kind!r}", f"auto, {', '.join(KINDS)}")
    require_folder(options.out)
    released = read_released(options.file, options.kind, options.entry, options.heads)
    released.image_size = _image_size(options.image_size, released.image_size)
    table = Table(title=f"{options.file.name}: {released.kind}, {released.entry or 'bare state dict'}")
    for column in ("tensors", "number", "status", "as, or why"):
        table.add_column(column)
    for (group, status, why), number in _groups(released).items():
        table.add_row(group, str(number), status, why)
    console = wide_console()
    console.print(table)
    size = f"{released.image_size} pixels" if released.image_size else "not recorded in the file"
    console.print(
        f"{released.shape.describe()}; image size: {size}; mean {released.mean}, std {released.std}", highlight=False
    )
    for head in released.heads:
        console.print(f"head {head.name}: {', '.join(head.classes)}{' (exclusive)' if head.exclusive else ''}")
    for key, classes in released.rest.classes.items():
        console.print(f"head {key}: {', '.join(classes)}", highlight=False)
    for path in write_imported(released, options.file, options.out):
        print(path)
    if is_run(released):
        print(f"\n{options.out} is a run: predict, eval, export; model.init_run of a configuration, or its config.py")
    elif released.heads or released.rest.classes:
        print("\nno run is written, since the file does not record its image size: name it with --image-size")


def _image_size(asked: int | None, recorded: int | None) -> int | None:
    """The file's image size, else the user's. Raises CheckpointError if they differ, or it is no multiple of 32."""
    from foundationx.core.errors import CheckpointError

    if asked is not None and (asked <= 0 or asked % 32):
        raise CheckpointError("--image-size", f"found {asked}", "a multiple of 32")
    if None not in (asked, recorded) and asked != recorded:
        raise CheckpointError("--image-size", f"found {asked}", f"{recorded}, as the file records", "leave it out")
    return recorded or asked


def _groups(released: Released) -> dict[tuple[str, str, str], int]:
    """Tensors that share a status, counted; numbers in their names become ``*``."""
    counts: dict[tuple[str, str, str], int] = {}
    rows = [(name, "loaded", re.sub(r"\d+", "*", here.split(".")[0])) for name, here in released.loaded.items()]
    rows += [(name, "skipped", reason) for name, reason in released.skipped.items()]
    rows += [(name, "initialised", reason) for name, reason in released.initialised.items()]
    for name, status, why in rows:
        parts = re.sub(r"\d+", "*", name).split(".")
        group = ".".join(parts[:3] if parts[0] == "backbone" else parts[:1])
        key = (group + (".." if len(parts) > 1 else ""), status, why)
        counts[key] = counts.get(key, 0) + 1
    return counts
