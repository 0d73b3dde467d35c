"""Which output of a released classification head means what (``ark.md`` sections 0 and 1, ``foundation_x.md`` 1.2).

The released files hold heads by number only. Two of the published lists of names are wrong and corrected here: MIMIC's
outputs are in alphabetical order (not CheXpert's), RSNA's are normal, no opacity, opacity. Heads bear the names of
this project's cards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from foundationx.core.errors import CheckpointError, nearest

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
"""Outputs of each dataset's released head, in order."""

EXCLUSIVE = ("rsna_pneumonia", "covidx")
"""Heads whose classes are compared by softmax when they are tested (``ark.md`` sections 2 and 3)."""

_SIX = ("mimic_cxr_jpg", "chexpert", "nih_chestxray14", "rsna_pneumonia", "vindr_cxr_global", "shenzhen")
_ELEVEN = ("tbx11k", "node21", "candid_ptx", "rsna_pneumonia", "chestx_det", "siim_acr")
_ELEVEN += ("chexpert", "nih_chestxray14", "vindr_cxr_global", "shenzhen", "mimic_cxr_jpg")
ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ark": (_SIX, _SIX[1:], (*_SIX, "covidx")),
    "foundation_x": (_ELEVEN,),
    "foundation_x_plus": (_ELEVEN,),
}
"""Orders of heads in the released files of a kind: Ark with and without MIMIC and with COVIDx, Foundation X."""


@dataclass(frozen=True, slots=True)
class ReleasedHead:
    """A linear layer with named outputs: ``weight`` (K, D), ``bias`` (K,)."""

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
        layers: weight (K, D) and bias (K,) of each head, in the file's order.
        kind: of the file (``ORDERS``).
        given: names in the file's order, where the user knows better; None for the released orders.
        where: file, for messages.

    Raises:
        CheckpointError: no order of heads with these numbers of outputs is known, or the given names do not fit.
    """
    found = [weight.shape[0] for weight, _ in layers]
    unknown = [name for name in given or () if name not in CLASSES]
    if unknown:
        raise CheckpointError(f"heads of {where}", f"found {unknown[0]!r}", nearest(unknown[0], CLASSES))
    orders = (tuple(given),) if given else ORDERS[kind]
    order = next((order for order in orders if [len(CLASSES[name]) for name in order] == found), None)
    if order is None:
        known = "; or ".join(", ".join(f"{name} {len(CLASSES[name])}" for name in order) for order in orders)
        fix = (
            "if you know which dataset each head is of, name them: --heads NAME ...; or --heads none to leave them out"
        )
        raise CheckpointError(f"heads of {where}", f"heads with {found} outputs, in this order", known, fix)
    return [
        ReleasedHead(name, CLASSES[name], name in EXCLUSIVE, weight, bias)
        for name, (weight, bias) in zip(order, layers, strict=True)
    ]
