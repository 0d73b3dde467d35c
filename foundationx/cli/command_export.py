"""``foundationx export``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "export the backbone of a checkpoint to safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    parser.add_argument("--model", choices=["student", "teacher"], default="teacher")
    parser.add_argument("--out", type=Path, help="file to write (backbone_MODEL.safetensors)")


def run(options: argparse.Namespace) -> None:
    """Exports."""
    from foundationx.engine.checkpoint import load_checkpoint
    from foundationx.export.backbone import export_backbone

    checkpoint = load_checkpoint(options.checkpoint)
    path = options.out or Path(f"backbone_{options.model}.safetensors")
    export_backbone(checkpoint.model(options.model), checkpoint.config, options.model, path)
    print(path)
