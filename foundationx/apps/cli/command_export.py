"""``foundationx export``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "export the backbone of a checkpoint: safetensors, timm, Hugging Face, mmdet, mmseg, ONNX, torch.export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    parser.add_argument("--to", default="backbone", metavar="FORMAT", help="format (backbone); 'list' names them all")
    parser.add_argument("--model", choices=["student", "teacher"], default="teacher")
    parser.add_argument("--out", type=Path, help="file or folder to write (backbone_MODEL and the format's ending)")


def run(options: argparse.Namespace) -> None:
    """Exports, and prints where to and how the result is used."""
    from foundationx.engine.checkpoint import load_checkpoint
    from foundationx.weights.exports.formats import FORMATS

    if options.to == "list":
        for name, kind in FORMATS.all().items():
            print(f"{name:<14}{kind.use}")
        return
    kind = FORMATS.get(options.to, "--to")
    checkpoint = load_checkpoint(options.checkpoint)
    path = options.out or Path(f"backbone_{options.model}{kind.suffix}")
    use = kind.write(checkpoint.model(options.model), checkpoint.config, options.model, path)
    print(f"{path}\n\n{use}")
