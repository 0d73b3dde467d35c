"""What a step of each objective costs: passes through the backbone, arithmetic and time.

    .venv/bin/python benchmarks/selfsup_cost.py

Passes are counted by a hook on the backbone, at the published sizes of views and on real batches; heads are narrow, for
they change no pass. Arithmetic is that of the published Swin-B (two operations for each multiply-add; a student's pass
counts three times, for its backward pass costs twice its forward pass). Time is that of ``*_nano.py`` on one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from selfsup_learning import CONFIGS, SECONDS_A_STEP, prepared
from selfsup_transfer import markdown
from selfsup_worlds import generated_world

from foundationx.apps.run.train import build_model
from foundationx.core.config.load import load_config
from foundationx.core.geometry.views import TrainingProgress
from foundationx.core.types import Split
from foundationx.data.datamodule import open_datasets
from foundationx.data.loader import in_order, make_loader, usable
from foundationx.models.views import look_at_views
from foundationx.tasks.self_supervision.objective import OBJECTIVES

NARROW = {"hidden": 8, "output": 8, "bottleneck": 8, "prototypes": 8, "queue": 8, "global_width": 8, "local_width": 8}
CARD, BATCH, MOMENTS, TIMED = "phantom_labels", 2, 20, 8
DESCRIBED = {
    "adam": {"contrast": "1 s + 1 t at 224"},
    "adam_v2": {"localise": "-", "localise + compose + decompose": "6 s + 5 t at 224, 8 s at 96"},
    "peac": {"order + restore + global + local": "2 s + 2 t at 448"},
    "ace": {"global + divide + compose": "2 s + 2 t at 448"},
    "lamps": {
        "extrapolate": "2 s at 352, 2 t at 448",
        "order + coherence": "2 s + 2 t at 448",
        "compose + decompose": "2 s + 2 t at 448, 8 s + 8 t at 224",
        "global + local": "-",
    },
}
"""``docs/methods/self_supervision.md``, "7.8 Cost per image", by the losses of a batch; "-" if it has no entry."""


@dataclass(frozen=True)
class Passes:
    """Images through the backbone for each image of the batch, by side of the view in pixels."""

    student: dict[int, float]
    teacher: dict[int, float]

    def __str__(self) -> str:
        def line(counts: dict[int, float], who: str) -> list[str]:
            return [f"{count:g} {who} at {size}" for size, count in sorted(counts.items(), reverse=True)]

        return ", ".join(line(self.student, "s") + line(self.teacher, "t"))

    def gflop(self) -> float:
        """Of a training step, for each image, with Swin-B."""
        student = sum(count * swin_gflop(size) for size, count in self.student.items())
        return 3 * student + sum(count * swin_gflop(size) for size, count in self.teacher.items())


def count_passes(name: str, data: Path) -> dict[str, Passes]:
    """Passes of an objective with its published views, by the losses of a batch.

    Args:
        name: of the objective.
        data: Folder with at least ``BATCH`` images of ``CARD`` in the training split.
    """
    options = OBJECTIVES.get(name).Options
    narrow: dict[str, Any] = {key: width for key, width in NARROW.items() if key in options.model_fields}
    changes = {
        "model.objective": {"_delete_": True, "type": name, **narrow},
        "model.backbone.embed_dims": 8,
        "model.backbone.num_heads": (1, 1, 1, 1),
        "datasets": [{"card": CARD, "tasks": ["self_supervision"]}],
    }
    config = load_config(CONFIGS / f"{name}_nano.py", changes)
    data_module = open_datasets(config, data)
    (key,) = data_module.annotations
    student, teacher = build_model(config, data_module, "cpu"), build_model(config, data_module, "cpu")
    seen: tuple[Counter, Counter] = (Counter(), Counter())
    for model, counts in zip((student, teacher), seen, strict=True):
        model.backbone.net.register_forward_pre_hook(
            lambda _, inputs, counts=counts: counts.update({inputs[0].shape[-1]: len(inputs[0])})
        )
    plain = next(iter(in_order(key, data_module.indices[key][Split.TRAIN], BATCH)))
    turns = student.head(key).objective.turns
    moments = [TrainingProgress(turn, done / MOMENTS) for turn in range(turns) for done in range(MOMENTS)]
    batches = [[ref._replace(training_progress=training_progress) for ref in plain] for training_progress in moments]
    result: dict[str, Passes] = {}
    known: set[tuple[str, ...]] = set()
    for loaded in make_loader(data_module.training(), batches, 0, pin_memory=False):
        batch = usable(loaded, "raise")
        if tuple(batch.views) in known:
            continue
        known.add(tuple(batch.views))
        for counts in seen:
            counts.clear()
        with torch.no_grad():
            losses = look_at_views(student, teacher, lambda images: images.float().expand(-1, 3, -1, -1), batch).losses
        result[" + ".join(losses)] = Passes(*({size: n / BATCH for size, n in counts.items()} for counts in seen))
    return result


def swin_gflop(size: int, width: int = 128, depths: tuple[int, ...] = (2, 2, 18, 2), window: int = 7) -> float:
    """Of a forward pass of a Swin (Swin-B by default, MLPs of four times the width) over one image of ``size`` pixels.

    Maps that a window does not divide are padded. Normalisations, softmax and biases are left out.
    """
    side = -(-size // 4)
    total = side**2 * 4 * 4 * 3 * width
    for stage, depth in enumerate(depths):
        if stage:
            side, width = -(-side // 2), 2 * width
            total += side**2 * (2 * width) * width  # four neighbours of half the width each
        tokens, padded = side**2, (-(-side // window) * window) ** 2
        attention = 4 * padded * width**2 + 2 * padded * window**2 * width
        total += depth * (attention + 8 * tokens * width**2)
    return 2 * total / 1e9


def nano_seconds(name: str, folder: Path) -> float:
    """Processor time of one step of the nano configuration, the mean over a curriculum of ``TIMED`` steps."""
    trainer, _ = prepared(name, generated_world(folder / "data", 24), TIMED, folder / "run")
    begun = time.process_time()
    trainer.train()
    return (time.process_time() - begun) / TIMED


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in SECONDS_A_STEP:
        with tempfile.TemporaryDirectory() as folder:
            seconds = nano_seconds(name, Path(folder))
            kinds = count_passes(name, Path(folder) / "data")
        for index, (losses, passes) in enumerate(kinds.items()):
            shown = [f"{1000 * seconds:.0f}", name] if index == 0 else ["", ""]
            rows.append([shown[1], losses, DESCRIBED[name][losses], str(passes), f"{passes.gflop():.0f}", shown[0]])
    heads = ["objective", "losses", "described", "here", "GFLOP per image, Swin-B", "ms per step, nano, 16 images"]
    print(markdown(heads, rows))


if __name__ == "__main__":
    main()
