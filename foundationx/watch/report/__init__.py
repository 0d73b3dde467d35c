"""The report page."""

from pathlib import Path


def write_report(work_dir: Path) -> Path:
    """Placeholder until the page is there."""
    return work_dir / "report.html"
