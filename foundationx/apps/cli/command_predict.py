"""``foundationx predict``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from foundationx.core.errors import ConfigError

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

    from foundationx.apps.run.predict import predict_images, predicting_heads
    from foundationx.core.device import pick_device
    from foundationx.core.errors import nearest
    from foundationx.engine.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(options.checkpoint)
    by_name = {str(key): key for key in predicting_heads(checkpoint)}
    for name in options.head:
        if name not in by_name:
            raise ConfigError("--head", f"the model has no head {name!r} that predicts", nearest(name, by_name))
    options.out.mkdir(parents=True, exist_ok=True)
    found = predict_images(
        checkpoint,
        options.model,
        options.images,
        heads=[by_name[name] for name in options.head],
        threshold=options.threshold,
        device=pick_device(options.device),
    )
    for finding in found:
        json_file = options.out / f"{finding.path.name}.json"
        json_file.write_text(json.dumps(finding.values, indent=1) + "\n", encoding="utf-8")
        picture = options.out / f"{finding.path.name}.overlay.png"
        cv2.imwrite(str(picture), finding.picture[:, :, ::-1])
        print(f"{finding.path}: {json_file}, {picture}")
