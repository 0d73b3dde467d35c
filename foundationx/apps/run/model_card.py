"""The model card of an export: ``README.md`` as the Hugging Face Hub reads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from foundationx import __version__
from foundationx.apps.run.provenance import commit_of_code
from foundationx.core.errors import ConfigError, FoundationXError
from foundationx.core.types import Split
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import Checkpoint
from foundationx.evaluation.compare.compare import Comparison, compare
from foundationx.evaluation.compare.table import chosen, markdown
from foundationx.evaluation.predictions import find_predictions, read_predictions
from foundationx.evaluation.statistic import MEAN
from foundationx.tasks.definition import task_of
from foundationx.weights.exports.formats import Source

FEATURES = "image-feature-extraction"
"""Task of a backbone on the Hub."""

LIBRARIES = {"timm": "timm", "timm06": "timm", "huggingface": "transformers", "onnx": "onnx", "onnx-model": "onnx"}
"""Library of the Hub by format; PyTorch for others."""

REPEATS = 1000
"""Bootstrap draws of the intervals."""

TEXT = """---
{{ card_data }}
---

# {title}

{what}

## Use

```python
{use}
```

{input}

## Training datasets and their licences

Weights are made from data. What the licences below forbid or leave open concerns these weights as well.

{datasets}

## Metrics

{metrics}

## Intended use

Research on chest radiographs. This is not a medical device: it has not been assessed for use on patients, and its
output must not decide on diagnosis or treatment. It has learned from the datasets above alone; on other scanners,
age groups, projections or diseases its figures may be much lower. A class that is not listed is not looked for.

## Licence and patent notice

The code of foundationx is under the Apache License 2.0. The weights follow the licences of the training
datasets{start}.
A patent application on the cyclic multi-head teacher-student scheme is pending (US 2026/0066123 A1): if you go beyond
research, seek legal advice.

## Citation

Ma et al., *Foundation Ark*, MICCAI 2023; Ma et al., *Ark+*, Nature 2025; Islam et al., *Foundation X*, WACV 2025.
{citations}

## Origin

{origin}
"""


def can_write_card() -> bool:
    """Whether the extra ``hub`` is installed."""
    return importlib.util.find_spec("huggingface_hub") is not None


def write_card(source: Source, checkpoint: Checkpoint, folder: Path | None, use: str, name: str, path: Path) -> None:
    """Writes the card.

    Args:
        source: What was exported.
        checkpoint: Checkpoint that it was exported from.
        folder: Work directory of the run, for its metrics; None if there is none.
        use: Code that uses the export.
        name: Format.
        path: File to write.

    Raises:
        ConfigError: The extra ``hub`` is missing.
        DiskError: The file cannot be written.
    """
    if not can_write_card():
        fix = "pip install -e '.[hub]' in the clone"
        raise ConfigError("model card", "huggingface_hub cannot be imported", "the extra 'hub'", fix)
    from huggingface_hub import ModelCard, ModelCardData

    from foundationx.core.atomic_write import write_atomically

    cards = training_cards(checkpoint)
    table = metrics_of(folder, source.which, checkpoint.visit)
    data = ModelCardData(
        license="other",
        license_name="licences-of-the-training-datasets",
        library_name=LIBRARIES.get(name, "pytorch"),
        pipeline_tag=_pipeline(source),
        tags=["chest-x-ray", "radiology", "medical", "foundationx"],
        datasets=[card.name for card in cards] or None,
        metrics=sorted({row.metric for row in table.rows}) if table else None,
        model_name=checkpoint.config.name,
        eval_results=_results(table) if table else None,
    )
    text = _text(source, checkpoint, cards, table, use)
    write_atomically(path, str(ModelCard.from_template(data, template_str=text)))


def _text(source: Source, checkpoint: Checkpoint, cards: Sequence[Card], table: Comparison | None, use: str) -> str:
    """The card as a template, into which huggingface_hub puts the metadata."""
    size, model = source.config.image_size, source.config.model
    heads = ", ".join(f"`{key}`" for key in source.heads)
    what = f"A whole model with the heads {heads}." if heads else "The backbone of a model, without heads."
    pixels = (
        f"Images are grey radiographs with bright bones, stretched to {size} x {size} pixels (averages of areas), "
        f"scaled to [0, 1], in three equal channels, minus mean {list(model.mean)}, over deviation {list(model.std)}."
    )
    if heads:
        pixels += " Folders and files of whole models do all this themselves."
    start = f", and those of the weights that it began from ({_escaped(model.init.name)})" if model.init else ""
    citations = [f"- {card.title}: {card.citation}" for card in cards if card.citation]
    fields = {
        "title": f"{checkpoint.config.name}, {source.which}",
        "what": f"{what} Trained with foundationx on {len(cards)} public datasets.",
        "use": use,
        "input": pixels,
        "datasets": _dataset_table(cards),
        "metrics": markdown(chosen(table, None, False)) if table else "There are none for this checkpoint.",
        "start": start,
        "citations": "\n".join(citations),
        "origin": _origin(checkpoint, source.which),
    }
    text = TEXT
    for name, value in fields.items():
        text = text.replace(f"{{{name}}}", _literal(value))
    return text


def _literal(text: str) -> str:
    """Text in which the template engine finds nothing to do."""
    return text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")


def _escaped(text: str) -> str:
    """Text for a cell of a table in Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def training_cards(checkpoint: Checkpoint) -> list[Card]:
    """Cards of the datasets that a run was trained on, as far as the registry has them."""
    catalog, cards = Catalog(), []
    for name in dict.fromkeys(key.dataset for key in checkpoint.classes):
        try:
            cards.append(catalog.card(name))
        except FoundationXError:
            continue
    return cards


