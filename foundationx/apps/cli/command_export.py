"""``foundationx export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_allow_code, add_model

HELP = "export the backbone of a checkpoint: safetensors, timm, Hugging Face, mmdet, mmseg, ONNX, torch.export"
EXAMPLE = "foundationx export work_dirs/phantom --to timm --out backbone.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    parser.add_argument("--to", default="backbone", metavar="FORMAT", help="format, see `foundationx list formats`")
    add_model(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="file or folder to write (default: backbone_MODEL with the ending of the format)",
    )
    add_allow_code(parser)


def run(options: argparse.Namespace) -> None:
    """Exports, and prints the path of the result and how to use it."""
    from foundationx.core.atomic_write import require_folder
    from foundationx.engine.checkpoint import load_checkpoint
    from foundationx.weights.exports.formats import FORMATS

    if options.to == "list":
        for name, kind in FORMATS.all().items():
            print(f"{name:<14}{kind.use}")
        return
    kind = FORMATS.get(options.to, "--to")
    path = options.out or Path(f"backbone_{options.model}{kind.suffix}")
    require_folder(path.parent)
    checkpoint = load_checkpoint(options.checkpoint, allow_code=options.allow_code)
    use = kind.write(checkpoint.model(options.model), checkpoint.config, options.model, path)
    print(f"{path}\n\n{use}")
