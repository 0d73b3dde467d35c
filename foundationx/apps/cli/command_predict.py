"""``foundationx predict``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "run a checkpoint's heads on images; writes JSON and an overlay picture for each"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG or DICOM")
    parser.add_argument("--model", choices=["student", "teacher"], default="teacher")
    parser.add_argument("--head", action="append", default=[], metavar="DATASET/TASK", help="only this head (repeat)")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score that is shown (0.3)")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder to write to (predictions)")
    parser.add_argument("--device", default="auto")


def run(options: argparse.Namespace) -> None:
    """Predicts."""
    import cv2

    from foundationx.apps.run.predict import heads_named, predict_images
    from foundationx.core.device import pick_device
    from foundationx.engine.checkpoint import load_checkpoint

    checkpoint, device = load_checkpoint(options.checkpoint), pick_device(options.device)
    model = checkpoint.model(options.model).to(device)
    heads = heads_named(model, options.head)
    options.out.mkdir(parents=True, exist_ok=True)
    found = predict_images(
        model,
        checkpoint.config,
        options.model,
        options.images,
        heads=heads,
        threshold=options.threshold,
        device=device,
    )
    for finding in found:
        json_file = options.out / f"{finding.path.name}.json"
        json_file.write_text(json.dumps(finding.values, indent=1) + "\n", encoding="utf-8")
        picture = options.out / f"{finding.path.name}.overlay.png"
        cv2.imwrite(str(picture), finding.picture[:, :, ::-1])
        print(f"{finding.path}: {json_file}, {picture}")
