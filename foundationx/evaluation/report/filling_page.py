"""The report's section on what the teacher filled in place of annotations: limits, counts and examples."""

from __future__ import annotations

from pathlib import Path

from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report import html
from foundationx.evaluation.report.pictures import figure

NOTE = (
    "Heads of the EMA teacher answer for classes that the visited dataset does not annotate. From the limit on a class "
    "counts as present, below the lower one as absent; limits are chosen on validation, at the start of each cycle. "
    "Present counts labels, boxes, and images with a mask, once for each time that the image was read."
)


def section(folder: Path) -> str:
    """The section; "" if nothing was to be filled."""
    work = WorkDir(folder)
    content = work.read_json("filled.json", {})
    if not content:
        return ""
    limits = {(row["head"], row["class"]): row for row in content["limits"]}
    rows = []
    for row in content["rows"]:
        limit = limits.get((row["head"], row["class"]), {"present": None, "absent": 0.0})
        numbers = [f"{row[name]:,}" for name in ("present", "absent", "unknown")]
        shown = html.rounded(limit["present"]), html.rounded(limit["absent"] or None)
        rows.append([row["dataset"], row["head"], row["class"], *shown, *numbers])
    columns = ["images of", "head", "class", "present from", "absent below", "present", "absent", "left unknown"]
    table = html.table_of(columns, rows, numbers=5) if rows else "<p class='quiet'>Nothing has been filled yet.</p>"
    note = f"<p class='quiet'>{NOTE} Precision asked for: {content['precision']:g}.</p>"
    return html.section("Filled by the teacher", note + table + _pictures(work))


def _pictures(work: WorkDir) -> str:
    """Images of the newest cycle in which something was filled; solid is what was filled."""
    blocks = []
    for key, (classes, _, examples) in work.read_examples("filled").items():
        items = "".join(figure(key, example, classes) for example in examples)
        blocks.append(f"<h3>{html.head_of(key)} <small>solid: filled</small></h3><div class='pictures'>{items}</div>")
    return html.details("Examples", "".join(blocks)) if blocks else ""
