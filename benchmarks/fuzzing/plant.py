"""Inputs planted in a downloaded dataset: damaged tables and images, names and links that lead out, packed files."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzzing.folders import Download
from fuzzing.images import bomb, claims, torn_image
from fuzzing.mutate import LEADS_OUT, Random, damaged, odd_json, odd_table


@contextlib.contextmanager
def planted(path: Path, put: Callable[[Path], None]) -> Iterator[None]:
    """A dataset whose file or folder ``path`` is replaced by what ``put`` makes there, as before afterwards."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        put(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)


def bad_table(download: Download, random: Random) -> tuple[Path, Callable[[Path], None]]:
    """A table or list of the dataset with odd cells, odd values or damaged bytes."""
    path = random.choice(download.tables)
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    if random.random() < 0.4:
        content = damaged(content, random)
    elif path.suffix == ".json":
        content = odd_json(content, random)
    else:
        content = odd_table(content, random)
    if packed:
        content = gzip.compress(content) if random.random() < 0.7 else damaged(gzip.compress(content), random)
    return path, lambda place: place.write_bytes(content)


def bad_image(download: Download, random: Random, shared: Path | None) -> tuple[Path, Callable[[Path], None]]:
    """An image or mask of the dataset, damaged, or another one with its name."""
    path = random.choice(download.images)
    draw = random.random()
    if draw < 0.6:
        content = damaged(path.read_bytes(), random)
    else:
        content = torn_image(random, shared)[1] if draw < 0.9 else claims(random)[1]
    return path, lambda place: place.write_bytes(content)


def bad_place(download: Download, random: Random, outside: Path) -> tuple[Path, Callable[[Path], None]]:
    """A file or folder that is not where it seems to be, or a table whose cells name such files."""
    files = [*download.tables, *download.images]
    path = random.choice(files)
    action = random.randrange(7)
    if action == 0 and download.tables:
        table = random.choice(download.tables)
        leads_out = (*LEADS_OUT, str(outside / "secret.png"), f"x/../../../{outside.name}/secret.png")
        if table.suffix not in (".json", ".gz"):
            return table, lambda place: place.write_bytes(odd_table(_aside(place), random, leads_out))
    if action == 1:
        return path, lambda place: place.symlink_to(outside / random.choice(("secret.png", "secret.csv", "none")))
    if action == 2:
        return path.parent, lambda place: place.symlink_to(_copied(place, outside))
    if action == 3:
        return path, os.mkfifo
    if action == 4:
        return path, lambda place: place.symlink_to(random.choice(("/dev/zero", "/etc/hostname", place.name)))
    if action == 5:
        return path, Path.mkdir
    return path, lambda place: place.symlink_to(_copied(place, outside))


def _aside(path: Path) -> bytes:
    return path.with_name(path.name + ".aside").read_bytes()


def _copied(path: Path, outside: Path) -> Path:
    """A whole copy outside of what was planted away: whoever follows the link would read it without a fault."""
    source, target = path.with_name(path.name + ".aside"), outside / "copy"
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return target


def bad_package(download: Download, random: Random) -> tuple[Path, Callable[[Path], None]]:
    """A table that holds, or unpacks to, far more than any published one; or is cut off in the middle of a member."""
    path = random.choice(download.tables)
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    head = text.partition(b"\n")[0] + b"\n"
    choices: list[Callable[[], bytes]] = [
        lambda: content[: random.randrange(len(content))],
        lambda: head + b'"' + b"a" * random.choice((10**5, 2 * 10**7)),
        lambda: head + b"," * random.choice((10**4, 10**6, 10**7)),
        lambda: head * random.choice((10, 10_000)),
        lambda: text + bytes(10**6),
        lambda: b"[" * 10**6,
        lambda: b'{"a": ' * 10**5,
    ]
    if path.suffix == ".gz":
        choices = [
            lambda: bomb()["gzip"] * random.choice((1, 16)),
            lambda: gzip.compress(head) + bomb(b"\n")["gzip"] * random.choice((1, 16)),
            lambda: content + random.randbytes(30),
            lambda: content[: random.randrange(len(content))],
            lambda: content + content,
        ]
    made = random.choice(choices)()
    return path, lambda place: place.write_bytes(made)
