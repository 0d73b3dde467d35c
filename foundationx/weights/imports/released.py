"""Imports released weights: Ark, Ark+ (``docs/methods/ark.md``, "7 Released checkpoints"), Foundation X, X+
(``docs/methods/foundation_x.md``, "7 Released checkpoints"), the self-supervised Adam, Adam-v2, PEAC, ACE and Lamps
(``docs/methods/self_supervision.md``, "8 Released checkpoints"), and backbones alone under published names.

Every tensor of the file is reported as loaded, or as skipped with the reason; a name that no rule knows is refused.

The released files identify heads by number only. Two of the published lists of class names are wrong and corrected
here: MIMIC's outputs are in alphabetical order (not CheXpert's), RSNA's are normal, no opacity, opacity. Heads have the
names of this project's cards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundationx.core.errors import CheckpointError, nearest
from foundationx.core.types import Task
from foundationx.datasets.cards.catalog import Catalog
from foundationx.weights.imports.foundation_x import Rest, is_of_rest, read_rest
from foundationx.weights.imports.other_files import other_weights
from foundationx.weights.imports.own_exports import KIND as OWN
from foundationx.weights.imports.own_exports import Facts, facts_of, read_export, shape_of_transformers
from foundationx.weights.imports.published_backbones import FAMILIES, NetworkShape, family_of, read_network
from foundationx.weights.imports.self_supervised import METHODS, recognise
from foundationx.weights.imports.weight_file import is_state_dict, pick_weights, read_file, reason_for
from foundationx.weights.swin import EPS, PATCH_SIZE, SwinShape, from_hugging_face, from_timm

LABELS = Task.CLASSIFICATION
"""The task of imported heads."""

CLASSES: dict[str, tuple[str, ...]] = {
    "mimic_cxr_jpg": (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Enlarged Cardiomediastinum",
        "Fracture",
        "Lung Lesion",
        "Lung Opacity",
        "No Finding",
        "Pleural Effusion",
        "Pleural Other",
        "Pneumonia",
        "Pneumothorax",
        "Support Devices",
    ),
    "chexpert": (
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    ),
    "nih_chestxray14": (
        "Atelectasis",
        "Cardiomegaly",
        "Effusion",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pneumonia",
        "Pneumothorax",
        "Consolidation",
        "Edema",
        "Emphysema",
        "Fibrosis",
        "Pleural_Thickening",
        "Hernia",
    ),
    "rsna_pneumonia": ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity"),
    "vindr_cxr_global": ("PE", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding"),
    "shenzhen": ("Tuberculosis",),
    "tbx11k": ("Tuberculosis",),
    "node21": ("Nodule",),
    "candid_ptx": ("Pneumothorax",),
    "siim_acr": ("Pneumothorax",),
    "chestx_det": (
        "Atelectasis",
        "Calcification",
        "Cardiomegaly",
        "Consolidation",
        "Diffuse Nodule",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Fracture",
        "Mass",
        "Nodule",
        "Pleural Thickening",
        "Pneumothorax",
    ),
    "covidx": ("Normal", "Pneumonia", "COVID-19"),
}
"""Classes of each dataset's released head, in the order of its outputs."""

EXCLUSIVE = ("rsna_pneumonia", "covidx")
"""Heads whose classes exclude each other, so that tests apply softmax.

See ``docs/methods/ark.md``, "3.4 Ten-crop test".
"""

PUBLISHED_ANSWERS = {
    "tbx11k": {"Tuberculosis": "vindr_cxr_global/classification:Tuberculosis"},
    "siim_acr": {"Pneumothorax": "chexpert/classification:Pneumothorax"},
    "kermany_mendeley": {"Pneumonia": "vindr_cxr_global/classification:Pneumonia"},
    "node21": {"Nodule": "nih_chestxray14/classification:Nodule"},
}
"""Ark+'s output for each class of the datasets of its zero-shot evaluation."""

