"""JSON list of images with their findings."""

from __future__ import annotations

from typing import Any

from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()


def write(context: LayoutContext) -> None:
    """Writes a record for every image, with one finding per present class."""
    context.json([_record(context, image) for image in context.images])


def _record(context: LayoutContext, image: ImageTruth) -> dict[str, Any]:
    options = context.options
    height, width = context.shape(image)
    scale = (width, height, width, height) if options.reference_size == "unit" else (1, 1, 1, 1)
    findings: list[dict[str, Any]] = []
    for item in context.classes:
        boxes = context.boxes(image, item)
        if not boxes:
            continue
        if options.box_layout == "xywh":
            boxes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]
        shares = [[value / side for value, side in zip(box, scale, strict=True)] for box in boxes]
        finding = {options.labels_key: [context.word(image, item)], options.boxes_key: shares}
        findings.append(finding | ({options.present_key: True} if options.present_key else {}))
    return context.cells(image) | {options.image_key: context.name(image), options.findings_key: findings}
