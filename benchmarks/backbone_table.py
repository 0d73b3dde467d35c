#!/usr/bin/env python
"""Writes the table of backbones in docs/weights.md: ``python benchmarks/backbone_table.py``.

For every family it imports a small published file with drawn weights and compares features with the reference library:
timm's (stored by ``tools/backbone_references.py``) for files under the authors' names, transformers' own for its
folders. It tries the export formats on the smallest network of the family; those that trace a graph, which take
minutes, with ``--graphs`` alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from foundationx.core.config.run import RunConfig  # noqa: E402
from foundationx.core.errors import FoundationXError  # noqa: E402
from foundationx.core.types import Task, TaskKey  # noqa: E402
from foundationx.models.backbone import Backbone  # noqa: E402
from foundationx.models.foundation_model import FoundationModel  # noqa: E402
from foundationx.weights.exports.formats import FORMATS, Source  # noqa: E402
from foundationx.weights.imports.released import read_released  # noqa: E402
from tests.helpers.hugging_face import NETWORKS, reference, save_network  # noqa: E402
from tests.helpers.published_names import FILES, drawn, images  # noqa: E402
from tests.helpers.tiny_backbones import BACKBONES  # noqa: E402

BEGIN, END = "<!-- Below: python benchmarks/backbone_table.py -->", "<!-- Above: benchmarks/backbone_table.py -->"
DINOV2 = ("DINOv2", "DINOv2 with registers", "DINOv2 giant")
ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Swin", "its authors, Ark, Foundation X, timm; transformers", (), ()),
    ("Swin v2", "its authors, timm; transformers", ("Swin v2",), ("Swin v2",)),
    ("ConvNeXt", "its authors, timm; transformers", ("ConvNeXt",), ("ConvNeXt",)),
    ("ResNet", "torchvision; transformers", ("ResNet",), ("ResNet",)),
    ("ViT", "timm; transformers", ("ViT",), ("ViT", "ViT with a classifier")),
    ("MAE", "its authors; transformers", ("MAE",), ("MAE",)),
    ("DINOv2", "its authors, with registers and SwiGLU; transformers", DINOV2, DINOV2),
    ("RAD-DINO", "DINOv2's; transformers", ("DINOv2",), ("DINOv2",)),
    ("CheXFound", "DINOv2's training (teacher, blocks in chunks)", ("CheXFound",), ("DINOv2 with registers",)),
    ("DINOv3 ViT", "its authors; transformers", ("DINOv3 ViT", "DINOv3 ViT H+"), ("DINOv3 ViT", "DINOv3 ViT H+")),
    ("DINOv3 ConvNeXt", "its authors; transformers", ("DINOv3 ConvNeXt",), ("DINOv3 ConvNeXt",)),
    ("EVA-02", "its authors, timm, OpenCLIP", ("EVA-02 S", "EVA-02 B"), ()),
    ("EVA-X", "its authors", ("EVA-X",), ()),
    ("SigLIP", "OpenCLIP; transformers (MedSigLIP)", ("SigLIP",), ("SigLIP",)),
    ("OpenCLIP", "OpenCLIP, OpenAI; transformers", ("OpenCLIP",), ("CLIP",)),
)  # fmt: skip
"""Family, whose names are read, files compared with timm, folders compared with transformers."""

GRAPHS = ("onnx", "torch-export")
"""Formats that trace the network."""

HEADS = {TaskKey("a", Task.CLASSIFICATION): ("x",)}


def difference(backbone: Backbone, size: int, expected: torch.Tensor) -> float:
    """Greatest difference of the pooled feature."""
    with torch.no_grad():
        return float((backbone(images(size))[-1].mean((2, 3)) - expected).abs().max())


def imported(path: Path) -> Backbone:
    """The backbone of a file, built and filled as a run does it."""
    released = read_released(path)
    backbone = Backbone(released.shape.config()).eval()
    backbone.net.load_state_dict(released.backbone)
    return backbone


def with_timm(name: str, folder: Path) -> float:
    """Difference from timm's features for a file under its authors' names."""
    stored = json.loads((ROOT / "tests/weights/backbone_references.json").read_text(encoding="utf-8"))
    torch.save({"model": drawn(FILES[name][0])} if name == "EVA-X" else _content(name), folder / "a.pth")
    return difference(imported(folder / "a.pth"), FILES[name][1], torch.tensor(stored["features"][name]))


def _content(name: str) -> dict[str, Any]:
    tensors = drawn(FILES[name][0])
    return {"teacher": tensors} if name == "CheXFound" else tensors


def with_transformers(name: str, folder: Path) -> float:
    """Difference from transformers' features for a folder that it wrote, at all sizes."""
    network = save_network(name, folder / name)
    backbone = imported(folder / name)
    sizes = NETWORKS[name].sizes
    return max(difference(backbone, size, reference(name, network, images(size))) for size in sizes)


def exports(name: str, folder: Path) -> str:
    """Formats that take a backbone of the family."""
    config = RunConfig.model_validate(
        {
            "name": "table",
            "image_size": 64,
            "model": {"backbone": BACKBONES[name]},
            "datasets": [{"card": "phantom_labels"}],
            "schedule": {"cycles": 1},
        }
    )
    model = FoundationModel(config.model, HEADS).eval()
    written = []
    for kind, format_ in sorted(FORMATS.all().items()):
        if format_.whole:
            continue
        if kind in GRAPHS and "--graphs" not in sys.argv:
            continue
        try:
            format_.write(Source(model, config, "teacher"), folder / f"{name} {kind}{format_.suffix}")
            written.append(kind)
        except FoundationXError:
            continue
    return ", ".join(f"`{kind}`" for kind in written)


def table() -> str:
    """The table as Markdown."""
    lines = [
        "| family | network here | whose names are read | reference | greatest difference of features | trains "
        "classification, detection, segmentation in lock and release | exports |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for family, names, files, folders in ROWS:
            found = [("timm", max(with_timm(one, folder) for one in files))] if files else []
            found += [("transformers", max(with_transformers(one, folder) for one in folders))] if folders else []
            references = ", ".join(source for source, _ in found) or "a plain Swin (`tests/helpers/plain_swin.py`)"
            differences = ", ".join(f"{value:.0e}" for _, value in found) or "below 1e-5 (`test_import_released.py`)"
            trains = f"yes: `test_every_family_trains_all_tasks_in_lock_and_release[{family}]`"
            network = f"`{BACKBONES[family]['type']}`"
            cells = (family, network, names, references, differences, trains, exports(family, folder))
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    rows, path = table(), ROOT / "docs/weights.md"
    above, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{above}{BEGIN}\n\n{rows}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
