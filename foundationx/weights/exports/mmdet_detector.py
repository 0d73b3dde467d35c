"""A detection head with everything below it as a detector of mmdet."""

from __future__ import annotations

from functools import partial

from foundationx.weights.exports._openmmlab_model import write_openmmlab_model
from foundationx.weights.exports.formats import Format

FORMAT = Format(
    partial(write_openmmlab_model, library="mmdet"),
    "_mmdet_detector",
    "mmdet: a detector for init_detector",
    whole=True,
    library="mmdet",
)
