"""Imports released weights: Ark, Ark+ (``ark.md`` 6), Foundation X, X+ (``foundation_x.md`` 7), the self-supervised
Adam, Adam-v2, PEAC, ACE and Lamps (``ssl.md`` 7), and backbones alone under published names.

Nothing is passed over in silence: every tensor of the file is taken, or dropped for a reason that is told; a name that
no rule knows is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from foundationx.core.errors import CheckpointError
from foundationx.weights.exports._swin_names import from_timm
from foundationx.weights.imports.networks import FAMILIES, NetworkShape, family_of, read_network
from foundationx.weights.imports.released_file import pick_weights, read_file, reason_for
from foundationx.weights.imports.released_heads import ReleasedHead, name_heads
from foundationx.weights.imports.selfsup_files import METHODS, recognise
from foundationx.weights.imports.swin_shape import PATCH_SIZE, SwinShape

KINDS = ("ark", "foundation_x", "foundation_x_plus", *METHODS, "swin", *FAMILIES)
"""What a file may hold; ``swin`` and those after it are backbones alone under published names."""

_X = "backbone.0."
_DETECTOR = "detector: arranged differently here (docs/choices.md), trained anew"
_DROPPED: tuple[tuple[str, str], ...] = (
    (r"(backbone\.0\.)?layers\..*\.attn_mask", "follows from image and window size, computed anew"),
    (r"(backbone\.0\.)?layers\..*\.relative_position_index", "follows from the window size, checked, computed anew"),
    (r"head\..*", "ImageNet's classifier, unused"),
    (r"backbone\.0\.head\..*", "spare head, never trained"),
    (r"backbone\.0\.Segnorm\d+\..*", "never used by the released model"),
    (r"backbone\.0\.segmentation_.*", "PPM, FPN and masks: arranged differently here (docs/choices.md), trained anew"),
    (r"(transformer|input_proj|label_enc|(bbox|class)_embed_?)\..*", _DETECTOR),
)
_BACKBONE = re.compile(r"(patch_embed|layers|norm)\.")
_HEAD = re.compile(r"(?:omni_heads|backbone\.0\.classification_heads)\.(\d+)\.(weight|bias)")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_GREY = ((0.5056,) * 3, (0.252,) * 3)
_OF_RADIOGRAPHS = ("foundation_x", "foundation_x_plus", "peac", "ace", "lamps")
"""Trained with the mean of radiographs (``foundation_x.md`` 3.4, ``ssl.md`` 3.1, 4.1); Lamps, which cuts as PEAC does,
is counted here, though its own is not documented. Adam, Adam-v2 and Ark took ImageNet's."""
_NORMALISATION = {kind: _GREY if kind in _OF_RADIOGRAPHS else _IMAGENET for kind in KINDS}


@dataclass(slots=True)
class Released:
    """What a released file holds.

    Attributes:
        kind: one of ``KINDS``; ``entry`` is where in the file the weights lay.
        shape: of the backbone.
        backbone: state dict under our names, index buffers included.
        projector: ``0.weight`` ... of ``ClassificationTrunk.projector``; empty where there is none.
        heads: named classification heads.
        image_size: of training, where the file tells.
        mean, std: normalisation of training.
        taken: name in the file -> name here.
        dropped: name in the file -> reason.
        added: name here -> where its values come from, for what the file lacks.
    """

    kind: str
    entry: str
    shape: SwinShape | NetworkShape
    backbone: dict[str, Tensor]
    projector: dict[str, Tensor]
    heads: list[ReleasedHead]
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    taken: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)


def read_released(
    path: Path, kind: str = "auto", entry: str | None = None, heads: Sequence[str] | None = None
) -> Released:
    """Reads a released file.

    Args:
        path: the file.
        kind: one of ``KINDS``, or ``auto``.
        entry: of the file (``released_file.py``).
        heads: datasets of the heads in the file's order; None for the released orders, ``["none"]`` to drop the heads.

    Raises:
        CheckpointError: torn, unknown, incomplete or contradicting itself.
    """
    content = read_file(path)
    method = recognise(content, kind, entry)
    wanted = METHODS[method].branch if method and not entry and METHODS[method].branch in content else entry
    tensors, entry_found, left = pick_weights(content, path, wanted)
    if method is None:
        return convert(tensors, str(path), kind, heads, entry_found, left)
    return _of_method(tensors, method, str(path), heads, entry_found, left)


