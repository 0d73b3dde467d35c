"""Large published tables: our readers and checks beside pandas on the same file, in seconds and peak memory.

Written in the published forms: CheXmask's run-length masks, PadChest's findings with line breaks, SIIM-ACR's folder per
image, and CheXpert's labels for the start of a run over a million images. Each way runs in a process of its own, which
imports what it needs; peaks include the interpreter and these imports. Ours gives checked annotations (masks parsed,
files on disk, patients); pandas.read_csv gives a frame of text.

    python benchmarks/bench_published_tables.py [--share 1.0] [--folder FOLDER] [--only chexmask padchest siim start]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from bench_label_rows import CLASSES, _peak, flat_images, write_dataset

from foundationx.core.types import Split, Task
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog

CHEXMASK_ROWS, PADCHEST_ROWS, SIIM_IMAGES, START_IMAGES = 112_120, 160_861, 12_047, 1_000_000
DIFFERENT = 200
"""Different rows that are written in turn: drawing each of them anew would take hours."""

EARLIER = {
    "chexmask": ("110", "2,600"),
    "padchest": ("58", "570"),
    "siim": ("505", "427"),
    "start": ("25", "1,160"),
}
"""Seconds and MB of ``data check --fast`` or of reading before tables were read by columns."""

Work = Callable[[Path], int]


def ellipse_runs(random: np.random.Generator, centre: tuple[int, int], axes: tuple[int, int], side: int) -> str:
    """Runs along the rows of a slightly uneven ellipse, counted from pixel 1."""
    (cy, cx), (ay, ax) = centre, axes
    rows = np.arange(cy - ay + 1, cy + ay)
    half = ax * np.sqrt(1 - ((rows - cy) / ay) ** 2) + 2 * np.sin(rows / 9)
    left = np.maximum(cx - half + random.integers(-1, 2, len(rows)), 0).astype(int)
    lengths = np.maximum(2 * half + random.integers(-1, 2, len(rows)), 1).astype(int)
    return " ".join(map(str, np.stack([rows * side + left + 1, lengths], axis=1).ravel().tolist()))


def write_chexmask(folder: Path, share: float) -> None:
    """Masks of two lungs and a heart in images of 1024 x 1024 pixels, with 120 landmarks."""
    random = np.random.default_rng(0)
    tails = []
    for _ in range(DIFFERENT):
        shift = int(random.integers(-30, 30))
        masks = [ellipse_runs(random, (480 + shift, x), (330 - abs(shift), 150), 1024) for x in (300, 720)] + [
            ellipse_runs(random, (640 + shift, 560), (190, 170), 1024)
        ]
        landmarks = str(random.integers(0, 1024, 240).tolist())
        tails.append(["0.91", "0.88", landmarks, *masks, 1024, 1024])
    names = [f"{index // 4 + 1:08d}_{index % 4:03d}.png" for index in range(int(CHEXMASK_ROWS * share))]
    header = ["Image Index", "Dice RCA (Max)", "Dice RCA (Mean)", "Landmarks", "Left Lung", "Right Lung", "Heart"]
    write_csv(folder / "ChestX-Ray8.csv", [*header, "Height", "Width"], zip_rows(names, tails))
    touch(folder / "images", names)


def write_padchest(folder: Path, share: float) -> None:
    """Findings as lists in quotes, reports with line breaks."""
    random = np.random.default_rng(0)
    findings = [
        "normal",
        "cardiomegaly",
        "pleural effusion",
        "COPD signs",
        "nodule",
        "exclude",
        "unchanged",
        "scoliosis",
    ]
    tails = []
    for _ in range(DIFFERENT * 50):
        chosen = random.choice(findings, random.integers(1, 4), replace=False).tolist()
        report = 'sin hallazgos significativos .\nsilueta cardíaca normal , "sin" derrame .' * int(
            random.integers(1, 4)
        )
        tails.append([str(random.integers(1, 60_000)), "PA", report, str(chosen), str([["loc right"], []])])
    count = int(PADCHEST_ROWS * share)
    names = [f"{index:09d}_{index * 7919 % 10**8:08d}.png" for index in range(count)]
    rows = ([index, name, index % 55, *tail] for index, (name, *tail) in enumerate(zip_rows(names, tails)))
    header = ["", "ImageID", "ImageDir", "PatientID", "Projection", "Report", "Labels", "Localizations"]
    write_csv(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", header, rows)
    for number in range(55):
        touch(folder / str(number), names[number::55])


def write_siim(folder: Path, share: float) -> None:
    """A folder for each study and series, with one image of 256 x 256 pixels."""
    from PIL import Image

    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (256, 256), dtype=np.uint8))
    rows = []
    for index in range(int(SIIM_IMAGES * share)):
        path = folder / f"study{index}" / f"series{index}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        rows.append([str(path.relative_to(folder)), "-1" if index % 4 else "100 5 251 7 249 9"])
    write_csv(folder / "train-rle.csv", ["ImageId", "EncodedPixels"], iter(rows))


def write_start(folder: Path, share: float) -> None:
    """A label table, a million empty files in one folder, and the card."""
    folder.mkdir(parents=True)
    write_dataset(folder, list(flat_images(int(START_IMAGES * share))))
    options = {"image_column": "Path"}
    task = {"reader": "label_columns_csv", "file": "labels.csv", "classes": list(CLASSES), "options": options}
    values = card_values(folder, {"classification": task}, {"pattern": "([0-9]{6})"})
    (folder / "cards").mkdir()
    (folder / "cards" / "bench.yaml").write_text(yaml.safe_dump(values))


def zip_rows(names: list[str], tails: list[list]) -> Iterator[list]:
    """Rows with the names in order and the tails in turn."""
    return ([name, *tail] for name, tail in zip(names, itertools.cycle(tails), strict=False))


def write_csv(path: Path, header: list[str], rows: Iterator[list]) -> None:
    """A table in the default form of the csv module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def touch(folder: Path, names: list[str]) -> None:
    """Empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def card_values(folder: Path, tasks: dict, patient: dict) -> dict:
    """The card of a written dataset."""
    licence = {"name": "none", "redistribution": "unknown", "commercial": "unknown"}
    values = {"name": "bench", "title": "Bench", "licence": licence, "access": "generated", "root": folder.name}
    return values | {"patient": patient, "tasks": tasks}


def card(folder: Path, tasks: dict, patient: dict) -> Card:
    """As :func:`card_values`, validated."""
    return Card.model_validate(card_values(folder, tasks, patient))


def runs_task(image: str, columns: dict[str, str], **options) -> dict:
    """A segmentation task with run-length masks."""
    chosen = {"image_column": image, "runs_columns": columns, **options}
    return {"reader": "runs_csv", "classes": list(columns), "options": chosen}


def read_chexmask(folder: Path) -> int:
    """Checked masks, packed."""
    columns = {name: name for name in ("Left Lung", "Right Lung", "Heart")}
    form = {"relative": False, "first": 1, "order": "rows", "height": "Height", "width": "Width"}
    quality = {"quality_column": "Dice RCA (Mean)", "quality_least": 0.7}
    task = runs_task("Image Index", columns, **form, **quality) | {"file": "ChestX-Ray8.csv", "images": "images"}
    described = card(folder, {"segmentation": task}, {"pattern": "([0-9]{8})_"})
    return len(read_annotations(described, Task.SEGMENTATION, folder.parent))


def read_padchest(folder: Path) -> int:
    """Checked labels, by PadChest's own card."""
    described = Catalog().card("padchest").model_copy(update={"root": folder.name})
    return len(read_annotations(described, Task.CLASSIFICATION, folder.parent))


