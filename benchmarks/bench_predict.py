"""Predicts for a hospital's folder with one command: DICOM and PNG, nested, names that repeat, 1 % broken.

    python benchmarks/bench_predict.py --images 10000

Prints speed, memory, and whether every image has a result or a reason. The network is small and untrained: what is
measured is everything around it.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from foundationx.core.config.load import load_config
from foundationx.core.types import Task, TaskKey
from foundationx.engine.checkpoint import save_checkpoint
from foundationx.models.foundation_model import FoundationModel

ROOT = Path(__file__).resolve().parents[1]
EVERY = 100
"""One of so many files is broken."""

HEADS = {
    TaskKey("a", Task.CLASSIFICATION): ("mass", "nodule"),
    TaskKey("b", Task.DETECTION): ("mass",),
    TaskKey("c", Task.SEGMENTATION): ("lung", "heart"),
}


def dicom(pixels: np.ndarray) -> bytes:
    """A digital radiograph of 12 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID = "DX", "1"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = (pixels.astype(np.uint16) * 16).tobytes()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def write_files(folder: Path, count: int) -> int:
    """Writes the folder; gives the number of broken files. Each patient has a study with files of the same names."""
    random, broken = np.random.default_rng(0), 0
    for number in range(count):
        pixels = cv2.resize(random.integers(0, 256, (16, 16), dtype=np.uint8), (300, 256))
        as_dicom = number % 2 == 0
        content = dicom(pixels) if as_dicom else cv2.imencode(".png", pixels)[1].tobytes()
        if number % EVERY == EVERY // 2 + number // EVERY % 2:  # DICOM and PNG in turns
            content, broken = content[: len(content) // 3], broken + 1
        name = f"IM{number % 4:04}.dcm" if as_dicom else f"view{number % 4}_frontal.png"
        path = folder / f"site{number % 7}" / f"patient{number // 4}" / "study1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return broken


def write_run(folder: Path) -> None:
    """A work directory with a small network."""
    config = load_config(ROOT / "tests" / "helpers" / "tiny_config.py", {})
    torch.manual_seed(0)
    model = FoundationModel(config.model, HEADS)
    state = {"optimizer": {}, "step": 1, "visit": 1, "progress": {}}
    save_checkpoint(folder / "checkpoints", config=config, model=model, teacher=model, **state)


def main() -> None:
    """Writes, predicts, counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--overlays", action="store_true", help="write pictures as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = write_files(folder / "images", options.images)
        write_run(folder / "run")
        command = [sys.executable, "-m", "foundationx.apps.cli.main", "predict", str(folder / "run")]
        command += [str(folder / "images"), "--out", str(folder / "out")]
        begin = time.monotonic()
        subprocess.run(command + ([] if options.overlays else ["--no-overlays"]), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        lines = [json.loads(line) for line in (folder / "out/predictions.jsonl").read_text().splitlines()]
        with open(folder / "out/failed.csv", newline="") as stream:
            failed = [row["image"] for row in csv.DictReader(stream)]
        found = {line["image"] for line in lines}
        assert len(found) == len(lines) and not found & set(failed)
        print(f"{options.images:,} files: {len(lines):,} with a result, {len(failed):,} named as broken ({broken} are)")
        print(f"lost: {options.images - len(lines) - len(failed)}")
        processor, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(f"{seconds:.0f} s, of which the processor {processor:.0f} s; at most {memory:.0f} MB")
        print(f"{options.images / processor:.0f} images per second of a core")


if __name__ == "__main__":
    main()
