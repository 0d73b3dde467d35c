"""Recall of planted copies in the audit, and its false positives.

Different generated radiographs are written as two datasets, with 16 bits per pixel in the first. Copies of the first's
images are planted in the second: smaller, with 8 bits, as JPEG at quality 70, rotated by 2 degrees and cropped, and all
at once; padded, letterboxed, framed, as a figure of a paper, in narrow windows, inverted, flipped and turned. With
``--real`` the same copies are planted among real radiographs, and two collections that share images are compared.
Prints markdown tables. A small form is ``tests/benchmarks/test_audit_recall.py``.

    python benchmarks/audit_recall.py [--images 2000] [--copies 100] [--size 160] [--real ../shared/data]
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.types import Split
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint_all
from foundationx.curation.audit.pairs import Item, Match, Pair, image_pairs
from foundationx.data.pixels.grey_range import to_bytes
from foundationx.phantoms.phantom import make_phantom

JPEG_QUALITY, DEGREES, SMALLER, MARGIN = 70, 2.0, 0.62, 0.1
PATIENTS = 5_000_000
"""Number of the first patient."""

Copy = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def windowed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """8 bits, with the darkest and brightest 1 % clipped."""
    low, high = np.percentile(image, (1, 99))
    return to_bytes(np.clip(image, low, high))


def smaller(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same depth at a smaller size."""
    return cv2.resize(image, None, fx=SMALLER, fy=SMALLER, interpolation=cv2.INTER_AREA)


def compressed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Compressed by JPEG and decoded again."""
    packed = cv2.imencode(".jpg", to_bytes(image), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)


def rotated(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rotated to the left or right, cropped so that no corner is empty, and resized to the old size."""
    height, width = image.shape
    degrees = DEGREES * random.choice((-1, 1))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    whole = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_CUBIC)
    share = math.sin(math.radians(DEGREES))
    top, left = math.ceil(share * width / 2) + 1, math.ceil(share * height / 2) + 1
    return cv2.resize(whole[top:-top, left:-left], (width, height), interpolation=cv2.INTER_CUBIC)


