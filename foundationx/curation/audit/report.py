"""What an audit leaves behind: tables, the exclusion list, and the pairs as pictures."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foundationx.core.types import Split
from foundationx.core.workdir import write_atomically
from foundationx.curation.audit.audit import Audit, exclusions
from foundationx.curation.audit.pairs import Kind, Pair
from foundationx.curation.audit.verify import SAME
from foundationx.data.pixels.read import read_grey
from foundationx.datasets.exclusion import COLUMNS

SIDES = tuple(f"{first.value} - {second.value}" for first, second in combinations_with_replacement(Split, 2))
"""Every pair of sides, in the order of the split."""

_SHOWN = 24
"""Pairs on the picture sheet."""

_PICTURE, _GAP, _CAPTION, _COLUMNS = 220, 8, 46, 2
"""Pixels of a picture's side, between pictures and of the text below them; pairs beside each other."""


def counts(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Number of pairs by kind and pair of datasets; ``sides`` counts them by pair of sides (``train - test``)."""
    table: dict[tuple[Kind, str], Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        datasets = " - ".join(sorted({pair.first.dataset, pair.second.dataset}))
        table[pair.kind, datasets][sides_of(pair)] += 1
    order = list(Kind)
    return [
        {"kind": kind.value, "datasets": datasets, "pairs": sides.total(), "sides": dict(sides)}
        for (kind, datasets), sides in sorted(table.items(), key=lambda entry: (order.index(entry[0][0]), entry[0][1]))
    ]


def sides_of(pair: Pair) -> str:
    """One of SIDES."""
    first, second = sorted((pair.first.split, pair.second.split), key=list(Split).index)
    return f"{first.value} - {second.value}"


def write_audit(found: Audit, folder: Path) -> list[Path]:
    """Writes ``audit.csv``, ``audit.json``, ``exclude.csv`` and, where there are pairs of images, ``pairs.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    leave_out = exclusions(found)
    sides = [f"{field}_{side}" for side in "ab" for field in ("dataset", "image", "patient", "split")]
    header = ("kind", "score", *sides)
    written = [
        _write_table(folder / "audit.csv", header, map(_row, found.pairs)),
        _write_table(folder / "exclude.csv", COLUMNS, (astuple(entry)[: len(COLUMNS)] for entry in leave_out)),
    ]
    summary = {
        "images": len(found.items),
        "counts": counts(found.pairs),
        "left_out": len({(entry.dataset, entry.image) for entry in leave_out}),
        "unreadable": {str(path): reason for path, reason in found.unreadable.items()},
        "notes": found.notes,
        "perceptual_threshold": SAME,
    }
    write_atomically(folder / "audit.json", json.dumps(summary, indent=1) + "\n")
    written.append(folder / "audit.json")
    if (sheet := picture_sheet(found.pairs)) is not None:
        Image.fromarray(sheet).save(folder / "pairs.png", optimize=True)
        written.append(folder / "pairs.png")
    return written


def _row(pair: Pair) -> list[str]:
    sides = [[item.dataset, item.image, item.patient, item.split.value] for item in (pair.first, pair.second)]
    return [pair.kind.value, f"{pair.score:g}", *sides[0], *sides[1]]


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, stream.getvalue())
    return path


def picture_sheet(pairs: Sequence[Pair]) -> np.ndarray | None:
    """The most doubtful pairs of images side by side, for a person to judge; (H, W) uint8, None where there are none.

    First those that cross from training to a held-out side; of these and of the others the least alike first.
    """
    shown = [pair for pair in pairs if pair.kind is not Kind.PATIENT]
    shown = sorted(shown, key=lambda pair: (not pair.crosses, pair.score))[:_SHOWN]
    if not shown:
        return None
    tiles = [_tile(pair) for pair in shown]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)])


def _tile(pair: Pair) -> np.ndarray:
    """Both images of a pair with what they are called."""
    width, height = 2 * (_PICTURE + _GAP), _PICTURE + _GAP + _CAPTION
    tile = Image.new("L", (width, height), 255)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(11)
    draw.text((_GAP // 2, 0), f"{pair.kind.value} {pair.score:.3f}", font=font, fill=0)
    for place, item in enumerate((pair.first, pair.second)):
        left, top = place * (_PICTURE + _GAP) + _GAP // 2, 15
        tile.paste(Image.fromarray(_fit(read_grey(item.path))), (left, top))
        for line, text in enumerate((f"{item.dataset} ({item.split.value})", Path(item.image).name[-32:])):
            draw.text((left, top + _PICTURE + 13 * line), text, font=font, fill=0)
    return np.asarray(tile)


def _fit(image: np.ndarray) -> np.ndarray:
    """The image inside a square of the sheet, its proportions kept."""
    scale = _PICTURE / max(image.shape)
    height, width = (max(1, round(side * scale)) for side in image.shape)
    square = np.zeros((_PICTURE, _PICTURE), np.uint8)
    top, left = (_PICTURE - height) // 2, (_PICTURE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return square
