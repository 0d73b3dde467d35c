"""A project of md.ai: a group of labels, and one annotation per box or label of an image."""

from __future__ import annotations

from typing import Any

from foundationx.datasets.readers.mdai_json import IMAGE
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities()

NOTHING = "Nothing marked"
"""Label of images without any class, if the card names none for them."""


def write(context: LayoutContext) -> None:
    """Writes the project with an annotation for every box, or for every class without boxes."""
    options = context.options
    words = {name: f"L_{number}" for number, name in enumerate(_words(context))}
    group = {"id": "G_1", "name": options.label_group or "Labels"}
    group["labels"] = [{"id": identifier, "name": name} for name, identifier in words.items()]
    annotations = [one for image in context.images for one in _annotations(context, image, words)]
    dataset = {"id": "D_1", "studies": [], "annotations": annotations}
    context.json({"id": "P", "name": context.card.name, "labelGroups": [group], "datasets": [dataset]})


def _words(context: LayoutContext) -> list[str]:
    """Names of all labels of the project."""
    published = [name for item in context.classes for name in item.published]
    return list(dict.fromkeys([*published, *context.options.other, *context.options.ignore, NOTHING]))


def _annotations(context: LayoutContext, image: ImageTruth, words: dict[str, str]) -> list[dict[str, Any]]:
    """The annotations of an image; a class that denotes an absence has no box."""
    height, width = context.shape(image)
    common = context.cells(image) | {"height": height, "width": width}
    common.setdefault(IMAGE, context.name(image))
    found: list[dict[str, Any]] = []
    for item in context.present(image):
        label = common | {"labelId": words[context.word(image, item)]}
        boxes = context.boxes(image, item)
        listed: list[Any] = [{"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1} for x1, y1, x2, y2 in boxes]
        found += [label | {"data": data} for data in listed or [None]]
    if found:
        return found
    other = (*context.options.other, NOTHING)[0]
    return [common | {"labelId": words[other], "data": None}] if context.options.other else []
