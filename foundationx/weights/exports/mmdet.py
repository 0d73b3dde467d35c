"""The backbone for configurations of mmdet."""

from __future__ import annotations

from functools import partial

from foundationx.weights.exports._openmmlab import write_openmmlab
from foundationx.weights.exports.formats import Format

FORMAT = Format(partial(write_openmmlab, library="mmdet"), "_mmdet.pth", "configurations of mmdet")