_SIX = ("mimic_cxr_jpg", "chexpert", "nih_chestxray14", "rsna_pneumonia", "vindr_cxr_global", "shenzhen")
_ELEVEN = (
    *("tbx11k", "node21", "candid_ptx", "rsna_pneumonia", "chestx_det", "siim_acr"),
    *("chexpert", "nih_chestxray14", "vindr_cxr_global", "shenzhen", "mimic_cxr_jpg"),
)
ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ark": (_SIX, _SIX[1:], (*_SIX, "covidx")),
    "foundation_x": (_ELEVEN,),
    "foundation_x_plus": (_ELEVEN,),
}
"""Order of the heads in the released files of a kind: Ark with and without MIMIC and with COVIDx, Foundation X."""


@dataclass(frozen=True, slots=True)
class ReleasedHead:
    """A linear layer with named outputs.

    Attributes:
        name: Name of the dataset's card.
        classes: Names of the K outputs.
        exclusive: Whether the classes exclude each other.
        weight: (K, D).
        bias: (K,).
    """

    name: str
    classes: tuple[str, ...]
    exclusive: bool
    weight: Tensor
    bias: Tensor


def name_heads(
    layers: Sequence[tuple[Tensor, Tensor]], kind: str, given: Sequence[str] | None, where: str
) -> list[ReleasedHead]:
    """Names heads by their numbers of outputs.

    Args:
        layers: Weight (K, D) and bias (K,) of each head, in the file's order.
        kind: Kind of the file (``ORDERS``).
        given: Names of published heads or of cards, in the file's order; None for the released orders.
        where: File, for messages.

    Raises:
        CheckpointError: No order of heads with these numbers of outputs is known, or the given names do not match.
    """
    outputs = [weight.shape[0] for weight, _ in layers]
    classes = CLASSES | {name: _classes_of_card(name, where) for name in given or () if name not in CLASSES}
    orders = (tuple(given),) if given else ORDERS[kind]
    order = next((order for order in orders if [len(classes[name]) for name in order] == outputs), None)
    if order is None:
        known = "; or ".join(", ".join(f"{name} {len(classes[name])}" for name in order) for order in orders)
        fix = "if you know the dataset of each head, name them: --heads NAME ...; or skip them: --heads none"
        raise CheckpointError(f"heads of {where}", f"heads with {outputs} outputs, in this order", known, fix)
    return [
        ReleasedHead(name, classes[name], name in EXCLUSIVE, weight, bias)
        for name, (weight, bias) in zip(order, layers, strict=True)
    ]


def _classes_of_card(name: str, where: str) -> tuple[str, ...]:
    """Classes of a card of the registry, for a head that no published file has.

    Raises:
        CheckpointError: There is no such card, or it has no image labels.
    """
    catalog = Catalog()
    if name not in catalog.names():
        fix = nearest(name, [*CLASSES, *catalog.names()])
        raise CheckpointError(f"heads of {where}", f"found {name!r}", "the name of a card", fix)
    task = catalog.card(name).tasks.get(LABELS)
    if task is None:
        fix = "name a card with image labels"
        raise CheckpointError(f"heads of {where}", f"{name} has no image labels", "the card of a head", fix)
    return tuple(spec.name for spec in task.classes)


KINDS = ("ark", "foundation_x", "foundation_x_plus", *METHODS, "swin", *FAMILIES, OWN)
"""Kinds of files; ``swin`` and those after it are backbones alone under published names, the last one our exports."""

