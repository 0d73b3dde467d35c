"""``foundationx predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_allow_code, add_device, add_model

HELP = "run the heads of a checkpoint on images; writes JSON and an overlay picture per image"
EXAMPLE = "foundationx predict work_dirs/phantom chest.png --out predictions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="images: PNG, JPEG or DICOM")
    add_model(parser)
    parser.add_argument(
        "--head", action="append", default=[], metavar="DATASET/TASK", help="run only this head; may be repeated"
    )
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score that is shown")
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder to write")
    add_device(parser)
    add_allow_code(parser)


def run(options: argparse.Namespace) -> None:
    """Predicts."""
    import cv2

    from foundationx.apps.run.predict import heads_named, predict_images
    from foundationx.core.atomic_write import require_folder, write_atomically, write_json
    from foundationx.core.device import pick_device
    from foundationx.engine.checkpoint import load_checkpoint

    require_folder(options.out)
    checkpoint = load_checkpoint(options.checkpoint, allow_code=options.allow_code)
    device = pick_device(options.device)
    model = checkpoint.model(options.model).to(device)
    heads = heads_named(model, options.head)
    findings = predict_images(
        model,
        checkpoint.config,
        options.model,
        options.images,
        heads=heads,
        threshold=options.threshold,
        device=device,
    )
    for finding in findings:
        json_file = options.out / f"{finding.path.name}.json"
        write_json(json_file, finding.values)
        picture = options.out / f"{finding.path.name}.overlay.png"
        write_atomically(picture, cv2.imencode(".png", finding.picture[:, :, ::-1])[1].tobytes())
        print(f"{finding.path}: {json_file}, {picture}")