def at_once(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Rotated, cropped, smaller, 8 bits, JPEG."""
    return compressed(windowed(smaller(rotated(image, random), random), random), random)


def padded(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A black or white margin of 10 % on every side."""
    margins = [round(MARGIN * length) for length in image.shape]
    value = int(image.max()) if random.random() < 0.5 else int(image.min())
    return cv2.copyMakeBorder(image, *(margins[0],) * 2, *(margins[1],) * 2, cv2.BORDER_CONSTANT, value=value)


def letterboxed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A fifth wider by black bars, as in a square canvas."""
    bar = round(MARGIN * image.shape[1])
    return cv2.copyMakeBorder(image, 0, 0, bar, bar, cv2.BORDER_CONSTANT, value=0)


def framed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """10 % of every side painted over in black."""
    height, width = (round(MARGIN * length) for length in image.shape)
    frame = np.zeros_like(image)
    frame[height:-height, width:-width] = image[height:-height, width:-width]
    return frame


def as_figure(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Cropped by 3 %, on a white page with a caption, a letter in the image, JPEG."""
    eight = to_bytes(image)
    height, width = (round(0.03 * length) for length in eight.shape)
    inside = eight[height:-height, width:-width].copy()
    size = inside.shape[0]
    cv2.putText(inside, "L", (size // 20, size // 6), cv2.FONT_HERSHEY_SIMPLEX, size / 300, 255, max(1, size // 150))
    page = cv2.copyMakeBorder(inside, size // 8, size // 16, size // 16, size // 16, cv2.BORDER_CONSTANT, value=255)
    cv2.putText(
        page, "Figure 1", (size // 16, size // 12), cv2.FONT_HERSHEY_SIMPLEX, size / 500, 0, max(1, size // 250)
    )
    return compressed(page, random)


def narrow(low: float, high: float) -> Copy:
    """A window of the grey range, in shares of it."""

    def copy(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        shares = to_bytes(image) / 255
        return np.asarray(np.clip((shares - low) / (high - low), 0, 1) * 255, np.uint8)

    return copy


def inverted(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Dark for bright."""
    return 255 - to_bytes(image)


def flipped(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Left for right."""
    return np.ascontiguousarray(image[:, ::-1])


def quarter_turned(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Turned by 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(image, int(random.integers(1, 4))))


COPIES: dict[str, Copy] = {
    "smaller": smaller,
    "8 for 16 bits": windowed,
    "JPEG 70": compressed,
    "rotated, cropped": rotated,
    "all at once": at_once,
    "padded 10 %": padded,
    "letterboxed": letterboxed,
    "framed 10 %": framed,
    "figure": as_figure,
    "window 60-180": narrow(60 / 255, 180 / 255),
    "window 60-140": narrow(60 / 255, 140 / 255),
    "inverted": inverted,
    "flipped": flipped,
    "turned": quarter_turned,
}


def sixteen_bits(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An 8-bit image as from a detector: 16 bits, with noise in the additional bits."""
    return np.clip(image * 211.0 + 500 + random.normal(0, 60, image.shape), 0, 65535).astype(np.uint16)


def draw(patient: int, size: int) -> np.ndarray:
    """The first image of a patient."""
    cv2.setNumThreads(1)
    return make_phantom(patient, size=size).image


def write_images(folder: Path, count: int, size: int, processes: int = 2) -> list[Item]:
    """Different images: the first half as dataset a (16 bits, training), the others as b (8 bits, held out)."""
    jobs = [(PATIENTS + number, size) for number in range(count)]
    if processes > 1:
        with get_context("spawn").Pool(processes) as pool:
            images = pool.starmap(draw, jobs, chunksize=16)
    else:
        images = [draw(*job) for job in jobs]
    random = np.random.default_rng(0)
    items = []
    for number, image in enumerate(images):
        first = number < count // 2
        items.append(_item(folder, "a" if first else "b", f"{number}", Split.TRAIN if first else Split.TEST))
        _save(items[-1].path, sixteen_bits(image, random) if first else image)
    return items


def plant(originals: Sequence[Item], folder: Path, dataset: str, copies: int) -> dict[str, list[Item]]:
    """Copies of the originals under ``dataset``, by kind; each kind copies other originals while there are enough."""
    random = np.random.default_rng(1)
    order = random.permutation(len(originals))
    planted: dict[str, list[Item]] = {}
    for index, (kind, copy) in enumerate(COPIES.items()):
        planted[kind] = []
        for number in range(copies):
            original = originals[order[(index * copies + number) % len(order)]]
            item = _item(folder, dataset, f"{kind}_{number}", Split.TEST, of=original)
            _save(item.path, copy(cv2.imread(str(original.path), cv2.IMREAD_ANYDEPTH), random))
            planted[kind].append(item)
    return planted


def _item(folder: Path, dataset: str, name: str, split: Split, of: Item | None = None) -> Item:
    """An image whose patient names its original, so that the copies are known."""
    file = f"{name.replace(' ', '_').replace(',', '')}.png"
    return Item(dataset, file, f"{dataset}:{file}" if of is None else of.patient, split, folder / dataset / file)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"cannot write {path}")


def find_pairs(items: Sequence[Item], store: Path) -> tuple[list[Pair], dict[str, float]]:
    """Pairs of images, and seconds of processor time by stage, over all cores."""
    began = time.process_time()
    with closing(FingerprintStore(store)) as fingerprints:
        prints, faults = fingerprint_all([item.path for item in items], fingerprints)
    if faults:
        raise SystemExit(f"cannot be read: {faults}")
    read = time.process_time()
    pairs = image_pairs(items, prints)
    return pairs, {"reading": read - began, "comparing": time.process_time() - read}


def score(pairs: Sequence[Pair], planted: dict[str, list[Item]]) -> tuple[dict[str, tuple[int, int]], list[Pair]]:
    """Found and planted copies by kind, and pairs of images that are no copies of one original."""
    partners = {(pair.first.path, pair.second.path) for pair in pairs if pair.first.patient == pair.second.patient}
    hit = {path for pair in partners for path in pair}
    recall = {kind: (sum(item.path in hit for item in copies), len(copies)) for kind, copies in planted.items()}
    return recall, [pair for pair in pairs if pair.first.patient != pair.second.patient]


def show(title: str, items: Sequence[Item], planted: dict[str, list[Item]], folder: Path) -> None:
    """Runs one comparison and prints its table."""
    everything = [*items, *(item for copies in planted.values() for item in copies)]
    pairs, seconds = find_pairs(everything, folder / "fingerprints.sqlite")
    recall, wrong = score(pairs, planted)
    print(f"\n{title}: {len(items):,} different images, {len(everything) - len(items):,} copies\n")
    print("| copy | hits | planted | recall |\n|---|---|---|---|")
    for kind, (hits, number) in recall.items():
        print(f"| {kind} | {hits} | {number} | {hits / number:.1%} |")
    times = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    print(f"\nfalse positives: {len(wrong)}; seconds of processor time: {times}")
    for pair in wrong[:10]:
        print(f"  {pair.first.path} {pair.second.path} {pair.match.value} {pair.score:.3f}")


def real_images(folder: Path) -> tuple[list[Item], dict[Path, dict[str, str]]]:
    """Images of both real collections, and the rows of index.csv for the first. Patients of the second are unknown:
    each image that index.csv does not name counts as a patient."""
    multi, single = folder / "cxr_multi", folder / "cxr_real" / "images"
    with open(multi / "index.csv", newline="", encoding="utf-8") as stream:
        rows = {multi / row["file"].removeprefix("dev/"): row for row in csv.DictReader(stream)}
    items = [Item(row["set"], path.name, row["patient"], Split.TRAIN, path) for path, row in rows.items()]
    names = {Path(row["original_name"]).stem: row["patient"] for row in rows.values()}
    for path in sorted(single.iterdir()):
        items.append(Item("cxr_real", path.name, names.get(path.stem, path.stem), Split.TEST, path))
    return items, rows


def show_overlap(items: Sequence[Item], rows: dict[Path, dict[str, str]], folder: Path) -> None:
    """Compares the collections, and the pairs with index.csv: names of originals, patients."""
    pairs, _ = find_pairs(items, folder / "fingerprints.sqlite")
    original = {
        item.path: Path(rows[item.path]["original_name"] if item.path in rows else item.image).stem for item in items
    }
    apart = [pair for pair in pairs if "cxr_real" in (pair.first.dataset, pair.second.dataset)]
    paired = {(pair.first.path, pair.second.path) for pair in pairs}
    named = [
        (a, b)
        for a in items
        if a.path in rows
        for b in items
        if b.path not in rows and original[a.path] == original[b.path]
    ]
    missed = [(a, b) for a, b in named if (a.path, b.path) not in paired and (b.path, a.path) not in paired]
    matches = Counter(pair.match for pair in apart)
    print(f"\nreal collections, {len(items)} images; images of one name in both: {len(named)}, missed {len(missed)}")
    print(f"pairs over both: {', '.join(f'{matches[match]} {match.value}' for match in Match if matches[match])}")
    other = [pair for pair in pairs if original[pair.first.path] != original[pair.second.path]]
    print(f"pairs of images with different names: {len(other)}")
    for pair in other:
        names = f"{pair.first.path.name} ({pair.first.patient}), {pair.second.path.name} ({pair.second.patient})"
        print(f"  {names}: {pair.score:.3f}")


def main() -> None:
    """Runs all and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="generated images")
    parser.add_argument("--copies", type=int, default=100, help="copies of each kind")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--real", type=Path, help="folder of real data (cxr_multi and cxr_real)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = write_images(folder, options.images, options.size)
        originals = [item for item in items if item.dataset == "a"]
        show("generated", items, plant(originals, folder, "b", options.copies), folder)
        if options.real is not None:
            images, rows = real_images(options.real)
            show_overlap(images, rows, folder)
            distinct = [item for item in images if item.path in rows]
            show("real", distinct, plant(distinct, folder, "copies", options.copies), folder)


if __name__ == "__main__":
    main()
