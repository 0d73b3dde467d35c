"""Detector and segmentation of a released Foundation X or X+ (``docs/methods/foundation_x.md``, "7 Released
checkpoints"), for the heads ``detection_as_released`` and ``segmentation_as_released``.

Every tensor is taken, or named with its reason. Further names of one tensor (tied weights) are compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from foundationx.core.errors import CheckpointError
from foundationx.core.types import TaskKey
from foundationx.models.parameter_groups import head_slug
from foundationx.tasks.base import HEADS

BOX_HEAD, MASK_HEAD = "detection_as_released", "segmentation_as_released"
"""Heads of imported boxes and masks."""

BOXES, MASKS = HEADS.get(BOX_HEAD).task, HEADS.get(MASK_HEAD).task

ATTENTION_HEADS = 8
"""Attention heads of every released detector; no shape reveals them."""

POOL_SCALES = (1, 2, 4, 6)
"""Grids of the released pyramid pooling; no shape reveals them."""

CATEGORIES = {
    "tbx11k": ("Tuberculosis",),
    "node21": ("Nodule",),
    "candid_ptx": ("Pneumothorax",),
    "rsna_pneumonia": ("Lung Opacity",),
    "chestx_det": (
        *("Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema"),
        *("Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax"),
    ),
    "siim_acr": ("Pneumothorax",),
}
"""Classes of each detection head, in the order of the decoders: COCO's categories 1, 2, ... of its boxes. Those of
ChestX-Det are its masks' as well, which the released code read in the order of a folder's listing."""

FIRST_CATEGORY = 1
"""Output of the first class: COCO's categories count from 1, output 0 has none."""

MASK_HEADS = {2: "candid_ptx", 4: "chestx_det", 5: "siim_acr"}
"""Mask heads that are used, by their number in the file."""

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
OVER_255 = {"mean": [value / 255 for value in IMAGENET["mean"]], "std": IMAGENET["std"]}
"""Released segmentation takes pixels of 0 to 255 minus means of 0 to 1, over the deviation, and divides by 255 last."""

Rules = tuple[tuple[str, str], ...]

