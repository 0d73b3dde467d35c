"""What became of one input: read, refused with a clear message, quarantined, or something that must not be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.apps.run.provenance import commit_of_code
from foundationx.core.errors import DataError, FoundationXError
from foundationx.core.types import Annotations, Task, all_tasks
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.annotations import READERS, read_annotations
from foundationx.datasets.cards.card import Card
from foundationx.datasets.stores.store import STORES
from foundationx.tasks.detection.target import Boxes

READ, REFUSED, QUARANTINED = "read", "clear error", "quarantined"
CRASH, OUT, SLOW, MEMORY = "crash", "out of bounds", "too slow", "too much memory"
GOOD = (READ, REFUSED, QUARANTINED)
OUTCOMES = (*GOOD, CRASH, OUT, SLOW, MEMORY)

LONGEST = 5_000
"""Letters of a message; more is not clear."""

SAMPLES = 3
"""Images of a dataset that are decoded."""


@dataclass(frozen=True)
class Verdict:
    """An outcome and, where it must not be, why."""

    outcome: str
    why: str = ""


class Watch:
    """Notes every file that is opened and every folder that is listed outside of what is allowed, and every program.

    There is one in a process: an audit hook cannot be taken away.
    """

    def __init__(self, always: Iterable[Path]):
        self.always = tuple(os.path.realpath(path) for path in always)
        self.allowed: tuple[str, ...] | None = None
        self.strayed: list[str] = []
        # These read the metadata of installed packages and of the clone once, before anything is watched.
        all_tasks(), READERS.all(), STORES.all(), commit_of_code()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
            self.strayed.append(f"starts a program ({event})")
        if event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not any(
                path == top or path.startswith(top.rstrip(os.sep) + os.sep) for top in (*self.always, *self.allowed)
            ):
                self.strayed.append(f"{event} {path}")


def judged(call: Callable[[], Verdict], watch: Watch, allowed: Iterable[Path]) -> Verdict:
    """Runs ``call``, which may use files below ``allowed``."""
    watch.strayed, watch.allowed = [], tuple(os.path.realpath(path) for path in allowed)
    try:
        verdict = call()
    except Exception as error:
        kind = MEMORY if isinstance(error, MemoryError) else CRASH
        verdict = Verdict(kind, f"{type(error).__name__}: {str(error)[:200]} {_innermost(error)}")
    finally:
        watch.allowed = None
    return Verdict(OUT, watch.strayed[0]) if watch.strayed else verdict


def _innermost(error: BaseException) -> str:
    """The last line of this project that the error passed."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}foundationx{os.sep}" in file:
            place = f"at {Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def refused(error: FoundationXError, names: Iterable[str]) -> Verdict:
    """A message is clear where it names a file, can be printed and is no flood."""
    text = str(error)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Verdict(CRASH, f"a message that cannot be printed: {error.where[:80]!a}")
    if len(text) > LONGEST:
        return Verdict(CRASH, f"a message of {len(text):,} letters: {text[:80]}")
    if not any(name in text for name in names):
        return Verdict(CRASH, f"a message that names no file: {text[:200]}")
    return Verdict(REFUSED)


def attempt(call: Callable[[], Any], names: Iterable[str]) -> Verdict:
    """Something that is read or refused."""
    try:
        call()
    except FoundationXError as error:
        return refused(error, names)
    return Verdict(READ)


def read_dataset(card: Card, task: Task, data_root: Path, planted: Path, names: list[str]) -> Verdict:
    """A dataset as a run would read it, stopping at what is bad and going on without it; then some of its samples."""
    strict = attempt(lambda: read_annotations(card, task, data_root), names)
    if strict.outcome not in GOOD:
        return strict
    try:
        result = read_annotations(card, task, data_root, on_bad_sample="skip")
    except FoundationXError as error:
        return refused(error, names)
    for entry in result.bad:
        if not entry.reason or not entry.row:
            return Verdict(CRASH, f"listed without reason or row: {entry}")
    fault = _impossible(result)
    return fault or _samples(result, data_root / card.root, planted, names, READ if not result.bad else QUARANTINED)


def _impossible(found: Annotations) -> Verdict | None:
    """Annotations that no reader may give."""
    labels = found.labels
    if not (np.isnan(labels) | ((labels >= 0) & (labels <= 1))).all():
        return Verdict(CRASH, "labels beyond 0 and 1")
    if len(set(found.images)) != len(labels):
        return Verdict(CRASH, "an image stands twice")
    if any(
        not np.isfinite(boxes).all()
        for boxes in (target.boxes for target in found.targets if isinstance(target, Boxes))
    ):
        return Verdict(CRASH, "boxes that are no numbers")
    return None


def _samples(found: Annotations, folder: Path, planted: Path, names: list[str], outcome: str) -> Verdict:
    dataset = CardDataset(found, folder, ViewPipeline(32))
    touched = [k for k, image in enumerate(found.images) if image.endswith(planted.name)]
    for index in dict.fromkeys([*touched[:1], 0, len(found) // 2, len(found) - 1][: SAMPLES + 1]):
        path = folder / found.images[index]
        if path.is_file() and not path.is_symlink() and path.stat().st_size == 0 and path != planted:
            continue  # of the published annotations, whose images are not kept here
        try:
            sample = dataset.sample(index, seed=0)
        except DataError as error:
            verdict = refused(error, names)
            if verdict.outcome != REFUSED:
                return verdict
            outcome = QUARANTINED
            continue
        boxes = sample.target.boxes if isinstance(sample.target, Boxes) else np.zeros((0, 4))
        if sample.image.shape != (32, 32) or not ((boxes >= 0) & (boxes <= 32)).all():
            return Verdict(CRASH, "a sample of another size, or with boxes out of it")
    return Verdict(outcome)
