"""No annotation file: the label stands in the image's path, where the films' names put it."""

from __future__ import annotations

from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.slots import Manner

MANNER = Manner(
    scans=True, label_in="name", one_label=lambda options: True, none=lambda options: bool(options.negative)
)


def write(request: Request) -> None:
    """Nothing is left to write."""
