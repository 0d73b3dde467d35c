"""``report.html``: one self-contained page about a run, for people."""

from __future__ import annotations

from pathlib import Path

from foundationx.core.atomic_write import write_atomically
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report import anatomy_page, filling_page, ledger_page, origin_page
from foundationx.evaluation.report.facts import read_facts
from foundationx.evaluation.report.page import render


def write_report(work_dir: Path) -> Path:
    """Writes the report of a work directory from whatever it holds by now; gives its path."""
    path = WorkDir(work_dir).report
    sections = (filling_page.section, ledger_page.section, anatomy_page.section, origin_page.section)
    more = "".join(section(work_dir) for section in sections)
    write_atomically(path, render(read_facts(work_dir), more))
    return path
