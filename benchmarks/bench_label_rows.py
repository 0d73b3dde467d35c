"""Label tables: our reader against pandas on the same file, in seconds and peak memory.

Rows have fourteen label columns and an image in one folder; ``--nested`` adds CheXpert's layout, a folder for each
study, where the time is mostly the disk's. Ours gives checked annotations (values, files on disk, patients, repeated
images); two of its parts are also measured alone: reading the table, and listing the folders. pandas.read_csv gives a
frame, of all columns or of those that are needed. Each way runs in a process of its own, so that the peak is its own;
peaks are those of the process less what it held before. Images are empty files.

    python benchmarks/bench_label_rows.py [--rows 377000 1000000] [--nested] [--folder FOLDER] [--runs 3]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from foundationx.core.types import Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.readers._cells import count
from foundationx.datasets.readers._tables import read_table

CLASSES = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
FURTHER = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
CELLS = np.array(["", "0.0", "1.0", "-1.0"])
SHARES = (0.6, 0.2, 0.15, 0.05)
IMAGES_A_PATIENT = 4
Figures = tuple[float, float, float, int | None]
Work = Callable[[Path], int | None]


def flat_images(count: int) -> Iterator[str]:
    """All images in one folder."""
    return (f"images/{index // IMAGES_A_PATIENT:06d}_{index % IMAGES_A_PATIENT}.png" for index in range(count))


def nested_images(count: int) -> Iterator[str]:
    """CheXpert: a folder for each study."""
    for index in range(count):
        patient, study = index // IMAGES_A_PATIENT, index % IMAGES_A_PATIENT // 2 + 1
        yield f"train/patient{patient:06d}/study{study}/view{index % 2 + 1}_frontal.jpg"


def write_dataset(folder: Path, images: list[str]) -> None:
    """The label table and one empty file an image."""
    random = np.random.default_rng(0)
    for parent in {image.rpartition("/")[0] for image in images}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["Path", *FURTHER, *CLASSES])
        for image in images:
            (folder / image).touch()
            table.writerow([image, "Female", 60, "Frontal", "PA", *random.choice(CELLS, len(CLASSES), p=SHARES)])


def card_of(folder: Path) -> Card:
    """The card of a written dataset."""
    task = {"reader": "label_columns_csv", "file": "labels.csv", "classes": list(CLASSES)}
    return Card.model_validate(
        {
            "name": "bench",
            "title": "Bench",
            "licence": {"name": "none", "redistribution": "unknown", "commercial": "unknown"},
            "access": "generated",
            "root": folder.name,
            "patient": {"pattern": "([0-9]{6})"},
            "tasks": {"classification": task | {"options": {"image_column": "Path"}}},
        }
    )


def ours(folder: Path) -> int:
    """Checked annotations of the dataset; gives the number of known labels."""
    result = read_annotations(card_of(folder), Task.CLASSIFICATION, folder.parent)
    return int((~np.isnan(result.labels)).sum())


def table_alone(folder: Path) -> int:
    """The first part of ours, which is all that pandas.read_csv does: the columns that are needed, by columns."""
    table = read_table(folder / "labels.csv", "labels.csv", ["Path", *CLASSES])
    counts = [count(table.cells[name]) for name in CLASSES]
    return sum(rows for cells in counts for cell, rows in cells.items() if cell not in ("", "-1.0"))


def listing_alone(folder: Path) -> None:
    """What looking for the files costs in any case: every folder is listed once, with the kind of each entry."""
    for _, _, files in os.walk(folder):
        frozenset(files)


def pandas_all(folder: Path) -> int:
    """A frame of the whole table."""
    import pandas

    frame = pandas.read_csv(folder / "labels.csv")
    return _known(frame)


def pandas_needed(folder: Path) -> int:
    """A frame of the columns that are needed, labels as float32."""
    import pandas

    types = dict.fromkeys(CLASSES, "float32")
    frame = pandas.read_csv(folder / "labels.csv", usecols=["Path", *CLASSES], dtype=types)
    return _known(frame)


def pandas_checked(folder: Path) -> int:
    """A frame of the columns that are needed, and what ours checks: values, files, patients, repeated images."""
    import pandas

    frame = pandas.read_csv(folder / "labels.csv", usecols=["Path", *CLASSES])
    labels = frame[list(CLASSES)].to_numpy(dtype=np.float32)
    if not (np.isnan(labels) | (labels == -1) | ((labels >= 0) & (labels <= 1))).all():
        raise SystemExit("a label of another value")
    parts = frame["Path"].str.rpartition("/")
    for parent, names in parts[2].groupby(parts[0]):
        with os.scandir(folder / parent) as entries:
            files = _ = {entry.name for entry in entries if entry.is_file()}
        if not names.isin(files).all():
            raise SystemExit("a missing image")
    frame["patient"] = frame["Path"].str.extract("([0-9]{6})", expand=False)
    if frame["patient"].isna().any() or frame["Path"].duplicated().any():
        raise SystemExit("a repeated image, or one without patient")
    return _known(frame)


def _known(frame) -> int:
    labels = frame[list(CLASSES)].to_numpy(dtype=np.float32)
    return int((~np.isnan(labels) & (labels != -1)).sum())


def measure(work: Work, folder: Path, pipe) -> None:
    """Runs in a fresh process: seconds by the clock and of the processor, peak megabytes over the start, result."""
    if work in (pandas_all, pandas_needed, pandas_checked):
        import pandas  # noqa: F401  (its import is not what is measured)
    before, start, busy = _peak(), time.perf_counter(), time.process_time()
    known = work(folder)
    pipe.send((time.perf_counter() - start, time.process_time() - busy, _peak() - before, known))


def _peak() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def run_apart(work: Work, folder: Path) -> Figures:
    """``measure`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(work, folder, sender))
    process.start()
    sender.close()  # else a process that died would be waited for
    result = receiver.recv()
    process.join()
    return result


def report(title: str, folder: Path, works: dict[str, Work], runs: int) -> None:
    """Prints a line for each way of reading."""
    figures: dict[str, list[Figures]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            figures[name].append(run_apart(work, folder))
    if len({result[-1] for results in figures.values() for result in results} - {None}) != 1:
        raise SystemExit(f"{title}: the ways of reading do not agree")
    for name, results in figures.items():
        clock, busy, megabytes, _ = zip(*results, strict=True)
        cells = f"{statistics.median(clock):.1f} | {statistics.median(busy):.2f} | {max(megabytes):,.0f}"
        print(f"| {title} | {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[377_000, 1_000_000], help="rows of each table")
    parser.add_argument("--nested", action="store_true", help="the first table again, with a folder for each study")
    parser.add_argument("--folder", type=Path, help="where to write; what is there is used again")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    works: dict[str, Work] = {"foundationx, checked annotations": ours}
    works |= {"its reading of the table alone": table_alone, "its listing of the folders alone": listing_alone}
    if importlib.util.find_spec("pandas"):
        works |= {"pandas.read_csv": pandas_all, "pandas.read_csv, needed columns": pandas_needed}
        works |= {"pandas, the same checks": pandas_checked}
    else:
        print("pandas is not installed: only our own figures\n")
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        print(f"Python {platform.python_version()}, {platform.machine()}, median of {options.runs} runs\n")
        print("| table | reader | seconds | of the processor | peak MB |")
        print("|---|---|---|---|---|")
        tables = [("one_folder", count, flat_images) for count in options.rows]
        tables += [("nested", options.rows[0], nested_images)] if options.nested else []
        for name, count, images in tables:
            folder = root / f"{name}_{count}"
            if not (folder / "labels.csv").is_file():
                write_dataset(folder, list(images(count)))
            report(f"{count:,} rows, {name}", folder, works, options.runs)


if __name__ == "__main__":
    main()
