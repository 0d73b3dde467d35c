"""The backbone as an ONNX graph. Needs the extra ``onnx``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from foundationx.core import openmmlab
from foundationx.core.atomic_write import replacing
from foundationx.core.config.run import RunConfig
from foundationx.core.distribution import install_hint
from foundationx.core.errors import ConfigError
from foundationx.models.foundation_model import FoundationModel
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format
from foundationx.weights.exports.torch_export import trace

NEEDED = ("onnx", "onnxscript")

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Metadata of a node: lines of code with the paths of this machine."""


def write_onnx(model: FoundationModel, config: RunConfig, which: str, path: Path) -> str:
    """Writes one ``.onnx`` file with a free batch size; its metadata are those of ``describe``.

    Raises:
        ConfigError: A package of the extra is missing, or the backbone cannot be traced.
    """
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        found = f"the package{'s' if len(absent) > 1 else ''} {' and '.join(absent)} cannot be imported"
        raise ConfigError("export to onnx", found, "the extra 'onnx'", install_hint("onnx"))
    import torch

    stages = [f"stage{i + 1}" for i in range(len(model.backbone.channels))]
    with openmmlab.quiet():
        graph = torch.onnx.export(trace(model, config), dynamo=True, input_names=["images"], output_names=stages)
    if graph is None:
        raise ConfigError("export to onnx", "torch.onnx gave no graph", "a graph", "choose another format")
    graph.model.metadata_props.update(describe(model, config, which))
    for node in graph.model.graph.all_nodes():
        node.metadata_props.pop(STACK_TRACE, None)
    with replacing(path) as partial:
        graph.save(partial)
    return (
        f"session = onnxruntime.InferenceSession({str(path)!r})\n"
        f"stages = session.run(None, {{'images': images}})  # (B, 3, {config.image_size}, {config.image_size}), float32"
    )


FORMAT = Format(write_onnx, ".onnx", "ONNX Runtime and what reads its graphs")