_X = "backbone.0."
_SKIPPED: tuple[tuple[str, str], ...] = (
    (r"(backbone\.0\.)?layers\..*\.attn_mask", "follows from image and window size, recomputed"),
    (r"(backbone\.0\.)?layers\..*\.relative_position_index", "follows from the window size; checked and recomputed"),
    (r"head\..*", "ImageNet's classifier, unused"),
    (r"backbone\.0\.head\..*", "spare head, never trained"),
    (r"backbone\.0\.Segnorm\d+\..*", "never used by the released model"),
)
HUGGING_FACE_WEIGHTS = "model.safetensors"
"""The weights in a folder of transformers."""
_HUGGING_FACE = re.compile(r"(swin\.)?embeddings\.patch_embeddings\.")
_SWIN = re.compile(r"(backbone\.0\.)?patch_embed\.")
_BACKBONE = re.compile(r"(patch_embed|layers|norm)\.")
_HEAD = re.compile(r"(?:omni_heads|backbone\.0\.classification_heads)\.(\d+)\.(weight|bias)")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_GREY = ((0.5056,) * 3, (0.252,) * 3)
WHOLE = ("foundation_x", "foundation_x_plus")
"""Kinds with a detector and segmentation."""
X_TEACHER, X_STUDENT = "teacher_model", "model"
"""Entries of their files."""
X_WINDOW, X_SIZE = 7, 224
"""Image size of their networks with windows of 7, which no tensor shows."""
_OF_RADIOGRAPHS = (*WHOLE, "peac", "ace", "lamps")
"""Trained with the mean grey value of radiographs (``docs/methods/foundation_x.md``, "3.4 Views and normalisation",
``docs/methods/self_supervision.md``, "3.1 Crops" and "4.1 Crops"); Lamps, which crops as PEAC does, is included, though
its own is not documented. Adam, Adam-v2 and Ark use ImageNet's."""
_NORMALISATION = {kind: _GREY if kind in _OF_RADIOGRAPHS else _IMAGENET for kind in KINDS}
_ALWAYS_SHIFTED = (*WHOLE, "ace", "lamps")
"""Their code fixes the shift when the network is built: also where one window covers the map (``models/swin.py``)."""
_EPS = {"ace": 1e-6, "lamps": 1e-6}
"""Of the layer norms of a kind's Swin, where it is not torch's."""


def _as_trained(shape: SwinShape, kind: str) -> SwinShape:
    """The measures with what the weights do not show."""
    return replace(shape, shift="always" if kind in _ALWAYS_SHIFTED else "published", eps=_EPS.get(kind, EPS))


@dataclass(slots=True)
class Released:
    """Content of a released file.

    Attributes:
        kind: One of ``KINDS``.
        entry: Entry of the file with the weights; empty for a bare state dict.
        shape: Measures of the backbone.
        backbone: State dict under our names, including index buffers.
        projector: ``0.weight`` ... of ``ClassificationTrunk.projector``; empty if there is none.
        heads: Named classification heads.
        image_size: Training image size in pixels, if the file records it.
        mean: Mean of the training normalisation, per channel in [0, 1].
        std: Standard deviation of the training normalisation, per channel.
        loaded: Name in the file -> our name.
        skipped: Name in the file -> reason.
        initialised: Our name -> origin of the values, for tensors that the file lacks.
        rest: Detector and segmentation.
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
    loaded: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    initialised: dict[str, str] = field(default_factory=dict)
    rest: Rest = field(default_factory=Rest)


def read_released(
    path: Path, kind: str = "auto", entry: str | None = None, heads: Sequence[str] | None = None
) -> Released:
    """Reads a released file.

    Args:
        path: Released file, or a folder of Hugging Face's transformers.
        kind: One of ``KINDS``, or ``auto``.
        entry: Entry of the file with the weights; None for the published model.
        heads: Datasets of the heads in the file's order; None for the released orders, ``["none"]`` to skip the heads.

    Raises:
        CheckpointError: The file is damaged, unknown, incomplete or inconsistent.
    """
    path = path / HUGGING_FACE_WEIGHTS if (path / HUGGING_FACE_WEIGHTS).is_file() else path
    content = read_file(path)
    if {"format", "config", "student", "teacher"} <= content.keys():
        fix = f"give {path} to predict, eval and export, or to model.init_run"
        raise CheckpointError(str(path), "is a checkpoint of this project", "a file of another network", fix)
    state = content.get("state_dict", {})
    if other := other_weights(state if is_state_dict(state) else content):
        raise CheckpointError(str(path), other.found, "a backbone or a released model", other.fix)
    facts = facts_of(path, content)
    if facts is not None:
        return _own_export(content, facts, path, kind, heads)
    method = recognise(content, kind, entry)
    chosen = METHODS[method].branch if method and not entry and METHODS[method].branch in content else entry
    tensors, chosen, skipped = pick_weights(content, path, chosen)
    if method is None:
        student = _student(content, path, chosen, skipped)
        return convert(tensors, str(path), kind, heads, chosen, skipped, student)
    return _of_method(tensors, method, str(path), heads, chosen, skipped)


def _student(content: dict[str, Any], path: Path, chosen: str, skipped: dict[str, str]) -> dict[str, Tensor]:
    """The student beside Foundation X's teacher, which holds the statistics of batch norms; empty if there is none."""
    if chosen != X_TEACHER or X_STUDENT not in content or not is_state_dict(content[X_STUDENT]):
        return {}
    skipped[X_STUDENT] = "the student: only the running statistics of its batch norms are loaded"
    return pick_weights(content, path, X_STUDENT)[0]


