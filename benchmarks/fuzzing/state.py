"""Damaged state: checkpoints, run folders, predictions and caches; and what becomes of each.

What is damaged is made once per process. A silent acceptance counts as a crash: a checkpoint other than its checksum
says, weights that are not finite, a cached image other than the file's.
"""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from foundationx.core.atomic_write import checksum_file, sha256, write_arrays, write_json, write_json_lines
from foundationx.core.config.load import load_config
from foundationx.core.errors import FoundationXError
from foundationx.core.run_files import LINES, NAMES
from foundationx.core.types import Annotations, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.cache.fill import fill
from foundationx.data.cache.store import Store
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.engine.checkpoint import load_checkpoint, save_checkpoint
from foundationx.evaluation.evaluator import measure
from foundationx.evaluation.predictions import Predictions, read_predictions
from foundationx.evaluation.report import write_report
from foundationx.evaluation.report.facts import read_facts
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.classification.prediction import ClassificationExample
from fuzzing.judge import CRASH, READ, Verdict, refused
from fuzzing.mutate import (
    DEEP,
    HUGE,
    ODD_TEXTS,
    ODD_VALUES,
    SURROGATE,
    Random,
    damaged,
    odd_json,
    odd_value,
)
from tests.helpers.predicted import boxed, labelled, masked

CONFIG = Path(__file__).resolve().parents[2] / "tests" / "helpers" / "tiny_config.py"
HEAD = TaskKey("phantom_labels", Task.CLASSIFICATION)
CLASSES = ("Nodule", "Effusion")
SIZE, IMAGES = 32, 3

ODD_TENSORS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda tensor: tensor * float("nan"),
    lambda tensor: tensor + float("inf"),
    lambda tensor: tensor[:0],
    lambda tensor: tensor[None],
    lambda tensor: tensor.flatten()[:1],
    lambda tensor: tensor.to(torch.complex64),
    lambda tensor: tensor.to(torch.float64),
    lambda tensor: tensor.to(torch.int8),
    lambda tensor: tensor.bool(),
    lambda tensor: tensor.to_sparse(),
    lambda tensor: tensor.tolist(),
    lambda tensor: torch.zeros(1).expand(10**9),
)
"""What may stand in place of a tensor."""


class State:
    """Valid state in a folder.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.run, self.work, self.cache = folder / "run", folder / "work", folder / "cache"
        self.run.mkdir(parents=True)
        self.image = folder / "image.png"
        cv2.imwrite(str(self.image), np.arange(40 * 30, dtype=np.uint8).reshape(40, 30))
        self.config = load_config(CONFIG)
        torch.manual_seed(0)
        self.model = FoundationModel(self.config.model, {HEAD: CLASSES})
        write_run(self.run)
        rest = {"optimizer": {"state": {}, "param_groups": []}, "step": 4, "visit": 1, "progress": {"bad": []}}
        arguments = {"config": self.config, "model": self.model, "teacher": self.model, **rest}
        self.checkpoint = save_checkpoint(self.run / "checkpoints", **arguments)
        self.content = torch.load(self.checkpoint, weights_only=True)
        self.predictions = [made.write(self.run) for made in predictions()]
        self.data = folder / "data"
        self.data.mkdir()
        for index in range(IMAGES):
            pixels = np.random.default_rng(index).integers(0, 256, (40, 30 + index), np.uint8)
            cv2.imwrite(str(self.data / f"{index}.png"), pixels)
        write_report(self.fresh(self.run))  # what drawing imports is read before the watch begins
        measure(map(read_predictions, self.predictions))
        self.model.eval()
        self.decoded = [self.dataset(None).decode(index).image for index in range(IMAGES)]
        self.filled()

    def dataset(self, cache: Any) -> CardDataset:
        """The images, with what is cached of them."""
        names = [f"{index}.png" for index in range(IMAGES)]
        columns = {"images": names, "patients": names, "rows": names, "splits": [None] * IMAGES}
        table = Annotations(HEAD, CLASSES, labels=np.zeros((IMAGES, len(CLASSES)), np.float32), **columns)
        return CardDataset(table, self.data, ViewPipeline(SIZE), cache)

    def filled(self) -> CardDataset:
        """The images, read from the cache as far as it can be used; it is filled first."""
        store = Store(self.cache, SIZE)
        return self.dataset(fill(store, {HEAD: self.dataset(None)}, {HEAD: np.arange(IMAGES)}, 10**9)[HEAD])

    def fresh(self, folder: Path) -> Path:
        """A copy of a folder, in place of the last one."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(folder, self.work)
        return self.work