_PARTS = re.compile(r"(transformer|input_proj|label_enc|(bbox|class)_embed_?|backbone\.0\.segmentation_\w+)\.")
_LAYERS = r"(?:layers|norm|ref_point_head)\..*"
_SHARED: Rules = (
    (r"backbone\.0\.Locnorm([1-3])\.(.*)", r"boxes.norms.\1.\2"),
    (r"transformer\.level_embed", r"boxes.level_embed"),
    (r"input_proj\.([0-2])\.0\.(.*)", r"boxes.neck.convs.\1.conv.\2"),
    (r"input_proj\.([0-2])\.1\.(.*)", r"boxes.neck.convs.\1.gn.\2"),
    (r"input_proj\.3\.0\.(.*)", r"boxes.neck.extra_convs.0.conv.\1"),
    (r"input_proj\.3\.1\.(.*)", r"boxes.neck.extra_convs.0.gn.\1"),
    (r"transformer\.encoder\.(layers\..*)", r"boxes.encoder.\1"),
    (r"transformer\.enc_out_class_embed\.([0-5])\.(.*)", r"boxes.\1.proposal_class.\2"),
    (r"transformer\.enc_out_bbox_embed\.([0-5])\.(.*)", r"boxes.\1.proposal_box.\2"),
    (r"label_enc\.weight", r"boxes.*.label_embedding.weight"),
    (r"backbone\.0\.segmentation_PPN\.stages\.([0-3])\.([12])\.(.*)", r"masks.pools.\1.\2.\3"),
    (r"backbone\.0\.segmentation_PPN\.bottleneck\.([01])\.(.*)", r"masks.bottleneck.\1.\2"),
    (r"backbone\.0\.segmentation_FPN\.conv1x1\.([0-2])\.(.*)", r"masks.laterals.\1.\2"),
    (r"backbone\.0\.segmentation_FPN\.smooth_conv\.0\.(.*)", r"masks.smooth.\1"),
    (r"backbone\.0\.segmentation_FPN\.conv_fusion\.([01])\.(.*)", r"masks.fusion.\1.\2"),
    (r"backbone\.0\.segmentation_heads\.([245])\.(.*)", r"masks.\1.classifier.\2"),
)
_RENAMED: dict[str, Rules] = {
    "foundation_x": (
        (rf"transformer\.decoder\.([0-5])\.({_LAYERS})", r"boxes.\1.decoder.\2"),
        (r"transformer\.decoder\.([0-5])\.bbox_embed\.0\.(.*)", r"boxes.\1.refining_box_head.\2"),
        (r"transformer\.enc_outputMem_LinearProjection\.([0-5])\.(.*)", r"boxes.\1.memory_projection.\2"),
        (r"transformer\.enc_output\.([0-5])\.(.*)", r"boxes.\1.proposal_transform.0.\2"),
        (r"transformer\.enc_output_norm\.([0-5])\.(.*)", r"boxes.\1.proposal_transform.1.\2"),
        (r"transformer\.tgt_embed\.weight", r"boxes.*.queries.weight"),
        (r"bbox_embed_\.([0-5])\.0\.(.*)", r"boxes.\1.box_head.\2"),
        (r"class_embed_\.([0-5])\.0\.(.*)", r"boxes.\1.class_head.\2"),
    ),
    "foundation_x_plus": (
        (rf"transformer\.decoder\.({_LAYERS})", r"boxes.decoder.\1"),
        (r"transformer\.decoder\.bbox_embed\.([0-5])\.0\.(.*)", r"boxes.\1.box_head.\2"),
        (r"transformer\.decoder\.class_embed\.([0-5])\.0\.(.*)", r"boxes.\1.class_head.\2"),
        (r"transformer\.tgt_embed\.([0-5])\.weight", r"boxes.\1.queries.weight"),
    ),
}
"""Released name -> ours: ``boxes.N.`` and ``masks.N.`` are heads, N is ``*`` for a copy in every one; other names are
those of a trunk."""

