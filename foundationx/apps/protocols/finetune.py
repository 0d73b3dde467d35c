"""Full fine-tuning: a dataset's own heads on the pretrained backbone, everything trained; chosen on validation.

It is a run like any other (``foundationx train``), begun from the exported backbone: no lock, no consistency. The epoch
is the one that is best on validation; test is looked at once, with that one.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveInt

from foundationx.apps.protocols.base import Request, Result, Subject
from foundationx.apps.run.train import train
from foundationx.core.config.model import Section
from foundationx.core.config.run import ConsistencyConfig, RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split
from foundationx.core.workdir import WorkDir
from foundationx.engine.resume import Resume
from foundationx.evaluation.checkpoint import evaluate_checkpoint
from foundationx.weights.exports.backbone import export_backbone


class Options(Section):
    """Length and rate."""

    epochs: PositiveInt = Field(10, description="passes over the training images")
    lr: float = Field(1e-4, gt=0, description="learning rate")


def run(request: Request, options: Options) -> Result:
    """Trains in ``--out``, or continues what was begun there, and evaluates the best epoch on test.

    Raises:
        ConfigError: ``--out`` is missing.
        FoundationXError: as ``foundationx train``.
    """
    if request.out is None:
        raise ConfigError("--out", "is missing", "a folder: fine-tuning is a run", "name one")
    subject = Subject(request)
    start = request.out / "pretrained.safetensors"
    export_backbone(subject.model, subject.checkpoint.config, request.model, start)
    config = finetuning_config(subject.config, start, options.epochs, options.lr)
    if subject.data_module.record.splits:
        kept = config.split.model_copy(update={"record": request.checkpoint, "changes": "keep"})
        config = config.model_copy(update={"split": kept})
    resume = Resume.CHANGED if WorkDir(request.out).is_begun else Resume.AUTO
    if not train(config, request.data_root, request.out, resume=resume):
        raise KeyboardInterrupt
    best = WorkDir(request.out).read_json("best.json", {})
    steps = sorted({row["step"] for row in best.values()})
    rows = []
    for step in steps:
        path = request.out / "checkpoints" / f"step_{step:08d}.pt"
        keys = {name for name, row in best.items() if row["step"] == step}
        out, device, code = request.out, request.device, request.allow_code
        for row in evaluate_checkpoint(path, request.data_root, Split.TEST, ("student",), device, out, allow_code=code):
            if row.model == "student" and f"{row.dataset}/{row.task}" in keys:
                value = "-" if row.value is None else f"{row.value:.4f}"
                rows.append((f"{row.dataset}/{row.task}", row.metric, row.class_name, str(row.n), value, str(step)))
    title = f"fine-tuning of {request.checkpoint} ({request.model}) on {request.card}, test"
    return Result(title, ("head", "metric", "class", "n", "value", "best step"), rows, [f"run: {request.out}"])


def finetuning_config(config: RunConfig, start: Path, epochs: int, lr: float) -> RunConfig:
    """The configuration of the run: the model's own, without lock, teacher view or consistency."""
    nothing = dict.fromkeys(config.schedule.lock, 0.0)
    schedule = {"cycles": epochs, "lock": nothing, "type": "cyclic", "turns": 1}
    views = {task: view.model_copy(update={"teacher": "same"}) for task, view in config.views.items()}
    return config.model_copy(
        update={
            "name": f"finetune_{config.datasets[0].card}",
            "model": config.model.model_copy(update={"init": start, "init_heads": {}, "softmax": ()}),
            "schedule": config.schedule.model_copy(update=schedule),
            "consistency": ConsistencyConfig(weight=0.0),
            "views": views,
            "optimizer": config.optimizer.model_copy(update={"lr": lr}),
            "evaluate": config.evaluate.model_copy(
                update={"every": 1, "during": Split.VAL, "final": (Split.VAL,), "models": ("student",)}
            ),
        }
    )
