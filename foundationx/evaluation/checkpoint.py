"""Evaluation of a checkpoint on the datasets that it was trained on."""

from __future__ import annotations

from pathlib import Path

from foundationx.core.device import pick_device, share_cores
from foundationx.core.errors import CheckpointError
from foundationx.core.types import MetricRow, Split
from foundationx.data.datamodule import open_datasets
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.stored import measure, missing_rows


def evaluate_checkpoint(
    path: Path,
    data_root: Path,
    split: Split,
    models: tuple[str, ...] = ("student", "teacher"),
    device: str = "auto",
    out: Path | None = None,
) -> list[MetricRow]:
    """Metric rows of every head. The split is the run's own: it depends on patients, fractions and seed alone.

    Args:
        path: a checkpoint or a work directory.
        data_root: folder that holds the datasets.
        split: the side to evaluate.
        models: student, teacher or both.
        device: where to compute.
        out: folder for ``metrics.json``, ``predictions/`` and ``thresholds.json``; what it holds of other sides stays.
            Metrics of called labels need the predictions of the validation side in it.

    Raises:
        CheckpointError: the checkpoint cannot be read, or the cards have changed since.
        DataError: a file is missing or bad.
        DiskError: ``out`` cannot be written.
    """
    checkpoint = load_checkpoint(path)
    data_module = open_datasets(checkpoint.config, data_root)
    if data_module.classes != checkpoint.classes:
        fix = "use the cards that the model was trained with"
        raise CheckpointError(str(path), "the cards' classes differ from the checkpoint's", fix=fix)
    where = pick_device(device)
    share_cores(checkpoint.config.runtime.workers)
    built = {name: checkpoint.model(name).to(where) for name in models}
    found = evaluate(data_module, built, split, checkpoint.visit, record=True)
    if out is not None:
        return measure(out, found)
    return found.rows + [row for stored in found.predictions for row in missing_rows(found.rows, stored, {})]
