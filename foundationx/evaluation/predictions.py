"""What a model said of every image beside the truth: enough to compute any metric without the model.

One ``.npz`` a head, model and side: ``predictions/{dataset}/{task}.{split}.{model}.npz``, arrays only, nothing pickled.
``docs/evaluation.md`` lists its arrays.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from foundationx.core.errors import DataError
from foundationx.core.types import Split, Task, TaskKey
from foundationx.core.workdir import write_atomically

FORMAT = 1
"""Version of the file's layout."""


@dataclass(frozen=True)
class Masks:
    """Binary masks of all images and classes, compressed run by run as in COCO.

    Attributes:
        size: (2,) height and width in pixels.
        runs: compressed runs of all masks, one after another, uint8; image by image, class by class.
        ends: (N * K,) where each mask's runs end.
    """

    size: np.ndarray
    runs: np.ndarray
    ends: np.ndarray

    @classmethod
    def encode(cls, masks: np.ndarray) -> Masks:
        """Compresses (N, K, H, W) masks, bool."""
        flat = masks.reshape(-1, *masks.shape[2:])
        counts = [rle.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in flat]
        runs = np.frombuffer(b"".join(counts), dtype=np.uint8)
        ends = np.cumsum([len(part) for part in counts], dtype=np.int64)
        return cls(np.array(masks.shape[2:]), runs, ends)

    def decode(self, first: int, number: int) -> np.ndarray:
        """``number`` masks from the ``first`` on, (number, H, W) bool."""
        starts = np.concatenate([[0], self.ends])
        height, width = (int(side) for side in self.size)
        stack = [
            rle.decode({"size": [height, width], "counts": self.runs[starts[place] : self.ends[place]].tobytes()})
            for place in range(first, first + number)
        ]
        return np.stack(stack).astype(bool)

    @classmethod
    def join(cls, parts: list[Masks]) -> Masks:
        """The masks of all parts, which have one size."""
        offsets = np.cumsum([0, *(len(part.runs) for part in parts[:-1])])
        ends = [part.ends + offset for part, offset in zip(parts, offsets, strict=True)]
        return cls(parts[0].size, np.concatenate([part.runs for part in parts]), np.concatenate(ends))


@dataclass(frozen=True)
class Predictions:
    """One head of one model on one side of the split. Only the fields of its task are set.

    Attributes:
        key: dataset and task.
        model: student or teacher.
        split: the side.
        visit: visits trained so far.
        classes: K names.
        images: (N,) paths relative to the dataset's root.
        patients: (N,) patient names.
        labels: (N, K) float32 tri-state truth.
        probabilities: (N, K) float32 in [0, 1]; classification.
        sizes: (N, 2) height and width of the source images in pixels; detection.
        boxes, scores, box_classes, box_images: predicted boxes (M, 4) x1 y1 x2 y2 in pixels of the source, their
            scores in [0, 1], class and image indices, image by image; detection.
        true_boxes, true_classes, true_images: (T, 4), (T,), (T,) likewise; detection.
        predicted_masks, true_masks, known_masks: N * K masks at the network's size; a pixel is predicted from
            probability 0.5 on, and known where the truth says anything of it; segmentation.
    """

    key: TaskKey
    model: str
    split: Split
    visit: int
    classes: tuple[str, ...]
    images: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray | None = None
    sizes: np.ndarray | None = None
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    box_classes: np.ndarray | None = None
    box_images: np.ndarray | None = None
    true_boxes: np.ndarray | None = None
    true_classes: np.ndarray | None = None
    true_images: np.ndarray | None = None
    predicted_masks: Masks | None = None
    true_masks: Masks | None = None
    known_masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.images)

    def masks_of(self, image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted, true and known pixels of one image, (K, H, W) bool each; unknown pixels are in neither mask."""
        number = len(self.classes)
        stacks = (self.predicted_masks, self.true_masks, self.known_masks)
        predicted, true, known = (stack.decode(image * number, number) for stack in stacks)
        return predicted & known, true & known, known

    def path(self, folder: Path) -> Path:
        """Where a work directory keeps it."""
        return folder / "predictions" / self.key.dataset / f"{self.key.task.value}.{self.split.value}.{self.model}.npz"

    def write(self, folder: Path) -> Path:
        """Writes it into a work directory and returns the file's path.

        Raises:
            DiskError: the disk does not take it.
        """
        arrays = {"format": np.array(FORMAT), "dataset": np.array(self.key.dataset), "task": np.array(self.key.task)}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Masks):
                arrays |= {f"{item.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
            elif value is not None and item.name != "key":
                arrays[item.name] = np.array(value)
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        write_atomically(self.path(folder), packed.getvalue())
        return self.path(folder)


def read_predictions(path: Path) -> Predictions:
    """Reads what ``Predictions.write`` wrote.

    Raises:
        DataError: the file is torn, is none of ours, or was written by another version.
    """
    fix = "evaluate again: foundationx eval CHECKPOINT --out FOLDER"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if arrays["format"] != FORMAT:
            raise DataError(str(path), f"has format {arrays['format']}", f"format {FORMAT}", fix)
        return _unpack(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(str(path), f"holds no predictions ({error})", "a file of `predictions/`", fix) from error


def _unpack(arrays: dict[str, np.ndarray]) -> Predictions:
    key = TaskKey(str(arrays["dataset"]), Task(str(arrays["task"])))
    names = tuple(str(name) for name in arrays["classes"])
    values = {item.name: arrays[item.name] for item in fields(Predictions) if item.name in arrays}
    for item in fields(Predictions):
        parts = {part.name: arrays.get(f"{item.name}.{part.name}") for part in fields(Masks)}
        if all(part is not None for part in parts.values()):
            values[item.name] = Masks(**parts)
    plain = {"model": str(values["model"]), "split": Split(str(values["split"])), "visit": int(values["visit"])}
    return Predictions(**values | plain | {"key": key, "classes": names})


def find_predictions(folder: Path) -> list[Path]:
    """Files of all predictions of a work directory, by name."""
    return sorted((folder / "predictions").glob("*/*.*.*.npz"))
