"""A segmentation head with everything below it as a segmentor of mmseg."""

from __future__ import annotations

from functools import partial

from foundationx.weights.exports._openmmlab_model import write_openmmlab_model
from foundationx.weights.exports.formats import Format

FORMAT = Format(
    partial(write_openmmlab_model, library="mmseg"),
    "_mmseg_segmentor",
    "mmseg: a segmentor for init_model",
    whole=True,
    library="mmseg",
)