def write_run(folder: Path) -> None:
    """Every file of a work directory, as a short run leaves it."""
    head, rows = {"dataset": HEAD.dataset, "task": HEAD.task.value}, []
    phases = [{"name": "release", "first_step": 0, "steps": 4}]
    for model in ("student", "teacher"):
        for split in ("val", "test"):
            row = {"metric": "AUROC", "class": "mean", "value": 0.5, "n": 4, "model": model, "visit": 1, "split": split}
            rows.append(head | row)
    curve = {"auroc": 0.5, "fpr": [0.0, 0.5, 1.0], "tpr": [0.0, 0.5, 1.0]}
    counts = [{"name": name, "positive": 2, "negative": 2, "unknown": 0} for name in CLASSES]
    split = {"split": "train", "images": 4, "patients": 4, "excluded": 0, "classes": counts}
    run = {"name": "tiny", "started": "2026-01-01T00:00:00", "finished": None, "version": "0", "device": "cpu"}
    filled = [{"class": CLASSES[0], "present": 1, "absent": 2, "unknown": 3}]
    contents = {
        "config.json": {"name": "tiny", "datasets": [{"card": HEAD.dataset}]},
        "run.json": run | {"parameters": {"backbone": 10}},
        "plan.json": {"visits": [{"index": 1, "cycle": 1} | head | {"phases": phases}], "total_steps": 4},
        "metrics.json": rows,
        "datasets.json": [head | split],
        "splits.json": {"phantom_labels:p1": "train", "phantom_labels:p2": "val"},
        "splits_before.json": {"phantom_labels:p1": "train"},
        "curves.json": {str(HEAD): {"model": "teacher", "split": "test", "classes": dict.fromkeys(CLASSES, curve)}},
        "best.json": {str(HEAD): rows[0] | {"step": 4}},
        "bad_samples.json": [head | {"file": "a.png", "row": "a.csv row 3", "reason": "torn"}],
        "thresholds.json": {str(HEAD): {"teacher": {CLASSES[0]: {"value": 0.5, "rule": "youden"}}}},
        "anatomy.json": (table := {"title": "a", "notes": ["b"], "rows": [{"a": 1}]}),
        "origin.json": table,
        "ledger.json": table | {"note": "c", "verdicts": {str(HEAD): "harmed"}, "summary": [{"head": str(HEAD)}]},
        "subgroups.json": [
            head
            | {"model": "teacher", "split": "test", "visit": 1, "attribute": "sex", "group": "F"}
            | {"images": 9, "patients": 8, "value": 0.5, "low": 0.4, "high": None}
        ],
        "trivial.json": {str(HEAD): {CLASSES[0]: {"prior": 0.5}}},
        "filled.json": {
            "cycle": 1,
            "precision": 0.9,
            "limits": [{"head": str(HEAD), "class": CLASSES[0], "present": 0.5, "absent": 0.1}],
            "rows": [one | {"head": str(HEAD), "dataset": "b"} for one in filled],
        },
    }
    assert {*contents, *LINES} == set(NAMES), "every file is damaged"
    for name, content in contents.items():
        write_json(folder / name, content)
    losses = {"task": 0.5, "consistency": 0.1}
    log = [{"step": step, "visit": 1, "phase": "release"} | head | {"losses": losses} for step in range(1, 5)]
    write_json_lines(folder / "log.jsonl", log)
    incident = {"step": 2, "kind": "io", "message": "m", "images": []} | head
    write_json_lines(folder / "incidents.jsonl", [incident])
    labels = np.array([1, 0], np.float32)
    example = ClassificationExample(np.zeros((8, 8), np.uint8), "a.png", labels, probabilities=labels)
    WorkDir(folder).write_examples(HEAD, CLASSES, "teacher", [example])


