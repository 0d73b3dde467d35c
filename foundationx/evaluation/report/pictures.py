"""Evaluated images with what is true (solid) and what was predicted (dashed)."""

from __future__ import annotations

import base64

import cv2

from foundationx.core.types import Example, Task
from foundationx.tasks.definition import task_of
from foundationx.tasks.drawing import Canvas


def picture(task: Task, example: Example) -> str:
    """The example as a PNG data address."""
    canvas = Canvas(example.image)
    task_of(task).draw(canvas, example)
    _, encoded = cv2.imencode(
        ".png", canvas.pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6]
    )  # half as large as by default
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