def check_padchest(folder: Path) -> int:
    """``data check --fast``; the images are empty files, so every one is a fault."""
    from foundationx.curation.check.run import check_card

    described = Catalog().card("padchest").model_copy(update={"root": folder.name})
    return check_card(described, folder.parent, fast=True).images


def check_siim(folder: Path) -> int:
    """``data check --fast``."""
    from foundationx.curation.check.run import check_card

    form = {"relative": True, "first": 0, "order": "columns", "height": 256, "width": 256}
    task = runs_task("ImageId", {"Pneumothorax": "EncodedPixels"}, **form) | {"file": "train-rle.csv"}
    return check_card(
        card(folder, {"segmentation": task}, {"pattern": "([0-9]+).png"}), folder.parent, fast=True
    ).images


def start_run(folder: Path) -> int:
    """All that ``train`` and ``plan`` do before the model is built: annotations, splits, plan, samples."""
    from foundationx.core.config.run import RunConfig
    from foundationx.data.datamodule import open_datasets
    from foundationx.engine.schedule.plan import build_plan

    datasets, schedule = [{"card": "bench"}], {"cycles": 1}
    config = RunConfig(name="start", model={"backbone": {"type": "none"}}, datasets=datasets, schedule=schedule)
    data_module = open_datasets(config, folder.parent, Catalog([folder / "cards"]))
    build_plan(config, data_module.sizes(Split.TRAIN))
    data_module.training()
    return sum(row["images"] for row in data_module.summary())


def pandas_text(folder: Path) -> int:
    """A frame of all columns."""
    import pandas

    return len(pandas.read_csv(next(folder.glob("*.csv"))))


def measure(work: Work, folder: Path, pipe) -> None:
    """Runs in a fresh process: seconds, seconds of the processor, peak megabytes, result."""
    start, busy = time.perf_counter(), time.process_time()
    result = work(folder)
    pipe.send((time.perf_counter() - start, time.process_time() - busy, _peak(), result))


def run_apart(work: Work, folder: Path) -> tuple[float, float, float, int]:
    """``measure`` in a process of its own."""
    receiver, sender = (context := multiprocessing.get_context("spawn")).Pipe(duplex=False)
    process = context.Process(target=measure, args=(work, folder, sender))
    process.start()
    sender.close()  # else a process that died would be waited for
    figures = receiver.recv()
    process.join()
    return figures


TABLES: dict[str, tuple[Callable[[Path, float], None], dict[str, Work]]] = {
    "chexmask": (write_chexmask, {"masks read": read_chexmask, "pandas.read_csv": pandas_text}),
    "padchest": (
        write_padchest,
        {"labels read": read_padchest, "check --fast": check_padchest, "pandas.read_csv": pandas_text},
    ),
    "start": (write_start, {"start of a run": start_run, "pandas.read_csv": pandas_text}),
    "siim": (write_siim, {"check --fast": check_siim, "pandas.read_csv": pandas_text}),
}


def main() -> None:
    from measuring import table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the published rows")
    parser.add_argument("--folder", type=Path, help="where to write; what is there is used again")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            write, works = TABLES[name]
            folder = (options.folder or Path(temporary)) / f"{name}_{options.share:g}"
            if not folder.is_dir():
                write(folder, options.share)
            for way, work in works.items():
                clock, busy, megabytes, count = run_apart(work, folder)
                earlier = ("", "") if "pandas" in way else EARLIER[name]
                rows.append([name, way, f"{count:,}", f"{clock:.1f}", f"{busy:.1f}", f"{megabytes:,.0f}", *earlier])
                print(rows[-1], flush=True)
    columns = ["table", "way", "rows", "seconds", "of the processor", "peak MB"]
    table([*columns, "before, whole: seconds", "MB"], rows)


if __name__ == "__main__":
    main()
