"""Files that an audit writes: tables, the exclusion list, and the pairs as pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foundationx.core.atomic_write import replacing, write_csv, write_json
from foundationx.core.types import Split
from foundationx.curation.audit.audit import Audit, exclusions
from foundationx.curation.audit.pairs import Match, Pair
from foundationx.curation.audit.verify import SAME
from foundationx.curation.issues import by_severity, count_kinds
from foundationx.data.pixels.read import read_grey
from foundationx.datasets.exclusion import COLUMNS

SPLIT_PAIRS = tuple(f"{first.value} - {second.value}" for first, second in combinations_with_replacement(Split, 2))
"""Every pair of splits, such as ``train - test``."""

_SHOWN = 24
"""Pairs on the picture sheet."""

_PICTURE, _GAP, _CAPTION, _COLUMNS = 220, 8, 46, 2
"""Pixels per side of a picture, between pictures and of the text below them; pairs in a row."""


def counts(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Number of pairs by match and datasets; ``splits`` counts them by pair of splits (``train - test``)."""
    table: dict[tuple[Match, str], Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        datasets = " - ".join(sorted({pair.first.dataset, pair.second.dataset}))
        table[pair.match, datasets][splits_of(pair)] += 1
    order = list(Match)
    return [
        {"match": match.value, "datasets": datasets, "pairs": splits.total(), "splits": dict(splits)}
        for (match, datasets), splits in sorted(
            table.items(), key=lambda entry: (order.index(entry[0][0]), entry[0][1])
        )
    ]


def splits_of(pair: Pair) -> str:
    """The splits of a pair, one of SPLIT_PAIRS."""
    first, second = sorted((pair.first.split, pair.second.split), key=list(Split).index)
    return f"{first.value} - {second.value}"


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Writes ``audit.csv``, ``audit.json``, ``exclude.csv`` and, if there are pairs of images, ``pairs.png``."""
    excluded = exclusions(audit.items, audit.pairs)
    columns = [f"{field}_{image}" for image in "ab" for field in ("dataset", "image", "patient", "split")]
    header = ("match", "score", *columns)
    written = [
        _write_table(folder / "audit.csv", header, map(_row, audit.pairs)),
        _write_table(folder / "exclude.csv", COLUMNS, (astuple(entry)[: len(COLUMNS)] for entry in excluded)),
    ]
    summary = {
        "datasets": sorted({item.dataset for item in audit.items}),
        "images": len(audit.items),
        "pairs": counts(audit.pairs),
        "excluded": len({(entry.dataset, entry.image) for entry in excluded}),
        "counts": count_kinds(audit.issues),
        "issues": [asdict(issue) for issue in by_severity(audit.issues)],
        "perceptual_threshold": SAME,
    }
    write_json(folder / "audit.json", summary)
    written.append(folder / "audit.json")
    if (sheet := picture_sheet(audit.pairs)) is not None:
        with replacing(folder / "pairs.png") as partial:
            Image.fromarray(sheet).save(partial, "PNG", optimize=True)
        written.append(folder / "pairs.png")
    return written


def _row(pair: Pair) -> list[str]:
    first, second = ([item.dataset, item.image, item.patient, item.split.value] for item in (pair.first, pair.second))
    return [pair.match.value, f"{pair.score:g}", *first, *second]


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    write_csv(path, header, rows)
    return path


def picture_sheet(pairs: Sequence[Pair]) -> np.ndarray | None:
    """The most doubtful pairs of images side by side, for visual inspection; (H, W) uint8, None if there are none.

    Pairs of a training and a held-out image come first; among these and the others, those with the lowest score.
    """
    shown = [pair for pair in pairs if pair.match is not Match.PATIENT]
    shown = sorted(shown, key=lambda pair: (not pair.crosses, pair.score))[:_SHOWN]
    if not shown:
        return None
    tiles = [_tile(pair) for pair in shown]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)])


def _tile(pair: Pair) -> np.ndarray:
    """Both images of a pair with their names."""
    width, height = 2 * (_PICTURE + _GAP), _PICTURE + _GAP + _CAPTION
    tile = Image.new("L", (width, height), 255)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(11)
    draw.text((_GAP // 2, 0), f"{pair.match.value} {pair.score:.3f}", font=font, fill=0)
    for index, item in enumerate((pair.first, pair.second)):
        left, top = index * (_PICTURE + _GAP) + _GAP // 2, 15
        tile.paste(Image.fromarray(_fit(read_grey(item.path))), (left, top))
        for line, text in enumerate((f"{item.dataset} ({item.split.value})", Path(item.image).name[-32:])):
            draw.text((left, top + _PICTURE + 13 * line), text, font=font, fill=0)
    return np.asarray(tile)


def _fit(image: np.ndarray) -> np.ndarray:
    """The image inside a square of the sheet, its proportions kept."""
    scale = _PICTURE / max(image.shape)
    height, width = (max(1, round(length * scale)) for length in image.shape)
    square = np.zeros((_PICTURE, _PICTURE), np.uint8)
    top, left = (_PICTURE - height) // 2, (_PICTURE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return square
