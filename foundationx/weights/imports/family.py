"""Families of published backbones: how one is recognised, and under which names its weights stand here.

The families are in ``convolutional_families.py`` and ``vit_families.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of most published networks."""

Value = TypeVar("Value")

Rules = tuple[tuple[str, str], ...]
"""Pairs of a pattern and its replacement or reason."""

Renames = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""Pairs of a pattern and its replacement, applied one after another to a name, each once."""

Stated = Mapping[str, Any]
"""Content of the ``config.json`` beside a file of Hugging Face's; empty if there is none."""

PREFIXES = (
    "",
    *("backbone.", "model.", "encoder.", "trunk.", "visual.", "visual.trunk.", "vision_model.", "model.vision_model."),
    *("vision_tower.vision_model.", "vit.", "dinov2.", "dinov2_with_registers.", "dinov3_vit.", "swinv2.", "resnet."),
    *("convnext.", "dinov3_convnext."),
)
"""What can stand before every name of a backbone in a file that holds more than the backbone."""

OUTSIDE: Rules = (
    (r"(dino_head|ibot_head|dino_loss|ibot_patch_loss)(\..*)?", "head or loss of the pretraining"),
    (r"(text_model|text|transformer|token_embedding|ln_final|text_decoder)\..*", "text tower, unused"),
    (
        r"(positional_embedding|text_projection|visual_projection|logit_scale|logit_bias|attn_mask)(\..*)?",
        "of the text",
    ),
    (r"(input_resolution|context_length|vocab_size)", "size of the text tower or of images"),
    (r"decoder\..*", "decoder of the pretraining, unused"),
    (r"(classifier|head|fc|pooler)(\..*)?", "the classifier or projection head, unused"),
)
"""Names outside the prefix that are known, with the reason why they are skipped."""


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one kind.

    Attributes:
        title: Name of the kind, for messages.
        signs: Alternatives; each a set of patterns that all begin a tensor's name, ``!`` before those of names that
            the kind does not have.
        skipped: Patterns of names to skip, with the reason.
        renamed: Rules from published names to ours. ``{a,b}`` in the result splits the tensor into equal parts by
            rows.
        measure: Function from tensors under our names, those under the names in the file (without the prefix) and what
            ``config.json`` states to ``model.backbone``; KeyError if a tensor is missing, ValueError if there is no
            such network.
        optional: Patterns of our names that a file may lack, with the reason.
        finish: Changes the tensors under our names, and what is recorded as loaded (name in the file -> our name), in
            place; also takes the tensors under the names in the file. Raises ValueError.
        normalisation: Mean and deviation of the pretraining.
    """

    title: str
    signs: tuple[tuple[str, ...], ...]
    skipped: Rules
    renamed: Renames
    measure: Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Stated], dict[str, Any]]
    optional: Rules = ()
    finish: Callable[[dict[str, Tensor], dict[str, str], Mapping[str, Tensor]], None] = field(
        default=lambda ours, loaded, raw: None
    )
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET

    def is_in(self, names: frozenset[str]) -> bool:
        """Whether names, without a prefix, are those of this kind."""
        return any(all(_shown(sign, names) for sign in signs) for signs in self.signs)


def _shown(sign: str, names: frozenset[str]) -> bool:
    pattern, wanted = sign.removeprefix("!"), not sign.startswith("!")
    return wanted == any(re.match(pattern, name) for name in names)


def inside(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def renamed(name: str, rules: Renames) -> str:
    """A name after the rules."""
    for pattern, new in rules:
        name = re.sub(pattern, new, name, count=1)
    return name


def names_of(name: str) -> list[str]:
    """The names that one with ``{a,b}`` stands for; others stand for themselves."""
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
    return [name] if match is None else [f"{match[1]}{part}{match[3]}" for part in match[2].split(",")]


def split(name: str, value: Tensor) -> dict[str, Tensor]:
    """The tensors that a name with ``{a,b}`` stands for. Raises ValueError: the rows are no multiple of the parts."""
    names = names_of(name)
    if len(names) == 1:
        return {name: value.clone()}
    if value.ndim == 0 or value.shape[0] % len(names):
        raise ValueError(f"{name}: a tensor of shape {tuple(value.shape)} for {len(names)} parts")
    return {part: chunk.clone() for part, chunk in zip(names, value.chunk(len(names)), strict=True)}


def counts(tensors: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Number of names per value of the pattern's group, which is a number, in its order."""
    found = Counter(int(match[1]) for name in tensors if (match := re.fullmatch(pattern, name)))
    return [found[stage] for stage in sorted(found)]


def blocks(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Number of blocks of a network without stages; the pattern's group is the block's number."""
    return len(counts(tensors, pattern))
