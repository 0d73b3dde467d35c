"""``foundationx data check``: arguments and output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from foundationx.apps.cli.options import add_data_root, wide_console
from foundationx.core.workdir import write_atomically

if TYPE_CHECKING:
    from foundationx.curation.check.findings import Finding, Report

SHOWN = 5
"""Findings of each kind that are printed; the JSON report holds all."""

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("card", help=f"name of a card, or {ALL}: every dataset whose folder is there")
    parser.add_argument("--root", help="the dataset's folder under the data root (the card's own)")
    parser.add_argument("--fast", action="store_true", help="decode a sample of the images only")
    parser.add_argument("--partial", action="store_true", help="the download is a part: missing images are a warning")
    parser.add_argument("--report", type=Path, help="write every finding to this JSON file")
    add_data_root(parser)


def run(options: argparse.Namespace) -> int:
    """Prints what is wrong, grouped by kind; the exit code is 1 where there is a fault.

    Raises:
        ConfigError: ``--root`` is given for all cards, or no card's folder is there.
    """
    from foundationx.core.errors import ConfigError
    from foundationx.curation.check.run import check_card
    from foundationx.datasets.cards.catalog import Catalog

    console, catalog = wide_console(), Catalog()
    names = [options.card]
    if options.card == ALL:
        if options.root is not None:
            raise ConfigError("--root", "is given for all cards", "one card", "name the card, or leave --root out")
        names = [name for name in catalog.names() if (options.data_root / catalog.card(name).root).is_dir()]
        absent = len(catalog.names()) - len(names)
        console.print(f"{len(names)} datasets are in {options.data_root}, {absent} are not", highlight=False)
        if not names:
            raise ConfigError("--data-root", f"{options.data_root} holds no dataset", "datasets", "correct the folder")
    reports = []
    for name in names:
        report = check_card(
            catalog.card(name),
            options.data_root,
            root=options.root,
            fast=options.fast,
            partial=options.partial,
            progress=lambda looks, count, name=name: track(
                looks, name, total=count, console=console, transient=True, disable=not console.is_terminal
            ),
        )
        _print(report, console)
        reports.append(report)
    if options.report is not None:
        write_atomically(options.report, json.dumps([report.as_json() for report in reports], indent=1) + "\n")
        console.print(f"every finding: {options.report}", highlight=False, markup=False)
    return 1 if any(finding.severity == "fault" for report in reports for finding in report.findings) else 0


def _print(report: Report, console: Console) -> None:
    from foundationx.curation.check.findings import Severity

    counts = ", ".join(f"{report.count(severity):,} {severity.value}s" for severity in Severity)
    decoded = "" if report.decoded == report.images else f" ({report.decoded:,} decoded)"
    head = f"{report.dataset}: {report.images:,} images{decoded}, {report.patients:,} patients; {counts}"
    console.print(head, highlight=False, markup=False)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault((finding.severity.value, finding.kind.value), []).append(finding)
    for (severity, kind), findings in groups.items():
        console.print(f"  {severity}s, {kind}: {len(findings):,}", highlight=False, markup=False)
        for line in _lines(findings):
            console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)


def _lines(findings: list[Finding]) -> Iterable[str]:
    for finding in findings[:SHOWN]:
        yield _line(finding)
    if len(findings) > SHOWN:
        yield f"and {len(findings) - SHOWN:,} more (--report lists all)"


def _line(finding: Finding) -> str:
    """A finding in one line: file (row): what was found; expected: ...; fix: ..."""
    place = f"{finding.file} ({finding.where})" if finding.file and finding.where else finding.file or finding.where
    parts = [f"{place}: {finding.found}"]
    parts += [f"expected: {finding.expected}"] if finding.expected else []
    parts += [f"fix: {finding.fix}"] if finding.fix else []
    return "; ".join(parts)
