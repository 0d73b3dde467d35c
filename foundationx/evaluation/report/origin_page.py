"""The report's section on the origin of images in the frozen backbone, from the file that the protocol wrote."""

from __future__ import annotations

from html import escape
from pathlib import Path

from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report import html


def section(folder: Path) -> str:
    """The section on what ``eval --protocol origin`` wrote into the work directory; "" if it wrote nothing."""
    content = WorkDir(folder).read_json("origin.json", {})
    if not content:
        return ""
    notes = "".join(f"<p class='quiet'>{escape(note)}</p>" for note in [content["title"], *content["notes"]])
    columns = list(content["rows"][0])
    rows = [[str(row[column]) for column in columns] for row in content["rows"]]
    table = html.table_of(columns, rows, numbers=len(columns) - 1)
    return html.section("Origin of images in the frozen backbone", notes + table)
