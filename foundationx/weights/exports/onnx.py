"""The backbone as an ONNX graph. Needs the extra ``onnx``."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.export import ExportedProgram

from foundationx.core import openmmlab
from foundationx.core.atomic_write import replacing
from foundationx.core.distribution import install_hint
from foundationx.core.errors import ConfigError
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source, normalising
from foundationx.weights.exports.torch_export import trace

NEEDED = ("onnx", "onnxscript")

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Metadata of a node: lines of code with the paths of this machine."""


def require_onnx() -> None:
    """Raises ConfigError: a package of the extra is missing."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        found = f"the package{'s' if len(absent) > 1 else ''} {' and '.join(absent)} cannot be imported"
        raise ConfigError("export to onnx", found, "the extra 'onnx'", install_hint("onnx"))


def write_graph(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], facts: Mapping[str, str], path: Path
) -> None:
    """Writes a traced program as an ONNX graph.

    Args:
        program: What was traced.
        inputs: Names of the inputs in the graph.
        outputs: Names of the outputs.
        facts: Metadata of the graph.
        path: Output file.

    Raises:
        ConfigError: The exporter of PyTorch cannot translate the program.
    """
    import torch

    try:
        with openmmlab.quiet():
            graph = torch.onnx.export(program, dynamo=True, input_names=list(inputs), output_names=list(outputs))
    except torch.onnx.OnnxExporterError as error:
        found = " ".join(str(error).split())[:300]
        raise ConfigError("export to onnx", found, "operations that ONNX has", "choose another format") from error
    if graph is None:
        raise ConfigError("export to onnx", "torch.onnx gave no graph", "a graph", "choose another format")
    graph.model.metadata_props.update(facts)
    for node in graph.model.graph.all_nodes():
        node.metadata_props.pop(STACK_TRACE, None)
    with replacing(path) as partial:
        graph.save(partial)


def write_onnx(source: Source, path: Path) -> str:
    """Writes one ``.onnx`` file with a free batch size; its metadata are those of ``describe``.

    Raises:
        ConfigError: A package of the extra is missing, or the backbone cannot be traced.
    """
    require_onnx()
    stages = [f"stage{i + 1}" for i in range(len(source.model.backbone.channels))]
    write_graph(trace(source.model, source.config), ["images"], stages, describe(source), path)
    size = source.config.image_size
    return f"""import numpy
import onnxruntime
session = onnxruntime.InferenceSession({str(path)!r})
grey = numpy.zeros((1, 1, {size}, {size}), numpy.float32)  # stretched to {size} x {size}, in [0, 1], bones bright
{normalising(source.config, "numpy.array", "numpy.float32")}
stages = session.run(None, {{"images": images}})  # maps of every stage, the finest first"""


FORMAT = Format(write_onnx, "_backbone.onnx", "ONNX Runtime and what reads its graphs")
