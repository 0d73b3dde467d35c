"""Boxes, mask outlines and notes drawn over a radiograph."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178)]
"""RGB; Okabe and Ito's palette, which colour-blind people tell apart."""

LEAST_SIDE = 512
"""Small images are enlarged to this before drawing, so that lines and letters stay fine."""


class Overlay:
    """A picture that grows: the image first, then what is found in it.

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
        self._text(label, tuple(int(v) for v in largest.mean(axis=0)), rgb)

    def note(self, lines: Sequence[str], title: str) -> None:
        """Lines of text in the upper left corner, below earlier notes."""
        for text in [title, *(f"  {line}" for line in lines or ["nothing above the threshold"])]:
            self.next_note += round(34 * self.font)
            self._text(text, (6, self.next_note), (255, 255, 255))

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB."""
        return self.canvas

    def _text(self, text: str, place: tuple[int, int], rgb: tuple[int, int, int]) -> None:
        """Text with a dark rim, readable on bright and dark ground; moved where it would leave the picture."""
        font, width = cv2.FONT_HERSHEY_SIMPLEX, max(1, self.line // 2)
        (across, up), below = cv2.getTextSize(text, font, self.font, width + 2)
        x = max(1, min(place[0], self.canvas.shape[1] - across - 1))
        y = max(up + 1, min(place[1], self.canvas.shape[0] - below - 1))
        for colour, thickness in (((0, 0, 0), width + 2), (rgb, width)):
            cv2.putText(self.canvas, text, (x, y), font, self.font, colour, thickness, cv2.LINE_AA)
