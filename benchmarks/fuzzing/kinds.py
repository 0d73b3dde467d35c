"""The kinds of input, and the folders in which one process makes and reads them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from foundationx.core.config.load import load_config, parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import FoundationXError
from foundationx.data.pixels.read import read_grey, read_mask
from foundationx.datasets.annotations import READERS
from foundationx.datasets.cards.card import Card, load_card
from foundationx.datasets.cards.catalog import default_folders
from foundationx.datasets.exclusion import read_exclusions
from foundationx.datasets.fusion.recipe import load_recipe
from fuzzing.folders import Download, downloads
from fuzzing.images import claims, torn_image
from fuzzing.judge import GOOD, QUARANTINED, READ, Verdict, Watch, attempt, judged, read_dataset, refused
from fuzzing.lines import command_line
from fuzzing.mutate import ODD_TEXTS, ODD_VALUES, Random, damaged, odd_table, odd_value
from fuzzing.plant import bad_image, bad_package, bad_place, bad_table, planted
from fuzzing.state import State, cache_files, checkpoint_bytes, checkpoint_entries, predictions_file, run_folder
from fuzzing.texts import bad_text, bad_values, strange_words
from tests.helpers.cards import all_cards

PROJECT = Path(__file__).resolve().parents[2]
SYSTEM = ("/usr", "/lib", "/proc", "/sys", "/dev/null", "/dev/urandom", sys.prefix, sys.base_prefix)
"""Where the interpreter and its packages read."""


@dataclass(frozen=True)
class Kind:
    """A kind of input: how it is made and read, its share of all, and whether it needs the real files."""

    judge: Callable[[Sandbox, Random], Verdict]
    weight: int
    real: bool = False


class Sandbox:
    """Folders of one process.

    Args:
        base: an empty folder.
        shared: the real files, None where there are none.
        seed: of all inputs; an input is a function of seed, kind and number.
    """

    def __init__(self, base: Path, shared: Path | None, seed: int):
        self.base, self.shared, self.seed = base, shared, seed
        self._state: State | None = None
        self.texts = base / "texts"
        for name in ("texts", "temporary"):
            (base / name).mkdir()
        tempfile.tempdir = str(base / "temporary")
        for folder in default_folders()[0].iterdir():  # what cards name beside themselves
            if folder.is_dir():
                shutil.copytree(folder, self.texts / folder.name)
        everything = downloads(base, shared)
        self.generated = [item for item in everything if "generated" in item.data_root.parts]
        self.published = [item for item in everything if item not in self.generated]
        self.catalog = all_cards()
        self.cards = _parsed(default_folders()[0])
        self.recipes = _parsed(PROJECT / "configs/recipes")
        self.configs = sorted((PROJECT / "configs").glob("[a-z]*/*.py"))
        self.config = load_config(PROJECT / "configs/quickstart/phantom.py").model_dump(mode="json")
        self.catalog.vocabulary.names()
        READERS.names()  # entry points of installed packages are read before the watch begins
        self.watch = Watch((*SYSTEM, PROJECT, base / "temporary"))

    def state(self) -> State:
        """Checkpoint, run folder, predictions and cache, made when they are first asked for."""
        if self._state is None:
            self._state = State(self.base / "state")
        return self._state

    def judge(self, kind: str, number: int) -> Verdict:
        """What becomes of one input."""
        return KINDS[kind].judge(self, Random(f"{self.seed}/{kind}/{number}"))

    def in_dataset(self, download: Download, card: Card, path: Path, put: Callable, random: Random) -> Verdict:
        """Reads a task of a dataset in which something is planted."""
        task = random.choice(list(card.tasks))
        names = [item.name for item in (*download.tables, *download.images, path, download.folder)]
        names += [f"card: {card.name}", card.file.name]
        # The folder of a dataset may be a link; nothing below it may lead out.
        allowed = [download.data_root, *([download.folder] if path == download.folder else [])]
        with planted(path, put):
            return judged(lambda: read_dataset(card, task, download.data_root, path, names), self.watch, allowed)

    def text(self, name: str, content: bytes, call: Callable[[Path], Any], allowed: Path | None = None) -> Verdict:
        """Reads one file, which may use others in its own folder, or in ``allowed``."""
        path = self.texts / name
        path.write_bytes(content)
        return judged(lambda: attempt(lambda: call(path), [name]), self.watch, [allowed or self.texts])


def _parsed(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Text and values of every YAML file in a folder."""
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    return [(text, yaml.safe_load(text)) for text in texts]


def _tables_of(choose: Callable[[Sandbox], list[Download]], make: Callable) -> Callable[[Sandbox, Random], Verdict]:
    def judge(sandbox: Sandbox, random: Random) -> Verdict:
        download = random.choice([item for item in choose(sandbox) if item.tables])
        return sandbox.in_dataset(download, Card.model_validate(download.card), *make(download, random), random)

    return judge


def _packages(sandbox: Sandbox, random: Random) -> Verdict:
    packed = [item for item in sandbox.generated if any(path.suffix == ".gz" for path in item.tables)]
    download = random.choice([*packed * 5, *(item for item in sandbox.generated if item.tables)])
    return sandbox.in_dataset(download, Card.model_validate(download.card), *bad_package(download, random), random)


def _images_of_datasets(sandbox: Sandbox, random: Random) -> Verdict:
    download = random.choice([item for item in (*sandbox.generated, *sandbox.published) if item.images])
    planted_image = bad_image(download, random, sandbox.shared)
    return sandbox.in_dataset(download, Card.model_validate(download.card), *planted_image, random)