def _of_method(
    tensors: dict[str, Tensor],
    name: str,
    where: str,
    heads: Sequence[str] | None,
    entry: str,
    left: dict[str, str],
) -> Released:
    """The backbone of a self-supervised method's file; names in the tables are those of the file."""
    method = METHODS[name]
    plain, origin, dropped = method.strip(tensors, name, where)
    found = convert(plain, where, "auto", heads, entry)
    if found.kind not in method.networks:
        expected = f"the backbones of {name}: {', '.join(method.networks)}"
        raise CheckpointError(where, f"holds a backbone of kind {found.kind}", expected, "correct or leave out --kind")
    taken = {origin[n]: here for n, here in found.taken.items()}
    dropped |= {origin[n]: reason for n, reason in found.dropped.items()}
    mean, std = _NORMALISATION[name]
    return replace(found, kind=name, mean=mean, std=std, taken=taken, dropped=left | dropped)


def _alone(tensors: dict[str, Tensor], kind: str, where: str, entry: str, left: dict[str, str]) -> Released:
    """A backbone that is no Swin."""
    found = read_network(tensors, kind, where)
    kept, dropped, (mean, std) = found.tensors, left | found.dropped, _NORMALISATION[kind]
    size = found.image_size
    return Released(kind, entry, found.shape, kept, {}, [], size, mean, std, found.taken, dropped, found.added)


def convert(
    tensors: dict[str, Tensor],
    where: str,
    kind: str = "auto",
    heads: Sequence[str] | None = None,
    entry: str = "",
    left: dict[str, str] | None = None,
) -> Released:
    """The same for a state dict that is already in memory (also on the meta device)."""
    detected = detect_kind(tensors, where)
    if kind not in ("auto", detected):
        raise CheckpointError(where, f"holds {detected} weights", f"{kind} weights", "leave out --kind or correct it")
    if detected in FAMILIES or detected == "swin":
        _no_heads(heads, detected, where)
    if detected in FAMILIES:
        return _alone(tensors, detected, where, entry, left or {})
    dropped = dict(left or {})
    dropped |= {name: reason for name in tensors if (reason := reason_for(_DROPPED, name)) is not None}
    backbone, taken = _backbone_part(tensors, dropped)
    shape = SwinShape.read(backbone, where)
    image_size = _check_buffers(tensors, shape, where)
    added = {}
    for name, measures in shape.shapes().items():
        if name not in backbone:
            backbone[name], added[name] = _missing(name, measures, shape)
    projector = _projector(tensors, shape, where)
    taken |= {f"projector.{name}": f"projector.{name if '.' in name else f'0.{name}'}" for name in projector}
    named = []
    if list(heads or ()) == ["none"]:
        dropped |= {name: "left out as asked (--heads none)" for name in tensors if _HEAD.fullmatch(name)}
    elif layers := _head_layers(tensors, where):
        named = name_heads(layers, detected, heads, where)
        heads_here = {name: match for name in tensors if (match := _HEAD.fullmatch(name))}
        taken |= {name: f"heads.{named[int(match[1])].name}.{match[2]}" for name, match in heads_here.items()}
    unknown = sorted(tensors.keys() - taken.keys() - dropped.keys())
    if unknown:
        found = f"{len(unknown)} tensors that {detected} does not have: {', '.join(unknown[:3])}"
        raise CheckpointError(where, found, "the released names", "the file is of another network")
    _check_widths(projector, named, shape, where)
    projector = {name if "." in name else f"0.{name}": value for name, value in projector.items()}
    mean, std = _NORMALISATION[detected]
    return Released(detected, entry, shape, backbone, projector, named, image_size, mean, std, taken, dropped, added)


def detect_kind(tensors: dict[str, Tensor], where: str) -> str:
    """One of ``KINDS`` by the names. Raises CheckpointError where they are none of the released ones."""
    names = list(tensors)
    vit = any(name.startswith("blocks.0.") for name in names)  # its patches have Swin's name
    if any(name.startswith(f"{_X}patch_embed.") for name in names):
        shared_decoder = any(re.match(r"transformer\.decoder\.layers\.", name) for name in names)
        return "foundation_x_plus" if shared_decoder else "foundation_x"
    if not vit and any(name.startswith("patch_embed.") for name in names):
        return "ark" if any(name.startswith(("omni_heads.", "projector.")) for name in names) else "swin"
    if family := family_of(tensors):
        return family
    found = f"names such as {', '.join(names[:3])}"
    raise CheckpointError(where, found, f"names as in {', '.join(KINDS)}", "other backbones are not imported")


def _no_heads(heads: Sequence[str] | None, kind: str, where: str) -> None:
    """Raises CheckpointError where heads were named for a backbone that stands alone."""
    if heads and list(heads) != ["none"]:
        raise CheckpointError(where, f"holds no classification heads (a {kind})", "", "leave out --heads")


