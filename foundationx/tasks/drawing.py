"""Drawing over radiographs: overlays of ``predict`` at full size, and the report's small pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178)]
"""RGB; Okabe and Ito's palette, which colour-blind people can distinguish."""

SIDE = 360
"""Longest side of the report's pictures in pixels; small images are enlarged to it."""

_DASH = 6

LEAST_SIDE = 512
"""Small images are enlarged to this before drawing, so that lines and letters stay fine."""


@dataclass
class _Section:
    """A head's part of the legend: its title, and lines of text, each with the colour of what is drawn, if any."""

    title: str
    lines: list[tuple[tuple[int, int, int] | None, str]] = field(default_factory=list)
    drawn: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def entries(self) -> list[tuple[tuple[int, int, int] | None, str]]:
        """Lines of text, then one for each class that is drawn, with what is said of its boxes or masks."""
        drawn = [
            (colour_of(colour), f"{name} {', '.join(dict.fromkeys(details))}".rstrip())
            for colour, (name, details) in self.drawn.items()
        ]
        return [*self.lines, *drawn] or [(None, "nothing above the thresholds")]


class Overlay:
    """An image with predictions drawn over it, and beside it a legend of all heads.

    In the image there are short tags, none over another; one that has no free place is left to the legend. Every class
    of every head has a colour of its own, as long as there are enough.

    Args:
        image: (H, W) uint8.

    Attributes:
        scale: Pixels of the picture per pixel of the image.
        areas: Left, top, right and bottom of each tag in the last picture.
    """

    def __init__(self, image: np.ndarray):
        self.scale = max(1.0, LEAST_SIDE / min(image.shape))
        self.areas: list[_Area] = []
        size = (round(image.shape[1] * self.scale), round(image.shape[0] * self.scale))
        self.canvas = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
        self.letters = max(13, round(min(self.canvas.shape[:2]) / 42))
        self.line = max(2, round(self.letters / 9))
        self._sections: list[_Section] = []
        self._notes: list[str] = []
        self._first = self._colours = 0
        self._tags: list[tuple[str, tuple[int, int], tuple[int, int, int]]] = []

    def section(self, title: str) -> None:
        """Begins a head's part: what is drawn from now on has colours that earlier parts do not have."""
        self._sections.append(_Section(title))
        self._first = self._colours

    def box(self, corners: Sequence[float], name: str, colour: int, detail: str = "") -> None:
        """A box x1 y1 x2 y2 in the image's pixels.

        Args:
            corners: The box.
            name: Name of its class, for the legend.
            colour: Index of the class in its head.
            detail: Its score in words, which stands beside the box and in the legend.
        """
        x1, y1, x2, y2 = (round(float(value) * self.scale) for value in corners)
        rgb = self._noted(name, colour, detail)
        cv2.rectangle(self.canvas, (x1, y1), (x2, y2), rgb, self.line, cv2.LINE_AA)
        self._tag(detail or name, (x1, y1 - self.letters - 4), rgb)

    def mask(self, mask: np.ndarray, name: str, colour: int, detail: str = "") -> None:
        """A translucent mask (H, W) of 0 and 1 with its outline; unknown pixels (255) are not painted."""
        size = (self.canvas.shape[1], self.canvas.shape[0])
        large = cv2.resize((mask == 1).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        if not large.any():
            return
        rgb = self._noted(name, colour, detail)
        self.canvas[large] = (0.82 * self.canvas[large] + 0.18 * np.array(rgb)).astype(np.uint8)
        outlines, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(self.canvas, outlines, -1, rgb, self.line, cv2.LINE_AA)

    def point(self, point: Sequence[float], name: str, colour: int) -> None:
        """A cross at x, y in the image's pixels, with the name of its class beside it."""
        x, y = (round(float(value) * self.scale) for value in point)
        rgb = self._noted(name, colour, "")
        cv2.drawMarker(self.canvas, (x, y), rgb, cv2.MARKER_CROSS, 8 * self.line, self.line, cv2.LINE_AA)
        self._tag(name, (x + 5 * self.line, y - self.letters // 2), rgb)

    def polyline(self, points: np.ndarray, name: str, colour: int) -> None:
        """An open line through points (P, 2), x y in the image's pixels, with its name at the first one."""
        if not len(points):
            return
        rgb = self._noted(name, colour, "")
        corners = np.round(points * self.scale).astype(np.int32)
        cv2.polylines(self.canvas, [corners], False, rgb, self.line, cv2.LINE_AA)
        for corner in corners.tolist():
            cv2.circle(self.canvas, corner, self.line, rgb, cv2.FILLED, cv2.LINE_AA)
        x, y = corners[0].tolist()
        self._tag(name, (x + 5 * self.line, y - self.letters // 2), rgb)

    def note(self, lines: Sequence[str]) -> None:
        """Lines of the current head's part of the legend."""
        self._section().lines.extend((None, line) for line in lines)

    def footnote(self, text: str) -> None:
        """A line at the end of the legend."""
        self._notes.append(text)

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB: the image with what is drawn over it, and the legend to its right."""
        pixels = self._with_tags()
        if not self._sections and not self._notes:
            return pixels
        legend = self._legend(pixels.shape[0])
        if legend.shape[0] > pixels.shape[0]:
            below = np.zeros((legend.shape[0] - pixels.shape[0], pixels.shape[1], 3), np.uint8)
            pixels = np.concatenate([pixels, below])
        return np.concatenate([pixels, legend], axis=1)

    def _section(self) -> _Section:
        if not self._sections:
            self._sections.append(_Section(""))
        return self._sections[-1]

    def _noted(self, name: str, colour: int, detail: str) -> tuple[int, int, int]:
        """The colour of a class of the current head, which is noted in the legend."""
        number = self._first + int(colour)
        self._colours = max(self._colours, number + 1)
        if name:
            self._section().drawn.setdefault(number, (name, []))[1].append(detail)
        return colour_of(number)

    def _tag(self, text: str, corner: tuple[int, int], rgb: tuple[int, int, int]) -> None:
        if text:
            self._tags.append((text, corner, rgb))

    def _with_tags(self) -> np.ndarray:
        """The canvas with the tags that find a free place."""
        if not self._tags:
            return self.canvas
        picture = Image.fromarray(self.canvas)
        pen, font, taken = ImageDraw.Draw(picture), _font(self.letters), list[_Area]()
        for text, corner, rgb in self._tags:
            width, height = _size(pen, text, font)
            area = _free_area(corner, (width + 6, height + 4), picture.size, taken)
            if area is not None:
                taken.append(area)
                pen.rectangle((area[0], area[1], area[2] - 1, area[3] - 1), fill=(0, 0, 0))
                pen.text((area[0] + 3, area[1] + 2), text, font=font, fill=rgb, anchor="la")
        self.areas = taken
        return np.asarray(picture)

    def _legend(self, height: int) -> np.ndarray:
        """Titles, swatches and lines on black, as wide as they need and at least ``height`` high."""
        font, line = _font(self.letters), round(1.45 * self.letters)
        rows: list[tuple[int, tuple[int, int, int] | None, str]] = []
        for section in self._sections:
            rows += [(0, None, section.title)] if section.title else []
            rows += [(1, colour, text) for colour, text in section.entries()] + [(0, None, "")]
        rows += [(0, None, text) for text in self._notes]
        pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        indent = line
        widest = max(
            (indent * (step + (colour is not None)) + _size(pen, text, font)[0] for step, colour, text in rows)
        )
        picture = Image.new("RGB", (widest + 2 * indent, max(height, line * (len(rows) + 1))))
        pen = ImageDraw.Draw(picture)
        for number, (step, colour, text) in enumerate(rows):
            left, top = indent // 2 + step * indent, line // 2 + number * line
            if colour is not None:
                pen.rectangle((left, top, left + self.letters, top + self.letters), fill=colour)
                left += indent + self.letters // 4
            shade = (255, 255, 255) if step == 0 else (210, 210, 210)
            pen.text((left, top), text, font=font, fill=shade, anchor="la")
        return np.asarray(picture)


class NoOverlay(Overlay):
    """Draws nothing: for predictions without pictures."""

    def __init__(self) -> None:
        super().__init__(np.zeros((LEAST_SIDE, LEAST_SIDE), np.uint8))

    def box(self, corners: Sequence[float], name: str, colour: int, detail: str = "") -> None:
        """Nothing."""

    def mask(self, mask: np.ndarray, name: str, colour: int, detail: str = "") -> None:
        """Nothing."""

    def point(self, point: Sequence[float], name: str, colour: int) -> None:
        """Nothing."""

    def polyline(self, points: np.ndarray, name: str, colour: int) -> None:
        """Nothing."""

    def note(self, lines: Sequence[str]) -> None:
        """Nothing."""


_Area = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two lie outside."""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: it has the letters of most European languages."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _size(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Width and height of a line of text in pixels."""
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font, anchor="la")
    return int(right) + 1, int(bottom) + 1


def _free_area(
    corner: tuple[int, int], size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[_Area]
) -> _Area | None:
    """The area of ``size`` (width, height) nearest to ``corner`` that lies in the canvas and overlaps no other.

    Args:
        corner: Left and top that are wanted.
        size: Width and height of the area.
        canvas: Width and height of the picture.
        taken: Areas that are in use.

    Returns:
        None if there is no such area within a few lines.
    """
    (width, height), (across, down) = size, canvas
    if width > across or height > down:
        return None
    x = max(0, min(corner[0], across - width))
    for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
        for shift in (0, width // 2, -width // 2, width, -width):
            left, top = x + shift, max(0, min(corner[1], down - height)) + step * height
            area = (left, top, left + width, top + height)
            inside = left >= 0 and top >= 0 and area[2] <= across and area[3] <= down
            if inside and not any(_overlap(area, other) for other in taken):
                return area
    return None


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


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
