"""The report's section on what joining datasets did to each head, from the file that ``foundationx ledger`` wrote."""

from __future__ import annotations

from html import escape
from pathlib import Path

from foundationx.core.workdir import WorkDir
from foundationx.evaluation.ledger.judge import Verdict
from foundationx.evaluation.ledger.table import FILE
from foundationx.evaluation.report import html


def section(folder: Path) -> str:
    """The section; "" if there is no ledger in the work directory."""
    content = WorkDir(folder).read_json(FILE, {})
    if not content:
        return ""
    notes = "".join(f"<p class='quiet'>{escape(text)}</p>" for text in [content["title"], content["note"]])
    notes += "".join(f"<p class='quiet'>Note: {escape(text)}</p>" for text in content["notes"])
    tests = html.details("Every test", _table(content["rows"]))
    return html.section(
        "Harm ledger: joint training against each head alone", notes + _table(content["summary"]) + tests
    )


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    return html.table_of(rows[0], [[_cell(str(text)) for text in row.values()] for row in rows], 0)


def _cell(text: str) -> str:
    return html.Html(f"<span class='low'>{escape(text)}</span>") if text == Verdict.HARMED else text
