"""Draws docs/images/phantoms.png: phantoms with each finding, and below them the same with their ground truth.

python tools/phantom_sheet.py [FILE]
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from foundationx.phantoms.findings import FINDINGS
from foundationx.phantoms.phantom import ORGANS, Phantom, make_phantom
from foundationx.tasks.drawing import COLOURS

SIZE = 184
CASES = [(), *((name,) for name in FINDINGS)]


def ground_truth(phantom: Phantom) -> np.ndarray:
    """The phantom in colour with outlines of organs, boxes of findings and landmarks."""
    canvas = cv2.cvtColor(phantom.image, cv2.COLOR_GRAY2RGB)
    for colour, name in zip(COLOURS, (*ORGANS, *phantom.findings), strict=False):
        outlines, _ = cv2.findContours(phantom.mask(name).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, colour, 1, cv2.LINE_AA)
        if name in phantom.findings:
            for x1, y1, x2, y2 in phantom.boxes(name):
                cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 1)
    for x, y in phantom.landmarks.values():
        cv2.circle(canvas, (round(x), round(y)), 2, (255, 255, 255), -1, cv2.LINE_AA)
    return canvas


def main(path: Path) -> None:
    """Writes the sheet."""
    phantoms = [make_phantom(number, 0, SIZE, findings) for number, findings in enumerate(CASES, start=1)]
    above = np.hstack([cv2.cvtColor(phantom.image, cv2.COLOR_GRAY2RGB) for phantom in phantoms])
    for index, phantom in enumerate(phantoms):
        words = ", ".join(phantom.findings) or "No finding"
        spot = (index * SIZE + 34, SIZE - 8)
        cv2.putText(above, words, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.vstack([above, np.hstack([ground_truth(phantom) for phantom in phantoms])])
    cv2.imwrite(str(path), sheet[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/phantoms.png"))