_INSIDE: Rules = (
    (r"\.linear1\.", ".ffn.layers.0.0."),
    (r"\.linear2\.", ".ffn.layers.1."),
    (r"\.self_attn\.(in_proj|out_proj)", r".self_attn.attn.\1"),
    (r"(encoder\.layers\.\d+)\.norm1\.", r"\1.norms.0."),
    (r"(encoder\.layers\.\d+)\.norm2\.", r"\1.norms.1."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.norms.0."),  # the first norm comes after the second attention
    (r"(decoder\.layers\.\d+)\.norm1\.", r"\1.norms.1."),
    (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.norms.2."),
    (r"(box_head|proposal_box)\.layers\.1\.", r"\1.2."),
    (r"(box_head|proposal_box)\.layers\.2\.", r"\1.4."),
    (r"(box_head|proposal_box)\.layers\.0\.", r"\1.0."),
)
"""Names inside a part, one rule after the other."""

_REFINEMENT = "class layers of the refinement, not used by the released forward"
_LEFT_OVER = "left over from X, not used by the released forward"
_UNUSED: dict[str, Rules] = {
    "foundation_x": ((r"(transformer\.decoder\.\d+\.)?class_embed\..*", _REFINEMENT),),
    "foundation_x_plus": (
        (r"transformer\.enc_output(_norm)?\..*", "passed by in the released forward"),
        (r"(bbox|class)_embed_\..*", _LEFT_OVER),
    ),
}
_UNUSED_MASKS: Rules = ((r"backbone\.0\.segmentation_heads\.[013]\..*", "mask head of a dataset without masks"),)
_TIES: dict[str, Rules] = {
    "foundation_x": (
        (r"bbox_embed\.(\d+)\.\d+\.(.*)", r"transformer.decoder.\1.bbox_embed.0.\2"),
        (r"transformer\.decoder\.(\d+)\.bbox_embed\.[1-9]\d*\.(.*)", r"transformer.decoder.\1.bbox_embed.0.\2"),
        (r"(bbox|class)_embed_\.(\d+)\.[1-9]\d*\.(.*)", r"\1_embed_.\2.0.\3"),
    ),
    "foundation_x_plus": (
        (r"(bbox|class)_embed\.(\d+)\.\d+\.(.*)", r"transformer.decoder.\1_embed.\2.0.\3"),
        (r"transformer\.decoder\.(bbox|class)_embed\.(\d+)\.[1-9]\d*\.(.*)", r"transformer.decoder.\1_embed.\2.0.\3"),
    ),
}
_SMOOTH: Rules = (
    (r"backbone\.0\.segmentation_FPN\.smooth_conv\.[12]\.(.*)", r"backbone.0.segmentation_FPN.smooth_conv.0.\1"),
)


@dataclass(slots=True)
class Rest:
    """A released model beyond its backbone and classification heads.

    Attributes:
        tensors: Under the names of ``FoundationModel``.
        classes: Class names of each head.
        model: Keys of ``model`` of a configuration.
        loaded: Name in the file -> our name.
        skipped: Name in the file -> reason.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    classes: dict[TaskKey, tuple[str, ...]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def is_of_rest(name: str) -> bool:
    """Whether a tensor belongs to the detector or to segmentation."""
    return _PARTS.match(name) is not None


def read_rest(tensors: Mapping[str, Tensor], statistics: Mapping[str, Tensor], kind: str, where: str) -> Rest:
    """Reads detector and segmentation.

    Args:
        tensors: The whole model, under its names in the file.
        statistics: The student's tensors: running statistics of batch norms are taken of these, since those of the
            released teacher were never averaged. Empty: there are none.
        kind: ``foundation_x`` or ``foundation_x_plus``.
        where: File, for messages.

    Raises:
        CheckpointError: A tensor is unknown or missing, or differs from one that it is tied to.
    """
    rest = Rest()
    given = {name: value for name, value in tensors.items() if is_of_rest(name) or ".Locnorm" in name}
    for name, value in given.items():
        first = _expanded((*_TIES[kind], *_SMOOTH), name)
        if reason := _expanded((*_UNUSED[kind], *_UNUSED_MASKS), name):
            rest.skipped[name] = reason
        elif first:
            rest.skipped[name] = _same(name, value, first, tensors, where)
        elif ours := _expanded((*_RENAMED[kind], *_SHARED), name):
            _take(rest, name, _statistic(name, value, statistics), ours)
    unknown = [name for name in given if name not in rest.loaded and name not in rest.skipped]
    if unknown:
        found = f"{len(unknown)} tensors that {kind} does not have: {', '.join(unknown[:3])}"
        raise CheckpointError(where, found, "the released names", "the file is of another network")
    try:
        _describe(rest, kind)
    except (KeyError, ValueError) as error:
        found, fix = f"a detector or segmentation without {error}", "fetch the file again, or skip it: --heads none"
        raise CheckpointError(where, found, f"all of {kind}", fix) from error
    return rest


def _expanded(rules: Rules, name: str) -> str | None:
    """What the first rule that fits makes of a name; None if none fits."""
    return next((match.expand(to) for pattern, to in rules if (match := re.fullmatch(pattern, name))), None)


def _statistic(name: str, value: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """The student's value of a batch norm's statistic, and any other tensor as it is."""
    is_statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    other = statistics.get(name) if is_statistic else None
    return other if other is not None and other.shape == value.shape else value


def _same(name: str, value: Tensor, first: str, tensors: Mapping[str, Tensor], where: str) -> str:
    """Checks that two names of a tensor hold the same; the reason why one of them suffices."""
    other = tensors.get(first)
    if other is None or other.shape != value.shape or not (value.is_meta or torch.equal(value, other)):
        fix = "the file is of another network"
        raise CheckpointError(where, f"{name} differs from {first}", "one tensor under two names", fix)
    return f"another name of {re.sub(r'[.][0-9]+(?=[.])', '.*', first)}"


def _take(rest: Rest, name: str, value: Tensor, ours: str) -> None:
    """Adds a tensor under our names."""
    for pattern, new in _INSIDE:
        ours = re.sub(pattern, new, ours)
    part, _, inside = ours.partition(".")
    task = BOXES if part == "boxes" else MASKS
    number, _, of_head = inside.partition(".")
    cards = dict(enumerate(CATEGORIES)) if task is BOXES else MASK_HEADS
    if number == "*":
        chosen: Iterable[str] = cards.values()
    elif number.isdecimal():
        chosen = (cards[int(number)],)
    else:
        rest.tensors[f"trunks.{task.value}.{_from_zero(inside)}"] = value
        rest.loaded[name] = f"trunks.{task.value}.{_from_zero(inside)}"
        return
    names = [f"heads.{head_slug(TaskKey(card, task))}.{of_head}" for card in chosen]
    rest.tensors |= dict.fromkeys(names, value)
    rest.loaded[name] = ", ".join(names)


def _from_zero(name: str) -> str:
    """The detector's own norms count from 0 here."""
    return re.sub(r"^norms\.(\d)", lambda match: f"norms.{int(match[1]) - 1}", name)


def _describe(rest: Rest, kind: str) -> None:
    """Adds classes and configuration. Raises KeyError or ValueError if a part is missing."""
    heads: dict[str, dict[str, Any]] = {}
    if any(is_of_rest(name) and not name.startswith("backbone.") for name in rest.loaded):
        sizes, outputs = _sizes(rest.tensors, kind)
        embedding = [name for name in rest.tensors if name.endswith("label_embedding.weight")]
        rest.tensors |= {name: rest.tensors[name][:outputs] for name in embedding}
        heads[BOXES.value] = {"type": BOX_HEAD}
        heads[BOXES.value]["options"] = {"outputs": outputs, "first_output": FIRST_CATEGORY}
        rest.classes |= {TaskKey(card, BOXES): names for card, names in CATEGORIES.items()}
        rest.model |= {BOXES.value: sizes, "normalisation": {BOXES.value: IMAGENET}}
    if any(name.startswith(f"trunks.{MASKS.value}.") for name in rest.tensors):
        heads[MASKS.value] = {"type": MASK_HEAD}
        channels = rest.tensors[f"trunks.{MASKS.value}.smooth.weight"].shape[0]
        rest.classes |= {TaskKey(card, MASKS): CATEGORIES[card] for card in MASK_HEADS.values()}
        rest.model[MASKS.value] = {"channels": channels, "pool_scales": POOL_SCALES}
        rest.model["normalisation"] = rest.model.get("normalisation", {}) | {MASKS.value: OVER_255}
    if heads:
        rest.model["heads"] = heads


def _sizes(tensors: Mapping[str, Tensor], kind: str) -> tuple[dict[str, Any], int]:
    """``model.detection`` of a configuration, and the number of outputs of the class layers."""
    trunk, head = f"trunks.{BOXES.value}.", f"heads.{head_slug(TaskKey(next(iter(CATEGORIES)), BOXES))}."
    shared = kind == "foundation_x_plus"
    decoder = f"{trunk if shared else head}decoder.layers."
    levels, dims = tensors[f"{trunk}level_embed"].shape
    weights = tensors[f"{decoder}0.cross_attn.attention_weights.weight"].shape[0]
    sizes = {
        "sharing": "queries" if shared else "decoder",
        "embed_dims": dims,
        "num_heads": ATTENTION_HEADS,
        "ffn_dims": tensors[f"{decoder}0.ffn.layers.0.0.weight"].shape[0],
        "encoder_layers": _count(tensors, f"{trunk}encoder.layers."),
        "decoder_layers": _count(tensors, decoder),
        "levels": levels,
        "points": weights // (ATTENTION_HEADS * levels),
        "queries": tensors[f"{head}queries.weight"].shape[0],
        "proposal_loss_weight": 0.0,
    }
    return sizes, tensors[f"{head}class_head.weight"].shape[0]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
