"""All layouts by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from foundationx.datasets.cards.card import Card
from tests.helpers.layouts import points, tables, targets

LAYOUTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    layout.__name__: layout
    for layout in (
        tables.nih,
        tables.chexpert,
        tables.mimic,
        tables.padchest,
        tables.covidx,
        tables.shenzhen,
        tables.jsrt,
        tables.kermany,
        targets.rsna,
        targets.vindr,
        targets.siim,
        targets.chexmask,
        targets.node21,
        targets.coco,
        targets.chestx_det,
        targets.chexlocalize,
        targets.padchest_gr,
        targets.rsna_full,
        targets.reflacx,
        targets.object_cxr,
        targets.ribs,
        targets.mask_rows,
        targets.named_masks,
        points.landmarks,
        points.ranzcr,
    )
}
"""Each writes its files into a folder and gives the card's part that describes them."""


def write_layout(name: str, data_root: Path) -> Card:
    """Writes a layout into ``data_root/NAME`` and gives its card."""
    folder = data_root / name
    folder.mkdir(parents=True)
    common = {
        "name": name,
        "title": name,
        "licence": {"name": "none", "redistribution": "unknown", "commercial": "unknown"},
        "access": "generated",
        "root": name,
    }
    return Card.model_validate(common | LAYOUTS[name](folder))
