"""One folder of images a class: the films' paths say it all."""

from __future__ import annotations

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner, concrete

MANNER = Manner(
    scans=True, label_in="folder", one_label=lambda options: True, none=lambda options: bool(options.negative)
)


def write(request: Request) -> None:
    """Makes the folders of all classes, with films or without."""
    for images in request.slot.part.images:
        for folder in concrete(images):
            for item in request.classes:
                request.folder(f"{folder}/{item.published[0]}")