def predictions() -> list[Predictions]:
    """Predictions of every task for a few images, as validation stores them."""
    nan, random = float("nan"), np.random.default_rng(0)
    labels = labelled([[1, 0], [0, 1], [1, nan], [0, 0]], np.linspace(0, 1, 8).reshape(4, 2))
    boxes = boxed([([([1, 2, 9, 9], 0)], [([1, 2, 8, 9], 0, 0.7), ([3, 3, 5, 6], 1, 0.2)]), ([], [])], classes=2)
    masks = masked(random.random((2, 2, 9, 7)) > 0.5, random.random((2, 2, 9, 7)) > 0.5)
    return [replace(made, split=Split.VAL) for made in (labels, boxes, masks)]


def settled(call: Callable[[], Verdict], names: list[str]) -> Verdict:
    """What a call gives, or its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except FoundationXError as error:
        return refused(error, names)


def checkpoint_bytes(state: State, random: Random) -> Verdict:
    """A checkpoint or its checksum with damaged bytes."""
    run = state.fresh(state.run)
    path = run / "checkpoints" / state.checkpoint.name
    target = random.choice((path, path, checksum_file(path)))
    before = target.read_bytes()
    target.write_bytes(damaged(before, random))
    is_same = target.read_bytes().split(b" ")[0] == before.split(b" ")[0] if target != path else False
    is_same = is_same or target.read_bytes() == before

    def call() -> Verdict:
        load_checkpoint(run if random.random() < 0.5 else path)
        return Verdict(READ if is_same else CRASH, "accepted against its checksum")

    return settled(call, [path.name, run.name])


def checkpoint_entries(state: State, random: Random) -> Verdict:
    """A checkpoint with other entries and the right checksum, or none."""
    content = copy.copy(state.content)
    if random.random() < 0.5:
        which = random.choice(("student", "teacher"))
        name = random.choice(list(content[which]))
        content[which] = content[which] | {name: random.choice(ODD_TENSORS)(content[which][name])}
    elif random.random() < 0.5:
        odd = odd_value(json.loads(content["config"]), random, PLAIN)
        content["config"] = json.dumps(odd)
    else:
        entry = random.choice(("classes", "step", "visit", "optimizer", "progress", "format", "student", "config"))
        odd = random.choice(PLAIN)
        content = (
            {name: value for name, value in content.items() if name != entry} if odd is None else content | {entry: odd}
        )
    run = state.fresh(state.run)
    path = run / "checkpoints" / state.checkpoint.name
    torch.save(content, path)
    checksum_file(path).unlink()
    if random.random() < 0.5:
        checksum_file(path).write_text(f"{sha256(path)}  {path.name}\n")

    def call() -> Verdict:
        checkpoint = load_checkpoint(path)
        for which in ("student", "teacher"):
            weights = checkpoint.model(which).state_dict().values()
            if not all(bool(torch.isfinite(value).all()) for value in weights if value.is_floating_point()):
                return Verdict(CRASH, "weights that are not finite")
        return Verdict(READ)

    return settled(call, [path.name, "student", "teacher", "model"])


PLAIN = tuple(value for value in (*ODD_VALUES, *ODD_TEXTS) if value not in (HUGE, DEEP, SURROGATE, "\ud83d\ude00"))
"""Odd values that ``torch.save`` and JSON can hold."""


def run_folder(state: State, random: Random) -> Verdict:
    """A run folder with up to three damaged files: readers give what makes sense; one in ten is drawn as a page."""
    run = state.fresh(state.run)
    for name in random.sample(sorted(NAMES), random.choice((1, 1, 3))):
        (run / name).write_bytes(odd_file(run / name, random))
    if random.random() < 0.1:
        path = next((run / "examples").iterdir())
        path.write_bytes(damaged(path.read_bytes(), random))

    def call() -> Verdict:
        work = WorkDir(run)
        faults = work.faults()
        facts = read_facts(run)
        work.read_metrics(), work.read_examples(), facts.heads, facts.models
        if random.random() < 0.1:
            write_report(run)
        if work.set_faults_aside() != faults or work.faults():
            return Verdict(CRASH, "damaged files stay")
        return Verdict(READ)

    return settled(call, [run.name])


def odd_file(path: Path, random: Random) -> bytes:
    """A JSON file, or one with a value per line, with damaged bytes or odd values."""
    content = path.read_bytes()
    if random.random() < 0.4:
        return damaged(content, random)
    if path.name not in LINES:
        return odd_json(content, random)
    lines = content.splitlines()
    chosen = random.randrange(len(lines))
    lines[chosen] = odd_json(lines[chosen], random)
    return b"\n".join(lines) + b"\n"


ODD_ARRAYS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda array: np.atleast_1d(array)[:0],
    lambda array: array[None],
    lambda array: np.array(3.0),
    lambda array: np.array("x"),
    lambda array: array.astype(str),
    lambda array: np.full(array.shape, np.nan),
    lambda array: np.full(array.shape, np.inf),
    lambda array: np.full(array.shape, -1),
    lambda array: np.zeros((2, 2, 2)),
    lambda array: array.flatten()[:1],
    lambda array: array[..., ::-1].copy() if array.ndim else array,
    lambda array: array + 1 if array.dtype.kind in "iuf" else array,
    lambda array: array ^ 1 if array.dtype.kind in "iu" else array,
    lambda array: array.astype("S4") if array.dtype.kind == "U" else array.astype(np.int8),
)
"""What may stand in place of an array."""


def predictions_file(state: State, random: Random) -> Verdict:
    """A file of predictions with damaged bytes or other arrays: read and measured, or refused by its name."""
    source = random.choice(state.predictions)
    path = state.folder / source.name
    if random.random() < 0.4:
        path.write_bytes(damaged(source.read_bytes(), random))
    else:
        with np.load(source) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for name in random.sample(sorted(arrays), random.choice((1, 1, 2))):
            if random.random() < 0.2:
                del arrays[name]
            else:
                with np.errstate(all="ignore"):
                    arrays[name] = random.choice(ODD_ARRAYS)(arrays[name])
        write_arrays(path, arrays)

    def call() -> Verdict:
        rows = measure([read_predictions(path)]).rows
        if any(row.value is not None and not np.isfinite(row.value) for row in rows):
            return Verdict(CRASH, "a metric that is not finite")
        return Verdict(READ)

    return settled(call, [path.name])


def cache_files(state: State, random: Random) -> Verdict:
    """A cache with damaged files: every image is that of its file, before and after the cache is filled again."""
    state.filled()
    folder = Store(state.cache, SIZE).folder
    path = folder / random.choice(("index.bin", "index.bin", "pixels.bin", "pixels.bin", "damaged.bin"))
    path.write_bytes(damaged(path.read_bytes() if path.exists() else bytes(8), random))

    def call() -> Verdict:
        for _ in range(2):
            dataset = state.filled()
            for index in range(IMAGES):
                if not np.array_equal(dataset.sample(index, seed=0).image, state.decoded[index]):
                    return Verdict(CRASH, "an image other than that of its file")
        return Verdict(READ)

    verdict = settled(call, [folder.name])
    if verdict.outcome != READ:
        shutil.rmtree(state.cache)
    return verdict
