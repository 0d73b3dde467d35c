"""Released files of self-supervised methods: how each is recognised, which weights are loaded and which skipped.

Adam, Adam-v2, PEAC, ACE and Lamps (``docs/methods/self_supervision.md``, "8 Released checkpoints"). Below these
prefixes are plain backbones under published names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foundationx.core.errors import CheckpointError
from foundationx.weights.imports.weight_file import is_state_dict, reason_for


@dataclass(frozen=True, slots=True)
class Method:
    """One method's files.

    Attributes:
        branch: Entry of the file with the published model.
        sign: Pattern of the stored names in that entry that identifies the method.
        networks: Kinds of backbone in the released files.
        prefixes: Prefixes of the backbone's names after ``module.``; the first that occurs applies.
        skipped: Patterns of names that are not part of the backbone, with the reason.
    """

    branch: str
    sign: str
    networks: tuple[str, ...]
    prefixes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def strip(
        self, tensors: Mapping[str, Tensor], name: str, where: str
    ) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
        """Extracts the backbone.

        Args:
            tensors: Tensors of the entry, without ``module.``.
            name: Name of the method, for messages.
            where: File, for messages.

        Returns:
            The backbone under its plain names; plain name -> name in the file; skipped name -> reason.

        Raises:
            CheckpointError: No name has the prefix, or one outside the backbone is unknown.
        """
        prefix = next((p for p in self.prefixes if any(n.startswith(p) for n in tensors)), None)
        if prefix is None:
            found = f"names such as {', '.join(list(tensors)[:3])}"
            expected = f"names of {name}: {' or '.join(f'{p}*' for p in self.prefixes)} (module. before them or not)"
            raise CheckpointError(where, found, expected, "leave out --kind, or name another --entry")
        reasons = {n: reason_for(self.skipped, n) for n in tensors}
        skipped = {n: reason for n, reason in reasons.items() if reason is not None}
        inside = {n: n.removeprefix(prefix) for n in tensors if n not in skipped and n.startswith(prefix)}
        unknown = sorted(tensors.keys() - inside.keys() - skipped.keys())
        if unknown:
            found = f"{len(unknown)} tensors that {name} does not have: {', '.join(unknown[:3])}"
            raise CheckpointError(where, found, "the released names", "the file is of another network")
        return {short: tensors[n] for n, short in inside.items()}, {s: n for n, s in inside.items()}, skipped


_HEAD = "head of the pre-training, outside the backbone"
_ANY_HEAD = ((r"(?!backbone\.).*", _HEAD),)
"""The names of these heads differ between releases; everything outside the backbone is one."""

_UNUSED = "stored, but not used by the released forward"
_MASK_TOKEN = (r"backbone\.mask_token", _UNUSED)

_DINO = r"blocks\.(\d+\.)+ls2\.gamma|norms\.3\.weight"
"""Names of DINOv2 and DINOv3, whose teachers are stored as those of Lamps and Adam-v2: no method here has them."""

METHODS = {
    "adam": Method(
        "state_dict",
        r"(module\.)?encoder_q\.",
        ("resnet",),
        ("encoder_q.", ""),
        ((r"encoder_k\..*", "momentum encoder; encoder_q is published"), (r"queue(_ptr)?", "queue of the loss")),
    ),
    "adam_v2": Method(
        "teacher",
        r"(module\.)?backbone\.(conv1|downsample_layers|stem)\.",
        ("resnet", "convnext"),
        ("backbone.",),
        _ANY_HEAD,
    ),
    "peac": Method(
        "student",
        r"(module\.)?swin_model\.",
        ("swin", "vit"),
        ("swin_model.",),
        ((r"(mlp|mlp_local|head|decoder)\..*", _HEAD), ("bias", _HEAD)),
    ),
    "ace": Method(
        "teacher",
        r"module\.backbone\.(patch_embed|cls_token)",
        ("swin", "vit"),
        ("backbone.",),
        (*_ANY_HEAD, _MASK_TOKEN),
    ),
    "lamps": Method(
        "teacher",
        r"backbone\.(patch_embed|cls_token)",
        ("swin", "vit"),
        ("backbone.",),
        (*_ANY_HEAD, _MASK_TOKEN, (r"backbone\.absolute_pos_embed", _UNUSED)),
    ),
}


def recognise(content: Mapping[str, Any], kind: str, entry: str | None) -> str | None:
    """The method of a file: ``kind`` if it names one, otherwise the first whose sign occurs; None if there is none.

    ACE and Lamps differ in one prefix: ACE's teacher was stored with ``module.`` before its names, Lamps's without.

    Args:
        content: Content of the file: a state dict, or a dictionary that holds some.
        kind: ``auto``, a method, or another kind.
        entry: Entry of the file that the user chose.
    """
    if kind != "auto":
        return kind if kind in METHODS else None
    if any(re.search(_DINO, str(key)) for key in _weights(content, entry or "teacher")):
        return None
    for name, method in METHODS.items():
        if any(re.match(method.sign, str(key)) for key in _weights(content, entry or method.branch)):
            return name
    return None


def _weights(content: Mapping[str, Any], entry: str) -> Mapping[str, Any]:
    """The state dict of an entry, or the whole file if it is one; empty if there is none."""
    weights = content if is_state_dict(content) else content.get(entry, {})
    return weights if is_state_dict(weights) else {}
