"""The folder that ``foundationx predict`` writes.

NAME.json                  findings of every head for one image
NAME.overlay.png           the image with its findings
NAME.seg.dcm, NAME.sr.dcm  masks, and scores and boxes, as DICOM (``--dicom``)
predictions.csv            a row per finding: image, head, class, score, box or point (x1, y1)
predictions.jsonl          a line per image: what NAME.json holds
boxes.json                 boxes in COCO's form, if a head finds boxes
keypoints.json             points in COCO's form, if a head finds points
failed.csv                 images that could not be read, and why
predict.json               model, heads and thresholds that the files were made with

NAME is the path of an image below the folder that all images share, so that equal file names are kept apart. An image
named ``predict``, without a suffix, has the results ``predict_.json``; likewise ``boxes`` and ``keypoints``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from foundationx.apps.run.coco_results import coco_boxes, coco_keypoints
from foundationx.apps.run.predict import ImagePrediction
from foundationx.core.atomic_write import disk_error, replacing, require_folder, write_atomically, write_csv, write_json
from foundationx.core.errors import DataError
from foundationx.core.strict_json import read_json, to_json

SETTINGS, BOXES, KEYPOINTS = "predict.json", "boxes.json", "keypoints.json"
COLUMNS = ("image", "head", "class", "score", "x1", "y1", "x2", "y2")


class PredictionFolder:
    """Writes predictions; a second call with the same settings goes on with the images that are missing.

    Every result is kept as a line of a nameless file as well, of which the tables are made: memory does not grow with
    the number of images, and the files of the images are not read again.

    Args:
        folder: Folder to write.
        images: Name -> path of the images.
        settings: What the results depend on; ``thresholds`` names the classes of each head.

    Raises:
        DataError: The folder holds predictions with other settings.
        DiskError: It cannot be written.
    """

    def __init__(self, folder: Path, images: Mapping[str, Path], settings: Mapping[str, Any]):
        require_folder(folder)
        self.folder, self.images = folder, dict(images)
        self.names = {path: name for name, path in images.items()}
        self.failed: list[tuple[str, str]] = []
        self._stems = _stems(self.images)
        self._classes = {head: tuple(names) for head, names in settings.get("thresholds", {}).items()}
        self._check(dict(settings))
        try:
            self._lines = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (lives as long as the object)
        except OSError as error:
            raise disk_error(folder, error) from error
        self._offsets: dict[str, int] = {}

    def _check(self, settings: dict[str, Any]) -> None:
        stored = _read(self.folder / SETTINGS)
        if stored is not None and stored != settings:
            differs = ", ".join(key for key in sorted(settings | stored) if settings.get(key) != stored.get(key))
            fix = "write to another folder: --out DIR"
            raise DataError(str(self.folder), f"holds predictions with another {differs}", "an empty folder", fix)
        write_json(self.folder / SETTINGS, settings)

    def result_path(self, name: str) -> Path:
        """File of the findings of one image."""
        return self.folder / f"{self._stems[name]}.json"

    def stem(self, path: Path) -> Path:
        """Path of the results of an image without their suffix."""
        return self.folder / self._stems[self.names[path]]

    def missing(self) -> list[Path]:
        """Images without a result."""
        paths = []
        for name, path in self.images.items():
            values = _read(self.result_path(name))
            if values is not None and isinstance(values.get("heads"), dict):
                self._keep(name, values)
            else:
                paths.append(path)
        return paths

    def add(self, prediction: ImagePrediction) -> None:
        """Writes one image's files; the JSON comes last, so that it stands for a whole result."""
        name = self.names[prediction.path]
        if prediction.picture is not None:
            picture = cv2.imencode(".png", prediction.picture[:, :, ::-1])[1].tobytes()
            write_atomically(self.folder / f"{self._stems[name]}.overlay.png", picture, durable=False)
        write_atomically(self.result_path(name), to_json(prediction.values, 1) + "\n", durable=False)  # else made anew
        self._keep(name, prediction.values)

    def fail(self, path: Path, error: DataError) -> None:
        """Notes an image that could not be read."""
        self.failed.append((self.names[path], str(error.found)))

    def finish(self) -> list[Path]:
        """Writes the tables over all images and gives their paths."""
        tables = [self.folder / "predictions.csv", self.folder / "predictions.jsonl"]
        write_csv(tables[0], COLUMNS, (row for name, values in self._results() for row in _rows(name, values)))
        with replacing(tables[1]) as partial, open(partial, "x", encoding="utf-8") as stream:
            stream.writelines(to_json({**values, "image": name}) + "\n" for name, values in self._results())
        made = {BOXES: coco_boxes(self._results()), KEYPOINTS: coco_keypoints(self._results(), self._classes)}
        for name, of_all in made.items():
            if of_all is not None:
                tables.append(self.folder / name)
                write_json(tables[-1], of_all, indent=None)
        failed = self.folder / "failed.csv"
        failed.unlink(missing_ok=True)
        if self.failed:
            write_csv(failed, ("image", "reason"), self.failed)
            tables.append(failed)
        return tables

    def _keep(self, name: str, values: Mapping[str, Any]) -> None:
        """Appends a result to the nameless file. Raises DiskError."""
        try:
            self._offsets[name] = self._lines.seek(0, os.SEEK_END)
            self._lines.write(to_json(values).encode() + b"\n")
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _results(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and results, in the order of the images."""
        for name in self.images:
            if name in self._offsets:
                self._lines.seek(self._offsets[name])
                yield name, json.loads(self._lines.readline())


def _stems(images: Iterable[str]) -> dict[str, str]:
    """Image name -> path of its results without their suffix: the name, lengthened if it is that of another file."""
    stems: dict[str, str] = {}
    names = set(images)
    for name in images:
        stem = name
        while f"{stem}.json" in (SETTINGS, BOXES, KEYPOINTS) or (stem != name and stem in names):
            stem += "_"
        stems[name] = stem
    return stems


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is none that can be read."""
    try:
        values = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _rows(name: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table: probabilities, boxes with their corners, points; other findings are in the JSON alone."""
    for head, findings in values["heads"].items():
        if isinstance(findings, dict):
            scores = ((label, score) for label, score in findings.items() if isinstance(score, int | float))
            yield from ((name, head, label, score, None, None, None, None) for label, score in scores)
        else:
            boxes = (row for row in findings if "box" in row and "score" in row)
            yield from ((name, head, row["class"], row["score"], *row["box"]) for row in boxes)
            points = (row for row in findings if "point" in row and "score" in row)
            yield from ((name, head, row["class"], row["score"], *row["point"], None, None) for row in points)
