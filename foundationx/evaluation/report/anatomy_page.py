"""The report's section on anatomy in the frozen backbone, out of what the protocol has written."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report.anatomy import FOLDER

CAPTIONS = {
    "measures": "Every measure beside chance: unrelated pairs, random places, guessing. The orange marks are harder to "
    "beat: the feature of the nearest place that was given, and the landmark's mean position. Diamonds are as far from "
    "the black mark as random weights are from their own chance.",
    "correspondence": "Where one patient's landmarks are found in another's film. Of all pairs of films, the one "
    "whose mean error is the median.",
    "similarity": "Cosine of one landmark's feature to every place of other patients' films: the landmark that is "
    "found best, and the one in the middle of all.",
}


def section(folder: Path) -> str:
    """The report's part on what ``eval --protocol anatomy`` has written into the work directory; "" for nothing."""
    content = WorkDir(folder).read_json("anatomy.json", {})
    pictures = [folder / FOLDER / f"{name}.png" for name in CAPTIONS]
    if not content:
        return ""
    shown = "".join(_figure(path) for path in pictures if path.exists())
    notes = "".join(f"<p class='quiet'>{escape(note)}</p>" for note in [content["title"], *content["notes"]])
    columns = list(content["rows"][0])
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row[column]))}</td>" for column in columns) + "</tr>"
        for row in content["rows"]
    )
    table = f"<details><summary>Every measure</summary><table><tr>{head}</tr>{lines}</table></details>"
    return f"<section><h2>Anatomy in the frozen backbone</h2>{notes}{shown}{table}</section>\n"


def _figure(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f"<img alt='{path.stem}' style='max-width:100%' src='data:image/png;base64,{data}'>"
    return f"<figure>{image}<figcaption>{escape(CAPTIONS[path.stem])}</figcaption></figure>"
