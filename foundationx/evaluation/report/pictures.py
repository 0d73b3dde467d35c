"""Evaluated images with what is true (solid) and what was predicted (dashed)."""

from __future__ import annotations

import base64
from html import escape

import cv2

from foundationx.core.types import Example, Task, TaskKey
from foundationx.tasks.definition import task_of
from foundationx.tasks.drawing import Canvas, ClassSummary


def picture(task: Task, example: Example) -> str:
    """The example as a PNG data address."""
    canvas = Canvas(example.image)
    task_of(task).draw(canvas, example)
    _, encoded = cv2.imencode(
        ".png", canvas.pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6]
    )  # half as large as by default
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def figure(key: TaskKey, example: Example, classes: tuple[str, ...]) -> str:
    """The picture with truth and prediction of each class in words."""
    name = escape(example.name)
    summaries = task_of(key.task).findings(example, classes)
    lines = "".join(_class_line(summary) for summary in summaries) or "<li>no true objects, no predictions</li>"
    image = f"<img alt='{name}' src='{picture(key.task, example)}'>"
    return f"<figure>{image}<figcaption><ul>{lines}</ul><span>{name}</span></figcaption></figure>"


def _class_line(summary: ClassSummary) -> str:
    kind = {True: "present", False: "absent", None: "unknown"}[summary.true]
    swatch = f"<i class='swatch' style='background:{summary.colour}'></i>" if summary.colour else "<i class='dot'></i>"
    bar = f"<u style='width:{100 * summary.share:.0f}%'></u>" if summary.share is not None else ""
    return f"<li class='{kind}'>{swatch}<span>{escape(summary.name)}</span><b>{escape(summary.words)}</b>{bar}</li>"
