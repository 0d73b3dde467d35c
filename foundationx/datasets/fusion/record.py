"""One dataset as fusion sees it, whether a card or a row of a public table describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Presence = Literal["labelled", "unlabelled", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The survey's sixteen fields (``mdfp.md`` A.1) and MDFP's further ones. None or empty is unknown, never "no".

    Attributes:
        name: the card's name; the name in the table where there is no card.
        title: the name for people.
        card: name of the card, None for a dataset that only a table lists; such a dataset cannot be trained on.
        access: open, registration, credentialed, generated, application.
        redistribution, commercial: yes, no or unknown.
        dimensions, modalities, tasks: of the enumerations of ``spellings``.
        anatomy: concepts of the vocabulary, or the table's own word where the vocabulary has none.
        diseases: as ``anatomy``; from a table they are unreviewed.
        volume: published images: total, train, val, test; what is not known is absent.
        valid_images: images left after cleaning.
        classes_per_task: number of classes of each task.
        annotations: what is drawn or said: image label, box, mask.
        parent: card whose images these are.
        unverified: keys of the card whose values nobody has checked.
        rows: table rows joined to it, as ``file row N``.
        differences: where a joined row says something else; the card is believed.
        filled: fields that come from a joined row because the card leaves them unknown.
    """

    name: str
    title: str
    card: str | None = None
    home: str | None = None
    access: str | None = None
    released: str | None = None
    organisations: tuple[str, ...] = ()
    challenge: str | None = None
    licence: str | None = None
    spdx: str | None = None
    redistribution: str = "unknown"
    commercial: str = "unknown"
    description: str | None = None
    dimensions: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    modality_detail: str | None = None
    anatomy: tuple[str, ...] = ()
    diseases: tuple[str, ...] = ()
    volume: dict[str, int] = field(default_factory=dict)
    valid_images: int | None = None
    label_presence: Presence | None = None
    tasks: tuple[str, ...] = ()
    classes_per_task: dict[str, int] = field(default_factory=dict)
    annotations: tuple[str, ...] = ()
    storage_gb: float | None = None
    parent: str | None = None
    notes: str | None = None
    unverified: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    @property
    def images(self) -> int | None:
        """Valid images; where nobody cleaned them, published ones: the total or the sum of the sides."""
        if self.valid_images is not None:
            return self.valid_images
        sides = [self.volume[side] for side in ("train", "val", "test") if side in self.volume]
        return self.volume.get("total", sum(sides) if sides else None)

    def checked(self, permission: str) -> bool:
        """Whether somebody has held ``redistribution`` or ``commercial`` against the publisher's page."""
        return not {"licence", f"licence.{permission}"} & set(self.unverified)


def joined(values: tuple[str, ...]) -> str | None:
    """A list as one cell of a table; None for an unknown one."""
    return ", ".join(values) if values else None
