"""Whole models for mmdet and mmseg: a folder with a configuration and a checkpoint."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

from foundationx.core.atomic_write import require_folder, write_atomically
from foundationx.core.errors import ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.drawing import colour_of
from foundationx.weights.exports._openmmlab import write_checkpoint
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Source
from foundationx.weights.openmmlab_parts import part_of

LINES = {
    "mmdet": """import numpy
import foundationx.weights.mmdet_model
from mmdet.apis import inference_detector, init_detector
model = init_detector({config!r}, {checkpoint!r}, device="cpu")
image = numpy.zeros((480, 400, 3), numpy.uint8)  # or the path of an image
found = inference_detector(model, image).pred_instances  # bboxes, scores, labels; best first""",
    "mmseg": """import numpy
import foundationx.weights.mmseg_model
from mmseg.apis import inference_model, init_model
model = init_model({config!r}, {checkpoint!r}, device="cpu")
image = numpy.zeros((480, 400, 3), numpy.uint8)  # or the path of an image
found = inference_model(model, image)  # seg_logits: probability of every class; pred_sem_seg: 0, or class + 1""",
}
"""Code that uses the folder."""


def write_openmmlab_model(source: Source, path: Path, *, library: str) -> str:
    """Writes ``config.py`` and ``model.pth`` into the folder ``path``.

    Args:
        source: What is exported; it has one head.
        path: Output folder.
        library: ``mmdet`` or ``mmseg``.

    Raises:
        ConfigError: There is not one head.
    """
    if len(source.heads) != 1:
        found, fix = f"{len(source.heads)} heads are chosen", "choose one with --head"
        raise ConfigError(f"export to {library}", found, "one head", fix)
    (key,) = source.heads
    require_folder(path)
    part = part_of(source.model, key)
    classes = list(source.model.classes[key])
    meta: dict[str, Any] = {"classes": classes, "palette": [list(colour_of(index)) for index in range(len(classes))]}
    if library == "mmseg":
        meta = {"classes": ["nothing", *classes], "palette": [[0, 0, 0], *meta["palette"]]}
    thresholds = {name: float(value) for name, value in source.thresholds.get(key, {}).items()}
    facts: dict[str, Any] = describe(source) | {"dataset_meta": meta, "thresholds": thresholds}
    weights = {f"network.{name}": value for name, value in part.state_dict().items()}
    write_checkpoint(path / "model.pth", facts, weights)
    write_atomically(path / "config.py", _configuration(source, part, meta, library))
    return LINES[library].format(config=str(path / "config.py"), checkpoint=str(path / "model.pth"))


def _configuration(source: Source, part: FoundationModel, meta: dict[str, Any], library: str) -> str:
    """The text of ``config.py`` for a part of the model; ``meta`` are the classes and their colours."""
    network = part.config.model_dump(mode="json")
    backbone = network.pop("backbone")
    kind = {"mmdet": "Det", "mmseg": "Seg"}[library]
    name = {"mmdet": "FoundationXDetector", "mmseg": "FoundationXSegmentor"}[library]
    model = {
        "type": name,
        "backbone": backbone,
        "network": network,
        "heads": {str(key): list(classes) for key, classes in part.classes.items()},
        "data_preprocessor": {
            "type": f"{kind}DataPreProcessor" if library == "mmseg" else f"{kind}DataPreprocessor",
            "mean": [255 * value for value in source.config.model.mean],
            "std": [255 * value for value in source.config.model.std],
            "bgr_to_rgb": False,
        },
    }
    keys = ("img_path", "ori_shape", "img_shape", "scale_factor")
    pipeline = [
        {"type": "LoadRadiograph"},
        {"type": "StretchRadiograph", "side": source.config.image_size},
        {"type": f"Pack{kind}Inputs", "meta_keys": ("img_id", *keys) if library == "mmdet" else keys},
    ]
    parts = {
        "default_scope": library,
        "custom_imports": {"imports": [f"foundationx.weights.{library}_model"], "allow_failed_imports": False},
        "model": model,
        "test_pipeline": pipeline,
    }
    text = "".join(f"{name} = {pprint.pformat(value, width=110, sort_dicts=False)}\n" for name, value in parts.items())
    if library == "mmseg":
        return text
    dataset = {"type": "CocoDataset", "metainfo": {name: meta[name] for name in ("classes", "palette")}}
    return f"{text}test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **{dataset!r}))\n"
