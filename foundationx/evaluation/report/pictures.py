"""Evaluated images with what is true (solid) and what was predicted (dashed)."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from PIL import Image

from foundationx.core.types import Example, Task, TaskKey
from foundationx.tasks.definition import task_of
from foundationx.tasks.drawing import SIDE, Canvas, ClassSummary

SIZES = ((200, SIDE), (450, 240))
"""Up to so many pictures of a page have this longest side in pixels."""

SMALL = 176
"""Longest side if there are more."""

MOST_PICTURES = 600
"""Pictures of a page; heads share them."""

LEAST_PICTURES = 4
"""Pictures of a head, however many heads there are."""

QUALITY = 62
"""Of WebP, 0 to 100: a radiograph of 360 pixels takes about 10 kB."""


EFFORT = 2
"""Of the encoder, 0 to 6: half of the time of the default, for 6 % more bytes."""


def side_of(pictures: int) -> int:
    """Longest side in pixels of each of so many pictures, so that the page stays small."""
    return next((side for most, side in SIZES if pictures <= most), SMALL)


def each_of(heads: int) -> int:
    """Most pictures of each of so many heads."""
    return max(LEAST_PICTURES, MOST_PICTURES // max(heads, 1))


def picture(task: Task, example: Example, side: int = SIDE) -> str:
    """The example as a WebP data address."""
    pixels = drawn_over(task, example)
    scale = side / max(pixels.shape[:2])
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=QUALITY, method=EFFORT)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def drawn_over(task: Task, example: Example) -> np.ndarray:
    """The example's image, enlarged, with truth and prediction drawn over it, (h, w, 3) uint8 RGB."""
    canvas = Canvas(example.image)
    task_of(task).draw(canvas, example)
    return canvas.pixels


def figure(
    key: TaskKey, example: Example, classes: tuple[str, ...], side: int = SIDE, reasons: Sequence[str] = ()
) -> str:
    """The picture with truth and prediction of each class in words, and why it is shown.

    The page's script makes it a button that enlarges it.
    """
    name = escape(example.name, quote=True)
    summaries = task_of(key.task).findings(example, classes)
    lines = "".join(_class_line(summary) for summary in summaries) or "<li>no true objects, no predictions</li>"
    image = f"<img alt='{name}' src='{picture(key.task, example, side)}'>"
    why = f"<p class='why'>{escape('; '.join(reasons))}</p>" if reasons else ""
    return f"<figure class='pic'>{image}<figcaption>{why}<ul>{lines}</ul><span>{name}</span></figcaption></figure>"


def _class_line(summary: ClassSummary) -> str:
    kind = {True: "present", False: "absent", None: "unknown"}[summary.true]
    swatch = f"<i class='swatch' style='background:{summary.colour}'></i>" if summary.colour else "<i class='dot'></i>"
    bar = f"<u style='width:{100 * summary.share:.0f}%'></u>" if summary.share is not None else ""
    word = f"<span class='hidden'>{kind}: </span>"
    return (
        f"<li class='{kind}'>{swatch}{word}<span>{escape(summary.name)}</span><b>{escape(summary.words)}</b>{bar}</li>"
    )