def _own_export(content: dict[str, Any], facts: Facts, path: Path, kind: str, heads: Sequence[str] | None) -> Released:
    """A file that ``foundationx export`` wrote."""
    if kind not in ("auto", OWN):
        found = f"was exported by foundationx {facts.foundationx}"
        raise CheckpointError(str(path), found, f"{kind} weights", "leave out --kind or correct it")
    _no_heads(heads, OWN, str(path))
    tensors, entry, skipped = pick_weights(content, path)
    size, mean, std = facts.image_size, facts.mean, facts.std
    if own := shape_of_transformers(facts, str(path)):  # under the names of the library
        return replace(convert(tensors, str(path)), kind=OWN, shape=own, image_size=size, mean=mean, std=std)
    shape, backbone, loaded, initialised = read_export(tensors, facts, str(path))
    return Released(OWN, entry, shape, backbone, {}, [], size, mean, std, loaded, skipped, initialised)


def _of_method(
    tensors: dict[str, Tensor],
    name: str,
    where: str,
    heads: Sequence[str] | None,
    entry: str,
    left: dict[str, str],
) -> Released:
    """The backbone of a self-supervised method's file; the reports use the names in the file."""
    method = METHODS[name]
    plain, origin, skipped = method.strip(tensors, name, where)
    released = convert(plain, where, "auto", heads, entry)
    if released.kind not in method.networks:
        expected = f"the backbones of {name}: {', '.join(method.networks)}"
        raise CheckpointError(
            where, f"holds a backbone of kind {released.kind}", expected, "correct or leave out --kind"
        )
    loaded = {origin[n]: here for n, here in released.loaded.items()}
    skipped |= {origin[n]: reason for n, reason in released.skipped.items()}
    mean, std = _NORMALISATION[name]
    shape = _as_trained(released.shape, name) if isinstance(released.shape, SwinShape) else released.shape
    return replace(released, kind=name, shape=shape, mean=mean, std=std, loaded=loaded, skipped=left | skipped)


def _alone(tensors: dict[str, Tensor], kind: str, where: str, entry: str, left: dict[str, str]) -> Released:
    """A backbone other than Swin."""
    network = read_network(tensors, kind, where)
    skipped, mean, std, size = left | network.skipped, network.mean, network.std, network.image_size
    report = (network.loaded, skipped, network.initialised)
    return Released(kind, entry, network.shape, network.tensors, {}, [], size, mean, std, *report)


