"""A whole model as an ONNX graph: grey images of any size in, probabilities, boxes and masks out."""

from __future__ import annotations

from pathlib import Path

from foundationx.weights.exports._whole import describe_heads, trace_whole
from foundationx.weights.exports.backbone import describe
from foundationx.weights.exports.formats import Format, Source
from foundationx.weights.exports.onnx import require_onnx, write_graph


def write_onnx_model(source: Source, path: Path) -> str:
    """Writes one ``.onnx`` file; its metadata are those of ``describe`` and ``describe_heads``.

    Raises:
        ConfigError: A package of the extra is missing, or the model cannot be traced.
    """
    require_onnx()
    program, names = trace_whole(source)
    write_graph(program, ["image"], names, {**describe(source), **describe_heads(source, names)}, path)
    return f"""import json
import numpy
import onnxruntime
session = onnxruntime.InferenceSession({str(path)!r})
heads = json.loads(session.get_modelmeta().custom_metadata_map["heads"])  # classes, codes and thresholds of each head
image = numpy.zeros((480, 400), numpy.uint8)  # grey, of any size, bones bright
names = [output.name for output in session.get_outputs()]
results = dict(zip(names, session.run(None, {{"image": image}})))  # boxes in pixels of the image"""


FORMAT = Format(
    write_onnx_model,
    "_model.onnx",
    "ONNX Runtime: a whole model, grey images of any size in",
    whole=True,
)
