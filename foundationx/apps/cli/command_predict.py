"""``foundationx predict``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from foundationx.apps.cli.options import add_allow_code, add_device, add_model

if TYPE_CHECKING:
    from foundationx.apps.run.operating_points import OperatingPoints
    from foundationx.apps.run.predict import ImagePrediction
    from foundationx.apps.run.prediction_folder import PredictionFolder
    from foundationx.models.foundation_model import FoundationModel

HELP = "run the heads of a checkpoint on images; writes JSON and a picture per image, and tables of all"
EXAMPLE = "foundationx predict work_dirs/phantom chest.png --out predictions"

SHOWN = 20
"""Most images of which each is printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint, a work directory for its newest one, or the folder of an import"
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="images (PNG, JPEG, DICOM ...), folders, zip or tar files, patterns in quotes, or lists (.txt)",
    )
    add_model(parser)
    parser.add_argument(
        "--head", action="append", default=[], metavar="DATASET/TASK", help="run only this head; may be repeated"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="lowest score that is shown (default: by class, as chosen on validation; boxes: at 1 false positive per "
        "image)",
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder to write")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="images that are computed at once")
    parser.add_argument("--no-overlays", action="store_true", help="write no pictures")
    parser.add_argument(
        "--dicom", action="store_true", help="for DICOM images also write masks as DICOM SEG, scores and boxes as SR"
    )
    add_device(parser)
    add_allow_code(parser)


def run(options: argparse.Namespace) -> None:
    """Predicts."""
    from foundationx.apps.run.dicom_results import require_highdicom
    from foundationx.apps.run.image_sources import find_images
    from foundationx.apps.run.predict import heads_named, predict_images, predicting_heads
    from foundationx.apps.run.prediction_folder import PredictionFolder
    from foundationx.core.atomic_write import require_folder
    from foundationx.core.device import pick_device
    from foundationx.core.memory import keep_freed_memory
    from foundationx.weights.imports.imported import open_with_heads

    keep_freed_memory()
    require_folder(options.out)
    if options.dicom:
        require_highdicom()
    checkpoint = open_with_heads(options.checkpoint, allow_code=options.allow_code)
    device = pick_device(options.device)
    model = checkpoint.model(options.model).to(device)
    heads = heads_named(model, options.head)
    points = _points(options, model, checkpoint.visit)
    images = find_images(options.images)
    settings = {
        "checkpoint": str(options.checkpoint.absolute()),
        "step": checkpoint.step,
        "model": options.model,
        "heads": sorted(options.head),
        "dicom": options.dicom,
        "thresholds": {str(key): dict(points.values[key]) for key in heads or predicting_heads(model)},
    }
    folder = PredictionFolder(options.out, images, settings)
    missing = folder.missing()
    if len(missing) < len(images):
        print(f"{len(images) - len(missing)} of {len(images)} images have results in {options.out}")
    predictions = predict_images(
        model,
        checkpoint.config,
        options.model,
        missing,
        heads=heads,
        points=points,
        device=device,
        batch_size=options.batch_size,
        pictures=not options.no_overlays,
        on_bad=folder.fail,
    )
    _write(options, folder, predictions, len(missing))
    print(points.note)
    _finish(options, folder)


def _points(options: argparse.Namespace, model: FoundationModel, visit: int) -> OperatingPoints:
    """Thresholds: those of validation, or the one that is given."""
    from foundationx.apps.run.operating_points import fixed_points, operating_points

    if options.threshold is not None:
        return fixed_points(model, options.threshold)
    return operating_points(model, options.model, visit, options.checkpoint)


def _write(
    options: argparse.Namespace, folder: PredictionFolder, predictions: Iterable[ImagePrediction], number: int
) -> None:
    """Writes the results of every image as they come."""
    from rich.console import Console
    from rich.progress import track

    from foundationx.apps.run.dicom_results import write_dicom

    console, as_dicom = Console(stderr=True), 0
    for prediction in track(predictions, "predict", number, console=console, transient=True):
        if options.dicom:
            as_dicom += bool(write_dicom(prediction.path, prediction.values, folder.stem(prediction.path)))
        folder.add(prediction)
        if len(folder.images) <= SHOWN:
            print(f"{prediction.path}: {folder.result_path(folder.names[prediction.path])}")
    if options.dicom:
        print(f"{as_dicom} images have results as DICOM; others are no complete DICOM files")


def _finish(options: argparse.Namespace, folder: PredictionFolder) -> None:
    """Writes the tables, and names what could not be read. Raises DataError: nothing could."""
    from foundationx.core.errors import DataError

    tables, count = folder.finish(), len(folder.images)
    for name, reason in folder.failed[:SHOWN]:
        print(f"{name}: {reason}")
    print(f"{count - len(folder.failed)} of {count} images: {', '.join(map(str, tables))}")
    if len(folder.failed) == count:
        raise DataError(str(options.out), "no image could be read", "images", "see failed.csv")