def _dataset_table(cards: Iterable[Card]) -> str:
    rows = ["| dataset | licence | commercial use | redistribution | home |", "|---|---|---|---|---|"]
    for card in cards:
        licence = card.licence
        cells = [f"{card.title} (`{card.name}`)", f"{licence.name} ({licence.spdx})"]
        cells += [str(licence.commercial), str(licence.redistribution), card.home or ""]
        rows.append("| " + " | ".join(map(_escaped, cells)) + " |")
    return "\n".join(rows) if len(rows) > 2 else "The registry has no card of them."


def metrics_of(folder: Path | None, which: str, visit: int) -> Comparison | None:
    """Metrics with intervals on test, or else on validation, of this state of the model; None if there are none.

    Args:
        folder: Work directory of the run.
        which: Student or teacher.
        visit: Visits that the model has been trained for.
    """
    for split in (Split.TEST, Split.VAL) if folder is not None else ():
        assert folder is not None
        paths = [path for path in find_predictions(folder) if path.name.endswith(f".{split.value}.{which}.npz")]
        if paths and all(read_predictions(path).visit == visit for path in paths):
            return compare([folder], split=split, model=which, repeats=REPEATS)
    return None


def _results(table: Comparison) -> list[Any]:
    """Means over classes as the Hub's table of results takes them."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=task_of(row.head.task).hub_task,
            dataset_type=row.head.dataset,
            dataset_name=row.head.dataset,
            dataset_split=table.split,
            metric_type=row.metric.lower(),
            metric_name=row.metric,
            metric_value=row.cells[0].value,
        )
        for row in table.rows
        if row.class_name == MEAN and not row.is_detail and row.cells[0] is not None and row.cells[0].value is not None
    ]


def _pipeline(source: Source) -> str:
    tasks = {task_of(key.task).hub_task for key in source.heads}
    return tasks.pop() if len(tasks) == 1 else FEATURES


def _origin(checkpoint: Checkpoint, which: str) -> str:
    commit = commit_of_code()
    lines = [
        f"- run `{checkpoint.config.name}`, {which}, step {checkpoint.step}, visit {checkpoint.visit}",
        f"- foundationx {__version__}" + (f", commit {commit}" if commit else ""),
    ]
    return "\n".join(lines)
