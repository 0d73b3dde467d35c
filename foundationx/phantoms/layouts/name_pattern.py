"""No annotation file: the label is part of the image's name."""

from __future__ import annotations

from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import Capabilities

CAPABILITIES = Capabilities(
    scans=True, label_in="name", one_label=lambda options: True, none=lambda options: bool(options.negative)
)


def write(context: LayoutContext) -> None:
    """Writes nothing: the names of the images hold the labels."""