def convert(
    tensors: dict[str, Tensor],
    where: str,
    kind: str = "auto",
    heads: Sequence[str] | None = None,
    entry: str = "",
    left: dict[str, str] | None = None,
    student: Mapping[str, Tensor] | None = None,
) -> Released:
    """As ``read_released``, for a state dict in memory (also on the meta device)."""
    detected = detect_kind(tensors, where)
    if kind not in ("auto", detected):
        raise CheckpointError(where, f"holds {detected} weights", f"{kind} weights", "leave out --kind or correct it")
    if detected in FAMILIES or detected == "swin":
        _no_heads(heads, detected, where)
    if detected in FAMILIES:
        return _alone(tensors, detected, where, entry, left or {})
    if detected == "swin" and any(_HUGGING_FACE.match(name) for name in tensors):
        return _hugging_face_part(tensors, where, entry, left or {})
    read = _swin_part if any(_SWIN.match(name) for name in tensors) else _convnext_part
    released = read(tensors, detected, where, entry, left or {})
    _add_heads(released, tensors, heads, where)
    if detected in WHOLE:
        _add_rest(released, tensors, student or {}, heads, where)
    unknown = sorted(tensors.keys() - released.loaded.keys() - released.skipped.keys())
    if unknown:
        found = f"{len(unknown)} tensors that {detected} does not have: {', '.join(unknown[:3])}"
        raise CheckpointError(where, found, "the released names", "the file is of another network")
    return released


def _swin_part(tensors: dict[str, Tensor], kind: str, where: str, entry: str, left: dict[str, str]) -> Released:
    """The Swin of a file, without heads."""
    skipped = dict(left)
    skipped |= {name: reason for name in tensors if (reason := reason_for(_SKIPPED, name)) is not None}
    backbone, loaded = _backbone_part(tensors, skipped)
    shape = _as_trained(SwinShape.read(backbone, where), kind)
    size, initialised = _check_buffers(tensors, shape, where), _complete(backbone, shape)
    return Released(kind, entry, shape, backbone, {}, [], size, *_NORMALISATION[kind], loaded, skipped, initialised)


def _hugging_face_part(tensors: dict[str, Tensor], where: str, entry: str, left: dict[str, str]) -> Released:
    """A Swin under the names of transformers."""
    skipped = dict(left)
    skipped |= {name: "the classifier, unused" for name in tensors if name.startswith("classifier.")}
    skipped |= {
        name: "follows from the window size; recomputed" for name in tensors if name.endswith("relative_position_index")
    }
    backbone, loaded = from_hugging_face({name: value for name, value in tensors.items() if name not in skipped})
    shape = SwinShape.read(backbone, where)
    initialised = _complete(backbone, shape)
    mean_and_std = _NORMALISATION["swin"]
    return Released("swin", entry, shape, backbone, {}, [], None, *mean_and_std, loaded, skipped, initialised)


def _convnext_part(tensors: dict[str, Tensor], kind: str, where: str, entry: str, left: dict[str, str]) -> Released:
    """The ConvNeXt of an Ark+ file (``--model conv_base`` of the released code), without heads."""
    plain = {name: value for name, value in tensors.items() if not name.startswith(("omni_heads.", "projector."))}
    released = _alone(plain, "convnext", where, entry, left)
    mean, std = _NORMALISATION[kind]
    return replace(released, kind=kind, mean=mean, std=std)


def _add_heads(released: Released, tensors: dict[str, Tensor], given: Sequence[str] | None, where: str) -> None:
    """Adds projector and named heads of the file, as far as it has them."""
    projector = _projector(tensors, where)
    for name in projector:
        released.loaded[f"projector.{name}"] = f"projector.{name if '.' in name else f'0.{name}'}"
    matches = {name: match for name in tensors if (match := _HEAD.fullmatch(name))}
    if list(given or ()) == ["none"]:
        released.skipped |= dict.fromkeys(matches, "skipped as requested (--heads none)")
    elif layers := _head_layers(tensors, where):
        released.heads = name_heads(layers, released.kind, given, where)
        for name, match in matches.items():
            released.loaded[name] = f"heads.{released.heads[int(match[1])].name}.{match[2]}"
    _check_widths(projector, released.heads, released.shape.width, where)
    released.projector = {name if "." in name else f"0.{name}": value for name, value in projector.items()}


