"""``foundationx push``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "upload an export with its model card to the Hugging Face Hub; private unless told otherwise"
EXAMPLE = "foundationx push tuberculosis_teacher_huggingface my-name/tuberculosis"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("export", type=Path, help="folder or file that `foundationx export` wrote")
    parser.add_argument("repository", help="name on the Hub, OWNER/NAME; it is made if it is not there")
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    parser.add_argument("--message", default="Export of foundationx", help="message of the commit")
    parser.add_argument("--endpoint", metavar="URL", help="another server (default: the Hub, or HF_ENDPOINT)")


def run(options: argparse.Namespace) -> None:
    """Uploads, and prints the address."""
    from foundationx.apps.run.pushing import push

    address = push(
        options.export,
        options.repository,
        public=options.public,
        message=options.message,
        endpoint=options.endpoint,
    )
    print(address)
