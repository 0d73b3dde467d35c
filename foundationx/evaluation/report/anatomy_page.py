"""The report's section on anatomy in the frozen backbone, from the files that the protocol wrote."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report import html

FOLDER = "anatomy"
"""Folder of the pictures in a work directory."""

CAPTIONS = {
    "measures": "Every measure beside chance: unrelated pairs, random positions, guessing. The orange marks are harder "
    "to beat: the feature of the nearest given position, and the landmark's mean position. Diamonds are as far from "
    "the black mark as random weights are from their own chance.",
    "correspondence": "Best matches of one patient's landmarks in another's radiograph, for the pair of radiographs "
    "whose mean error is the median.",
    "similarity": "Cosine of one landmark's feature to every position of other patients' radiographs: for the landmark "
    "with the least error, and for the one with the median error.",
}


def section(folder: Path) -> str:
    """The section on what ``eval --protocol anatomy`` wrote into the work directory; "" if it wrote nothing."""
    content = WorkDir(folder).read_json("anatomy.json", {})
    pictures = [folder / FOLDER / f"{name}.png" for name in CAPTIONS]
    if not content:
        return ""
    shown = "".join(_figure(path) for path in pictures if path.exists())
    notes = "".join(html.quiet(note) for note in [content["title"], *content["notes"]])
    columns = list(content["rows"][0])
    rows = [[str(row[column]) for column in columns] for row in content["rows"]]
    table = html.details("Every measure", html.table_of(columns, rows, 0))
    return html.section("Anatomy in the frozen backbone", f"{notes}{shown}{table}")


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f"<img alt='{path.stem}' style='max-width:100%' src='data:image/png;base64,{data}'>"
    return f"<figure>{image}<figcaption>{escape(CAPTIONS[path.stem])}</figcaption></figure>"