def _add_rest(
    released: Released,
    tensors: dict[str, Tensor],
    student: Mapping[str, Tensor],
    given: Sequence[str] | None,
    where: str,
) -> None:
    """Adds detector and segmentation of Foundation X, as far as the file has them."""
    if released.image_size is None and released.shape.config()["window_size"] == X_WINDOW:
        released.image_size = X_SIZE
    if list(given or ()) == ["none"]:
        released.skipped |= {name: "skipped as requested (--heads none)" for name in tensors if is_of_rest(name)}
        return
    rest = released.rest = read_rest(tensors, student, released.kind, where)
    for name, ours in rest.loaded.items():
        released.skipped.pop(name, None)
        released.loaded[name] = f"{released.loaded[name]}, {ours}" if name in released.loaded else ours
    released.skipped |= rest.skipped


def detect_kind(tensors: dict[str, Tensor], where: str) -> str:
    """The kind of a file by its tensor names. Raises CheckpointError if they are those of no released file."""
    names = list(tensors)
    if any(re.match(r"(backbone\.)?patch_embed\.projection\.", name) for name in names):
        fix = "model.backbone=dict(..., init_cfg=dict(type='Pretrained', checkpoint=FILE)) in a configuration loads it"
        raise CheckpointError(where, "holds a backbone under the names of mmdet and mmseg", "other names", fix)
    family = family_of(tensors)
    other = family is not None or any(name.startswith("blocks.") for name in names)  # some have Swin's patch embedding
    if any(name.startswith(f"{_X}patch_embed.") for name in names):
        shared_decoder = any(re.match(r"transformer\.decoder\.layers\.", name) for name in names)
        return "foundation_x_plus" if shared_decoder else "foundation_x"
    ark = any(name.startswith(("omni_heads.", "projector.")) for name in names)
    if not other and any(name.startswith("patch_embed.") for name in names):
        return "ark" if ark else "swin"
    if ark and family == "convnext":
        return "ark"
    if family:
        return family
    if any(_HUGGING_FACE.match(name) for name in names) and any(".relative_position_bias_table" in n for n in names):
        return "swin"
    found = f"names such as {', '.join(names[:3])}"
    raise CheckpointError(where, found, f"names as in {', '.join(KINDS)}", "other backbones are not imported")


def _no_heads(heads: Sequence[str] | None, kind: str, where: str) -> None:
    """Raises CheckpointError if heads are named for a backbone alone."""
    if heads and list(heads) != ["none"]:
        found = f"holds no classification heads (a {kind})"
        raise CheckpointError(where, found, "classification heads", "leave out --heads")


