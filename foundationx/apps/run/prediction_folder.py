"""The folder that ``foundationx predict`` writes.

NAME.json                  findings of every head for one image
NAME.overlay.png           the image with its findings
predictions.csv            a row per finding: image, head, class, score, box
predictions.jsonl          a line per image: what NAME.json holds
boxes.json                 boxes in COCO's form, if a head finds boxes
failed.csv                 images that could not be read, and why
predict.json               model, heads and threshold that the files were made with

NAME is the path of an image below the folder that all images share, so that equal file names are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from foundationx.apps.run.predict import ImagePrediction
from foundationx.core.atomic_write import require_folder, write_atomically, write_csv, write_json, write_json_lines
from foundationx.core.errors import DataError
from foundationx.core.strict_json import read_json

SETTINGS = "predict.json"
COLUMNS = ("image", "head", "class", "score", "x1", "y1", "x2", "y2")


class PredictionFolder:
    """Writes predictions; a second call with the same settings goes on with the images that are missing.

    Args:
        folder: Folder to write.
        images: Name -> path of the images.
        settings: What the results depend on.
        overlays: Whether pictures are written.

    Raises:
        DataError: The folder holds predictions with other settings.
        DiskError: It cannot be written.
    """

    def __init__(self, folder: Path, images: Mapping[str, Path], settings: Mapping[str, Any], *, overlays: bool = True):
        require_folder(folder)
        self.folder, self.images, self.overlays = folder, dict(images), overlays
        self.names = {path: name for name, path in images.items()}
        self.failed: list[tuple[str, str]] = []
        self._check(dict(settings))

    def _check(self, settings: dict[str, Any]) -> None:
        stored = _read(self.folder / SETTINGS)
        if stored is not None and stored != settings:
            differs = ", ".join(key for key in sorted(settings | stored) if settings.get(key) != stored.get(key))
            fix = "write to another folder: --out DIR"
            raise DataError(str(self.folder), f"holds predictions with another {differs}", "an empty folder", fix)
        write_json(self.folder / SETTINGS, settings)

    def missing(self) -> list[Path]:
        """Images without a result."""
        return [path for name, path in self.images.items() if self._result(name) is None]

    def add(self, prediction: ImagePrediction) -> None:
        """Writes one image's files; the JSON comes last, so that it stands for a whole result."""
        name = self.names[prediction.path]
        if self.overlays:
            picture = cv2.imencode(".png", prediction.picture[:, :, ::-1])[1].tobytes()
            write_atomically(self.folder / f"{name}.overlay.png", picture)
        write_json(self.folder / f"{name}.json", prediction.values)

    def fail(self, path: Path, error: DataError) -> None:
        """Notes an image that could not be read."""
        self.failed.append((self.names[path], str(error.found)))

    def finish(self) -> list[Path]:
        """Writes the tables over all images and gives their paths."""
        results = {name: values for name in self.images if (values := self._result(name)) is not None}
        tables = [self.folder / "predictions.csv", self.folder / "predictions.jsonl"]
        write_csv(tables[0], COLUMNS, (row for name, values in results.items() for row in _rows(name, values)))
        write_json_lines(tables[1], ({**values, "image": name} for name, values in results.items()))
        if boxes := _coco(results):
            tables.append(self.folder / "boxes.json")
            write_json(tables[-1], boxes)
        failed = self.folder / "failed.csv"
        failed.unlink(missing_ok=True)
        if self.failed:
            write_csv(failed, ("image", "reason"), self.failed)
            tables.append(failed)
        return tables

    def _result(self, name: str) -> dict[str, Any] | None:
        values = _read(self.folder / f"{name}.json")
        return values if values is not None and isinstance(values.get("heads"), dict) else None


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is none that can be read."""
    try:
        values = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _rows(name: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table: probabilities by class, boxes with their corners; other findings are in the JSON alone."""
    for head, findings in values["heads"].items():
        if isinstance(findings, dict):
            scores = ((label, score) for label, score in findings.items() if isinstance(score, int | float))
            yield from ((name, head, label, score, None, None, None, None) for label, score in scores)
        else:
            boxes = (row for row in findings if "box" in row and "score" in row)
            yield from ((name, head, row["class"], row["score"], *row["box"]) for row in boxes)


def _coco(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Boxes of all images in COCO's form; None if no head finds boxes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[tuple[str, str], int] = {}
    found = False
    for index, (name, values) in enumerate(results.items(), start=1):
        images.append({"id": index, "file_name": name})
        for head, findings in values["heads"].items():
            found |= head.endswith("/detection")
            for row in findings if isinstance(findings, list) else ():
                if "box" not in row:
                    continue
                x1, y1, x2, y2 = row["box"]
                label = categories.setdefault((head, row["class"]), len(categories) + 1)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": label,
                        "bbox": [x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)],
                        "area": round((x2 - x1) * (y2 - y1), 2),
                        "iscrowd": 0,
                        "score": row["score"],
                    }
                )
    kinds = [{"id": id, "name": name, "supercategory": head} for (head, name), id in categories.items()]
    return {"images": images, "annotations": annotations, "categories": kinds} if found else None
