"""The images that the report shows, read and predicted once more: those that ``outcomes.choose_cases`` names."""

from __future__ import annotations

from collections.abc import Sequence

from foundationx.core import distributed
from foundationx.core.errors import DataError
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Batch, Example, Sample, Split
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import collate
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.evaluator import predict_each
from foundationx.evaluation.outcomes import choose_cases
from foundationx.evaluation.predictions import Predictions
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of


def case_examples(
    data_module: DataModule, model: FoundationModel, predictions: Predictions, number: int
) -> list[Example]:
    """The worst, median and best images of a head and its clearest mistakes, with truth and prediction.

    Args:
        data_module: Datasets of the run.
        model: The model that the predictions are of, in evaluation mode.
        predictions: Predictions of one head, with their thresholds.
        number: Most images.

    Returns:
        The images in the order in which they were chosen; none if the head's task has no such order.
    """
    names = list(dict.fromkeys(str(predictions.images[case.index]) for case in choose_cases(predictions, number)))
    samples = _samples(data_module, predictions, names)
    size = data_module.config.runtime.eval_batch_size
    examples: list[Example] = []
    for start in range(0, len(samples), size):
        batch = collate([(sample, []) for sample in samples[start : start + size]])
        assert isinstance(batch, Batch)
        examples += _examples(data_module, model, batch, size)
    return examples


def _samples(data_module: DataModule, predictions: Predictions, names: Sequence[str]) -> list[Sample]:
    """Samples of the images of these names that can be read."""
    key, split = predictions.key, Split(predictions.split)
    table, dataset = data_module.annotations[key], data_module.evaluation(split).datasets[key]
    index_of = {table.images[index]: index for index in data_module.indices[key][split].tolist()}
    samples = []
    for name in names:
        try:
            samples.append(dataset.sample(index_of[name], index_of[name]))
        except (DataError, KeyError):
            continue  # it was there a moment ago: the others are shown
    return samples


def _examples(data_module: DataModule, model: FoundationModel, batch: Batch, size: int) -> list[Example]:
    device = next(model.parameters()).device
    pixels = Normaliser(data_module.config.model, device)(batch.images.to(device))
    with distributed.alone():
        predicted = predict_each(model, pixels, [batch.key], size)[batch.key]
    on_host = map_tensors(predicted, lambda tensor: tensor.cpu())
    task = task_of(batch.key.task)
    return [task.example(on_host, batch, index) for index in range(len(batch))]