def _backbone_part(tensors: dict[str, Tensor], skipped: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The backbone under our names, and the file's name -> our name. Adds skipped names to ``skipped``."""
    swin, names = {}, []
    last = max((int(match[1]) for name in tensors if (match := re.search(r"layers\.(\d+)\.blocks\.", name))), default=0)
    for name, value in tensors.items():
        plain = name.removeprefix(_X)
        stage_norm = re.fullmatch(r"Locnorm(\d+)\.(weight|bias)", plain)
        if name in skipped:
            continue
        if stage_norm and int(stage_norm[1]) == last:
            skipped[name] = "the last stage's norm here is that of classification"
        elif stage_norm:
            swin[f"norm{stage_norm[1]}.{stage_norm[2]}"] = value
            names.append(name)
        elif _BACKBONE.match(plain):
            swin[plain] = value
            names.append(name)
    ours = from_timm(swin)
    return ours, dict(zip(names, ours, strict=True))


def _complete(backbone: dict[str, Tensor], shape: SwinShape) -> dict[str, str]:
    """Adds the tensors of our Swin that the file lacks; our name -> origin of each."""
    initialised = {}
    for name, measures in shape.shapes().items():
        if name not in backbone:
            backbone[name], initialised[name] = _missing(name, measures, shape)
    return initialised


def _missing(name: str, measures: tuple[int, ...], shape: SwinShape) -> tuple[Tensor, str]:
    """Value and origin of a tensor of our Swin that the file may lack."""
    if name.endswith("relative_position_index"):
        return position_index(shape.window_size), "computed from the window size"
    value = torch.ones(measures) if name.endswith("weight") else torch.zeros(measures)
    return value, "norm of an inner stage, which the released model does not have: initialised as an identity norm"


def position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of tokens of a window of side w: (w^2, w^2) int64."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    position = (rows * (2 * window - 1) + columns).flatten()
    return position[:, None] - position[None, :] + position[-1]


def _check_buffers(tensors: dict[str, Tensor], shape: SwinShape, where: str) -> int | None:
    """Checks index and mask buffers against the window; returns the image size implied by the first stage's masks."""
    tokens, size = shape.window_size**2, None
    expected = position_index(shape.window_size)
    for name, value in tensors.items():
        if name.endswith("relative_position_index") and not value.is_meta and not torch.equal(value.long(), expected):
            found = f"{name} is not that of a window of {shape.window_size} tokens, as the bias tables imply"
            raise CheckpointError(where, found, "one window size", "the file is of another network")
        if name.endswith("attn_mask"):
            if value.ndim != 3 or tuple(value.shape[1:]) != (tokens, tokens):
                found = f"{name} has shape {tuple(value.shape)}"
                shape_text = f"(windows, {tokens}, {tokens}), as the bias tables imply"
                raise CheckpointError(where, found, shape_text, "the file is of another network")
            side = math.isqrt(value.shape[0])
            if ".0.blocks." in name and side * side == value.shape[0]:
                size = side * shape.window_size * PATCH_SIZE
    return size


def _projector(tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors of the projector by their names in it: one linear layer, or linear, ReLU, linear."""
    layers = {n.removeprefix("projector."): value for n, value in tensors.items() if n.startswith("projector.")}
    single, hidden = {"weight", "bias"}, {"0.weight", "0.bias", "2.weight", "2.bias"}
    if layers and set(layers) not in (single, hidden):
        expected = "weight and bias (Ark+), or 0 and 2 with weight and bias each (Ark-6)"
        found = f"a projector of {', '.join(sorted(layers))}"
        raise CheckpointError(where, found, expected, "the file is of another network")
    return layers


def _head_layers(tensors: dict[str, Tensor], where: str) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every head in the order of their numbers."""
    matches = [match for name in tensors if (match := _HEAD.fullmatch(name))]
    parts = {(int(match[1]), match[2]): tensors[match[0]] for match in matches}
    count = len({number for number, _ in parts})
    if set(parts) != {(number, kind) for number in range(count) for kind in ("weight", "bias")}:
        found = f"heads {sorted(f'{number}.{kind}' for number, kind in parts)}"
        raise CheckpointError(where, found, "weight and bias of every head from 0 on", "the file is damaged")
    return [(parts[number, "weight"], parts[number, "bias"]) for number in range(count)]


def _check_widths(projector: dict[str, Tensor], heads: Sequence[ReleasedHead], width: int, where: str) -> None:
    """Checks that every linear layer takes as many features as the one before (the backbone: ``width``) gives."""
    layers = [(f"projector.{name}", value) for name, value in sorted(projector.items()) if value.ndim == 2]
    for name, value in layers:
        bias = projector[name.removeprefix("projector.").replace("weight", "bias")]
        if value.shape[1] != width or bias.shape != value.shape[:1]:
            found = f"{name} {tuple(value.shape)} with a bias of {tuple(bias.shape)}"
            raise CheckpointError(where, found, f"a layer that takes {width} features", "the file is damaged")
        width = value.shape[0]
    for head in heads:
        if head.weight.shape[1] != width or head.bias.shape != head.weight.shape[:1]:
            found = f"the head of {head.name} has weight {tuple(head.weight.shape)} and bias {tuple(head.bias.shape)}"
            raise CheckpointError(where, found, f"weight (K, {width}) and bias (K,)", "the file is damaged")
