"""Drawing over radiographs: overlays of ``predict`` at full size, and the report's small pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178)]
"""RGB; Okabe and Ito's palette, which colour-blind people can distinguish."""

SIDE = 360
"""Longest side of the report's pictures in pixels; small images are enlarged to it."""

_DASH = 6

LEAST_SIDE = 512
"""Small images are enlarged to this before drawing, so that lines and letters stay fine."""


class Overlay:
    """An image with predictions drawn over it.

    Args:
        image: (H, W) uint8.
    """

    def __init__(self, image: np.ndarray):
        self.scale = max(1.0, LEAST_SIDE / min(image.shape))
        size = (round(image.shape[1] * self.scale), round(image.shape[0] * self.scale))
        self.canvas = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
        self.font = max(0.45, min(self.canvas.shape[:2]) / 1200)
        self.line = int(np.ceil(self.font * 2))
        self.next_note = 0

    def box(self, corners: Sequence[float], label: str, colour: int) -> None:
        """A box x1 y1 x2 y2 in the image's pixels, with its label above."""
        x1, y1, x2, y2 = (round(float(value) * self.scale) for value in corners)
        rgb = COLOURS[colour % len(COLOURS)]
        cv2.rectangle(self.canvas, (x1, y1), (x2, y2), rgb, self.line, cv2.LINE_AA)
        self._text(label, (x1, y1 - 5), rgb)

    def mask(self, mask: np.ndarray, label: str, colour: int) -> None:
        """A translucent mask (H, W) of 0 and 1 with its outline and name; unknown pixels (255) are not painted."""
        size = (self.canvas.shape[1], self.canvas.shape[0])
        large = cv2.resize((mask == 1).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        if not large.any():
            return
        rgb = COLOURS[colour % len(COLOURS)]
        self.canvas[large] = (0.82 * self.canvas[large] + 0.18 * np.array(rgb)).astype(np.uint8)
        outlines, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(self.canvas, outlines, -1, rgb, self.line, cv2.LINE_AA)
        largest = max(outlines, key=cv2.contourArea)[:, 0]
        x, y = largest.mean(axis=0)
        self._text(label, (int(x), int(y)), rgb)

    def point(self, point: Sequence[float], label: str, colour: int) -> None:
        """A cross at x, y in the image's pixels, with its label beside it."""
        x, y = (round(float(value) * self.scale) for value in point)
        rgb = COLOURS[colour % len(COLOURS)]
        cv2.drawMarker(self.canvas, (x, y), rgb, cv2.MARKER_CROSS, 8 * self.line, self.line, cv2.LINE_AA)
        self._text(label, (x + 5 * self.line, y), rgb)

    def note(self, lines: Sequence[str], title: str) -> None:
        """Lines of text in the upper left corner, below earlier notes."""
        for text in [title, *(f"  {line}" for line in lines or ["nothing above the threshold"])]:
            self.next_note += round(34 * self.font)
            self._text(text, (6, self.next_note), (255, 255, 255))

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB."""
        return self.canvas

    def _text(self, text: str, position: tuple[int, int], rgb: tuple[int, int, int]) -> None:
        """Text with a dark rim, readable on bright and dark ground; moved if it would leave the picture."""
        font, width = cv2.FONT_HERSHEY_SIMPLEX, max(1, self.line // 2)
        (across, up), below = cv2.getTextSize(text, font, self.font, width + 2)
        x = max(1, min(position[0], self.canvas.shape[1] - across - 1))
        y = max(up + 1, min(position[1], self.canvas.shape[0] - below - 1))
        for colour, thickness in (((0, 0, 0), width + 2), (rgb, width)):
            cv2.putText(self.canvas, text, (x, y), font, self.font, colour, thickness, cv2.LINE_AA)


@dataclass(frozen=True)
class ClassSummary:
    """One class of one picture of the report.

    Attributes:
        name: Name of the class.
        true: Whether it is present; None if unknown.
        words: The prediction in words.
        share: Value in [0, 1] drawn as a bar; None for no bar.
        colour: CSS colour of the drawing; None if nothing is drawn.
    """

    name: str
    true: bool | None
    words: str
    share: float | None
    colour: str | None


class Canvas:
    """A small picture of the report: an enlarged image to draw on.

    Args:
        image: (H, W) uint8.

    Attributes:
        pixels: (h, w, 3) uint8, RGB.
        scale: Pixels of the picture per pixel of the image.
    """

    def __init__(self, image: np.ndarray):
        self.scale = SIDE / max(image.shape)
        size = (round(image.shape[1] * self.scale), round(image.shape[0] * self.scale))
        self.pixels = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)

    def corners(self, box: np.ndarray) -> list[int]:
        """A box x1 y1 x2 y2 of the image in pixels of the picture."""
        return np.round(box * self.scale).astype(int).tolist()

    def box(self, box: np.ndarray, colour: tuple[int, int, int]) -> None:
        """A solid box x1 y1 x2 y2 in the image's pixels."""
        x1, y1, x2, y2 = self.corners(box)
        cv2.rectangle(self.pixels, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)

    def dashed_box(self, box: np.ndarray, text: str, colour: tuple[int, int, int]) -> None:
        """A dashed box x1 y1 x2 y2 in the image's pixels, with text in its lower left corner."""
        x1, y1, x2, y2 = self.corners(box)
        self.dashed(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), colour)
        self.tag(text, (x1, y2), colour)

    def mark(self, point: np.ndarray, colour: tuple[int, int, int], solid: bool) -> None:
        """A point x, y in the image's pixels: a disc if ``solid``, else a cross."""
        x, y = np.round(point * self.scale).astype(int).tolist()
        if solid:
            cv2.circle(self.pixels, (x, y), 5, colour, cv2.FILLED, cv2.LINE_AA)
        else:
            cv2.drawMarker(self.pixels, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 14, 3, cv2.LINE_AA)
            cv2.drawMarker(self.pixels, (x, y), colour, cv2.MARKER_CROSS, 13, 1, cv2.LINE_AA)

    def tag(self, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
        """Black text on the class's colour with its lower left end at ``corner`` (x, y), moved into the picture."""
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
        x = min(max(corner[0], 0), self.pixels.shape[1] - width - 6)
        y = min(max(corner[1], height + 6), self.pixels.shape[0])
        cv2.rectangle(self.pixels, (x, y - height - 6), (x + width + 5, y), colour, cv2.FILLED)
        cv2.putText(self.pixels, text, (x + 3, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)

    def dashed(self, corners: np.ndarray, colour: tuple[int, int, int]) -> None:
        """A closed line of white and coloured dashes, which shows on any ground; corners in pixels of the picture."""
        closed = np.vstack([corners, corners[:1]]).astype(float)
        lengths = np.hypot(*np.diff(closed, axis=0).T)
        along = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.arange(0, along[-1], _DASH)
        points = np.stack([np.interp(steps, along, closed[:, axis]) for axis in (0, 1)], axis=1).round().astype(int)
        for number, (start, end) in enumerate(itertools.pairwise(points)):
            shade = (255, 255, 255) if number % 2 else colour
            cv2.line(self.pixels, start.tolist(), end.tolist(), shade, 1, cv2.LINE_AA)


def colour_of(index: int) -> tuple[int, int, int]:
    """RGB of a class: the palette, then the same half way to white, for twice as many distinguishable classes."""
    red, green, blue = COLOURS[int(index) % len(COLOURS)]
    paler = (int(index) // len(COLOURS)) % 2
    return (red + paler * (255 - red) // 2, green + paler * (255 - green) // 2, blue + paler * (255 - blue) // 2)


def css_of(index: int) -> str:
    """The class's colour in CSS."""
    return "rgb({},{},{})".format(*colour_of(index))


def is_present(labels: np.ndarray, index: int) -> bool | None:
    """Whether a class is labelled as present; None if it is unknown."""
    return None if np.isnan(labels[index]) else bool(labels[index] >= 0.5)
