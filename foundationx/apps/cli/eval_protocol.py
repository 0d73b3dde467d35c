"""``foundationx eval --protocol``."""

from __future__ import annotations

import argparse

from rich.table import Table

from foundationx.apps.cli.options import parse_options, wide_console
from foundationx.apps.protocols import PROTOCOLS


def add_protocols(parser: argparse.ArgumentParser) -> None:
    """Arguments of protocols; `foundationx list protocols` prints the options of each."""
    group = parser.add_argument_group("protocols")
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS.names(),
        help="evaluate by this protocol on the dataset of --card (default: none, the heads are evaluated)",
    )
    group.add_argument(
        "--card",
        help="dataset of a protocol, which the model need not have seen; without one: the dataset of the "
        "run whose heads are evaluated (default: all)",
    )
    group.add_argument(
        "--root",
        metavar="DIR",
        help="folder of that dataset under the data root (default: the one that its card names)",
    )
    group.add_argument(
        "--with",
        dest="protocol_options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the protocol, see `foundationx list protocols`",
    )


def run_protocol(options: argparse.Namespace) -> None:
    """Carries the protocol out, prints its table, and writes it with the predictions into ``--out``.

    Raises:
        ConfigError: ``--card`` is missing, or an option is unknown or wrong.
    """
    from foundationx.apps.protocols.base import Request, open_protocol
    from foundationx.core.errors import ConfigError
    from foundationx.core.workdir import WorkDir

    module, chosen = open_protocol(options.protocol, parse_options(options.protocol_options))
    if options.card is None and getattr(module, "NEEDS_CARD", True):
        raise ConfigError("--card", "is missing", "a dataset to evaluate on", "name a card of `foundationx data list`")
    model = "teacher" if options.model == "both" else options.model
    request = Request(
        options.checkpoint,
        model,
        options.card or "",
        options.root,
        options.data_root,
        options.device,
        options.out,
        options.allow_code,
        options.exclude,
    )
    result = module.run(request, chosen)
    table = Table(title=result.title)
    for column in result.columns:
        table.add_column(column)
    for row in result.rows:
        table.add_row(*map(str, row))
    console = wide_console()
    console.print(table)
    for note in result.notes:
        console.print(note, highlight=False)
    if options.out is not None:
        result.write(options.out)
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        content = {"title": result.title, "rows": rows, "notes": result.notes}
        WorkDir(options.out).write_json(f"{options.protocol}.json", content)
