"""``foundationx export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from foundationx.apps.cli.options import add_allow_code, add_model

if TYPE_CHECKING:
    from foundationx.engine.checkpoint import Checkpoint
    from foundationx.weights.exports.formats import Source

HELP = "export the backbone or a whole model: safetensors, timm, Hugging Face, mmdet, mmseg, ONNX, torch.export"
EXAMPLE = "foundationx export work_dirs/phantom --to onnx-model --best phantom_labels/classification"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        help="checkpoint, a work directory for its newest one, or the folder of an import",
    )
    parser.add_argument("--to", default="backbone", metavar="FORMAT", help="format, see `foundationx list formats`")
    add_model(parser)
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="DATASET/TASK",
        help="head of a whole model; may be repeated (default: all that the format takes)",
    )
    parser.add_argument(
        "--best",
        nargs="?",
        const="",
        metavar="DATASET/TASK",
        help="the checkpoint at which this head was best on validation (default: the newest one)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="file or folder to write (default: RUN_MODEL with the ending of the format)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is at that path")
    parser.add_argument("--no-card", action="store_true", help="write no model card (README.md)")
    add_allow_code(parser)


def run(options: argparse.Namespace) -> None:
    """Exports, and prints the path of the result and how to use it."""
    from foundationx.apps.run.exporting import best_checkpoint, default_path, source_of
    from foundationx.core.errors import ConfigError
    from foundationx.weights.exports.formats import FORMATS
    from foundationx.weights.imports.imported import open_with_heads

    if options.to == "list":
        for name, kind in FORMATS.all().items():
            print(f"{name:<18}{kind.use}")
        return
    kind = FORMATS.get(options.to, "--to")
    if options.checkpoint is None:
        raise ConfigError("checkpoint", "is missing", "a checkpoint or a work directory", "name one")
    if options.out is not None:  # before the model is read
        _require_output(options.out, options.overwrite)
    file = options.checkpoint if options.best is None else best_checkpoint(options.checkpoint, options.best)
    checkpoint = open_with_heads(file, allow_code=options.allow_code)
    source = source_of(checkpoint, file, options.model, kind, options.head)
    path = options.out or default_path(checkpoint.config.name, options.model, kind)
    _require_output(path, options.overwrite)
    use = kind.write(source, path)
    print(f"{path}\n\n{use}")
    if not options.no_card:
        _write_card(options, source, checkpoint, use, path)


def _require_output(path: Path, overwrite: bool) -> None:
    """Raises DiskError if nothing can be written there, ConfigError if something is there that must stay."""
    from foundationx.apps.run.exporting import require_new
    from foundationx.core.atomic_write import require_folder

    require_folder(path.parent)
    require_new(path, overwrite)


def _write_card(options: argparse.Namespace, source: Source, checkpoint: Checkpoint, use: str, path: Path) -> None:
    """The model card, in the folder of the export or beside its file."""
    from foundationx.apps.run.model_card import can_write_card, write_card
    from foundationx.apps.run.operating_points import run_folder

    if not can_write_card():
        print("\n# no model card: it needs the extra 'hub' (pip install -e '.[hub]' in the clone)")
        return
    card = path / "README.md" if path.is_dir() else path.with_name(f"{path.name}.README.md")
    write_card(source, checkpoint, run_folder(options.checkpoint), use, options.to, card)
    print(f"\n# model card: {card}")