def _places(sandbox: Sandbox, random: Random) -> Verdict:
    download = random.choice(sandbox.generated)
    chosen = bad_place(download, random, sandbox.base / "outside")
    return sandbox.in_dataset(download, Card.model_validate(download.card), *chosen, random)


def _image(make: Callable[[Sandbox, Random], tuple[str, bytes]]) -> Callable[[Sandbox, Random], Verdict]:
    def judge(sandbox: Sandbox, random: Random) -> Verdict:
        name, content = make(sandbox, random)
        verdict = sandbox.text(name, content, read_grey)
        as_mask = sandbox.text(name, content, read_mask)
        return verdict if as_mask.outcome in GOOD else as_mask

    return judge


def _card_text(sandbox: Sandbox, random: Random) -> Verdict:
    text, values = random.choice(sandbox.cards)
    return sandbox.text(values["name"] + ".yaml", bad_text(text, random), load_card)


def _card_values(sandbox: Sandbox, random: Random) -> Verdict:
    _, values = random.choice(sandbox.cards)
    return sandbox.text(values["name"] + ".yaml", bad_values(values, random), load_card)


def _card_with_data(sandbox: Sandbox, random: Random) -> Verdict:
    download = random.choice(sandbox.generated)
    values = strange_words(download.card, random)
    path = sandbox.texts / f"{download.card['name']}.yaml"
    path.write_bytes(yaml.dump(values, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass"))

    def call() -> Verdict:
        try:
            card = load_card(path)
        except FoundationXError as error:
            return refused(error, [path.name])
        names = [item.name for item in (*download.tables, *download.images, download.folder, path)]
        names.append(str(download.data_root))  # in the path of a file that only the card knows
        verdict = read_dataset(card, random.choice(list(card.tasks)), download.data_root, path, names)
        return verdict if verdict.outcome != QUARANTINED else Verdict(READ)

    return judged(call, sandbox.watch, [download.data_root, sandbox.texts])


def _recipe(sandbox: Sandbox, random: Random) -> Verdict:
    text, values = random.choice(sandbox.recipes)
    content = bad_text(text, random) if random.random() < 0.5 else bad_values(values, random)
    return sandbox.text("recipe.yaml", content, lambda path: load_recipe(path, sandbox.catalog.vocabulary))


def _config_values(sandbox: Sandbox, random: Random) -> Verdict:
    values = odd_value(sandbox.config, random, (*ODD_VALUES, *ODD_TEXTS))

    def read(path: Path) -> RunConfig:
        return parse_config(values, str(path))

    return sandbox.text("values.py", b"", read)


def _config_file(sandbox: Sandbox, random: Random) -> Verdict:
    path = random.choice(sandbox.configs)
    content = path.read_bytes().replace(b'"../', f'"{PROJECT}/configs/'.encode())
    content = content.replace(b'"./', f'"{path.parent}/'.encode())
    # A configuration is code, and may name another anywhere as its base.
    return sandbox.text("run.py", damaged(content, random), load_config, Path("/"))


def _exclusions(sandbox: Sandbox, random: Random) -> Verdict:
    content = b"dataset,image,reason,of_dataset,of_image,of_split\n" + b"nih,a.png,exact,nih,b.png,test\n" * 3
    content = damaged(content, random) if random.random() < 0.5 else odd_table(content, random)
    return sandbox.text("exclude.csv", content, read_exclusions)


def _state(
    damage: Callable[[State, Random], Verdict], everywhere: bool = False
) -> Callable[[Sandbox, Random], Verdict]:
    def judge(sandbox: Sandbox, random: Random) -> Verdict:
        state = sandbox.state()
        return judged(lambda: damage(state, random), sandbox.watch, [Path("/") if everywhere else state.folder])

    return judge


KINDS = {
    "image, damaged": Kind(_image(lambda sandbox, random: torn_image(random, sandbox.shared)), 22),
    "image, claims or unpacks to too much": Kind(_image(lambda sandbox, random: claims(random)), 4),
    "image of a dataset": Kind(_images_of_datasets, 8),
    "annotations, generated layouts": Kind(_tables_of(lambda s: s.generated, bad_table), 21),
    "annotations, published files": Kind(_tables_of(lambda s: s.published, bad_table), 8, real=True),
    "links, pipes, folders, names that lead out": Kind(_places, 8),
    "annotations, packed or endless": Kind(_packages, 1),
    "card, damaged or tricky YAML": Kind(_card_text, 10),
    "card, wrong types": Kind(_card_values, 8),
    "card, other words, and its data": Kind(_card_with_data, 10),
    "recipe": Kind(_recipe, 5),
    "configuration, wrong values": Kind(_config_values, 6),
    "configuration, damaged file": Kind(_config_file, 3),
    "exclusion list": Kind(_exclusions, 3),
    "checkpoint, damaged bytes": Kind(_state(checkpoint_bytes), 8),
    "checkpoint, other entries": Kind(_state(checkpoint_entries), 8),
    "run folder": Kind(_state(run_folder), 12),
    "predictions": Kind(_state(predictions_file), 10),
    "cache of images": Kind(_state(cache_files), 10),
    "command line": Kind(_state(command_line, everywhere=True), 10),
}
"""By the name in the table."""

BOMBS = {"image, claims or unpacks to too much", "image of a dataset", "annotations, packed or endless"}
"""Kinds that need ``fuzzing.images.bomb``."""

assert os.name == "posix", "memory and links are those of POSIX"