def _backbone_part(tensors: dict[str, Tensor], dropped: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The backbone under our names, and the file's name -> our name. What is left out is entered in ``dropped``."""
    swin, names = {}, []
    last = max((int(match[1]) for name in tensors if (match := re.search(r"layers\.(\d+)\.blocks\.", name))), default=0)
    for name, value in tensors.items():
        plain = name.removeprefix(_X)
        stage_norm = re.fullmatch(r"Locnorm(\d+)\.(weight|bias)", plain)
        if name in dropped:
            continue
        if stage_norm and int(stage_norm[1]) == last:
            dropped[name] = "the last stage's norm here is that of classification"
        elif stage_norm:
            swin[f"norm{stage_norm[1]}.{stage_norm[2]}"] = value
            names.append(name)
        elif _BACKBONE.match(plain):
            swin[plain] = value
            names.append(name)
    ours = from_timm(swin)
    return ours, dict(zip(names, ours, strict=True))


def _missing(name: str, measures: tuple[int, ...], shape: SwinShape) -> tuple[Tensor, str]:
    """Value and origin of a tensor that our Swin has and the file need not have."""
    if name.endswith("relative_position_index"):
        return position_index(shape.window_size), "computed from the window size"
    value = torch.ones(measures) if name.endswith("weight") else torch.zeros(measures)
    return value, "norm of an inner stage, which the released model does not have: starts as a plain norm"


def position_index(window: int) -> Tensor:
    """(w^2, w^2) int64: row of the bias table for each pair of tokens of a window of side w."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    place = (rows * (2 * window - 1) + columns).flatten()
    return place[:, None] - place[None, :] + place[-1]


def _check_buffers(tensors: dict[str, Tensor], shape: SwinShape, where: str) -> int | None:
    """Holds index and mask buffers against the window; returns the image size that the first stage's masks tell."""
    tokens, size = shape.window_size**2, None
    expected = position_index(shape.window_size)
    for name, value in tensors.items():
        if name.endswith("relative_position_index") and not value.is_meta and not torch.equal(value.long(), expected):
            found = f"{name} is not that of a window of {shape.window_size} tokens, which the bias tables tell"
            raise CheckpointError(where, found, "one window size", "the file is of another network")
        if name.endswith("attn_mask"):
            if value.ndim != 3 or tuple(value.shape[1:]) != (tokens, tokens):
                found = f"{name} has shape {tuple(value.shape)}"
                raise CheckpointError(
                    where, found, f"(windows, {tokens}, {tokens}): the bias tables tell the window size"
                )
            side = math.isqrt(value.shape[0])
            if ".0.blocks." in name and side * side == value.shape[0]:
                size = side * shape.window_size * PATCH_SIZE
    return size


def _projector(tensors: dict[str, Tensor], shape: SwinShape, where: str) -> dict[str, Tensor]:
    """Tensors of the projector by their names in it: one linear layer, or linear, ReLU, linear."""
    found = {n.removeprefix("projector."): value for n, value in tensors.items() if n.startswith("projector.")}
    single, hidden = {"weight", "bias"}, {"0.weight", "0.bias", "2.weight", "2.bias"}
    if found and set(found) not in (single, hidden):
        expected = "weight and bias (Ark+), or 0 and 2 with weight and bias each (Ark-6)"
        raise CheckpointError(where, f"a projector of {', '.join(sorted(found))}", expected)
    return found


def _head_layers(tensors: dict[str, Tensor], where: str) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every head in the order of their numbers."""
    matches = [match for name in tensors if (match := _HEAD.fullmatch(name))]
    parts = {(int(match[1]), match[2]): tensors[match[0]] for match in matches}
    count = len({number for number, _ in parts})
    if set(parts) != {(number, kind) for number in range(count) for kind in ("weight", "bias")}:
        found = f"heads {sorted(f'{number}.{kind}' for number, kind in parts)}"
        raise CheckpointError(where, found, "weight and bias of every head from 0 on", "the file is torn")
    return [(parts[number, "weight"], parts[number, "bias"]) for number in range(count)]


def _check_widths(projector: dict[str, Tensor], heads: Sequence[ReleasedHead], shape: SwinShape, where: str) -> None:
    """Every linear layer takes what the one before it gives."""
    width = shape.embed_dims * 2 ** (len(shape.depths) - 1)
    layers = [(f"projector.{name}", value) for name, value in sorted(projector.items()) if value.ndim == 2]
    for name, value in layers:
        bias = projector[name.removeprefix("projector.").replace("weight", "bias")]
        if value.shape[1] != width or bias.shape != value.shape[:1]:
            found = f"{name} {tuple(value.shape)} with a bias of {tuple(bias.shape)}"
            raise CheckpointError(where, found, f"a layer that takes {width} features", "the file is torn")
        width = value.shape[0]
    for head in heads:
        if head.weight.shape[1] != width or head.bias.shape != head.weight.shape[:1]:
            found = f"the head of {head.name} has weight {tuple(head.weight.shape)} and bias {tuple(head.bias.shape)}"
            raise CheckpointError(where, found, f"weight (K, {width}) and bias (K,)", "the file is torn")
