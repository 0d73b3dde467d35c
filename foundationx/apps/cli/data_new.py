"""``foundationx data new``: a draft of a dataset card."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HELP = "draft a dataset card from what lies in a folder, or from a Croissant file; comments say what is to be decided"
EXAMPLE = "foundationx data new data/my_hospital --out my_cards/my_hospital.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument(
        "folder", type=Path, nargs="?", help="folder of a dataset: images with tables, COCO files or class folders"
    )
    origin.add_argument(
        "--croissant",
        type=Path,
        metavar="FILE",
        help="start from this description in Croissant, JSON-LD (default: a folder)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="card to write (default: NAME.yaml)")


def run(options: argparse.Namespace) -> int:
    """Writes the draft and prints what to do next.

    Raises:
        CardError: The folder holds nothing that can be used, the file is no Croissant description, or the card exists
            already.
    """
    if options.croissant is not None:
        from foundationx.datasets.croissant import draft_of
        from foundationx.datasets.drafts import draft_text

        values = draft_of(options.croissant)
        out = _new_file(options.out or Path(f"{values['name']}.yaml"))
        _write(out, draft_text(values | {"name": out.stem}, options.croissant.name))
        print(f"written: {out}; fill in what its comments ask for")
        return 0
    from foundationx.datasets.card_text import card_text
    from foundationx.datasets.folder_draft import draft_folder

    folder = options.folder.resolve()
    out = _new_file(options.out or Path(f"{_plain(folder.name)}.yaml"))
    _write(out, card_text(draft_folder(folder), out.stem, folder.name, str(options.folder)))
    print(f"written: {out}; its comments say what was guessed and what is to be decided")
    print(f"next: foundationx data check {out.stem} --data-root {folder.parent} --registry {out.parent}")
    return 0


def _new_file(out: Path) -> Path:
    """The file to write. Raises CardError if it exists or its name cannot be that of a card."""
    from foundationx.core.errors import CardError

    if out.exists():
        raise CardError(str(out), "exists already", "a new file", "name another one with --out, or remove it")
    if out.stem != _plain(out.stem):
        expected, fix = "lower-case letters, digits and _", f"name it {_plain(out.stem)}.yaml"
        raise CardError(str(out), f"{out.stem!r} cannot be the name of a card", expected, fix)
    return out


def _write(out: Path, text: str) -> None:
    from foundationx.core.atomic_write import require_file, write_atomically
    from foundationx.datasets.cards.card import load_card

    require_file(out)
    write_atomically(out, text)
    load_card(out)


def _plain(name: str) -> str:
    """A name as cards have them."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "own"
