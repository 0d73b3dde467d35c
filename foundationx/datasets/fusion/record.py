"""The facts about one dataset, from its card or from a row of a public table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from foundationx.core.types import Split

Presence = Literal["labelled", "unlabelled", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The sixteen fields of Project Imaging-X and others of MDFP. None or empty means unknown, never "no".

    Attributes:
        name: Name of the card, or the name in the table if there is no card.
        title: Full name.
        card: Name of the card; None for a dataset that only a table lists, which cannot be trained on.
        home: Address of the dataset's page.
        access: ``open``, ``registration``, ``credentialed``, ``generated`` or ``application``.
        released: Date of release, YYYY, YYYY-MM or YYYY-MM-DD.
        organisations: Publishers.
        challenge: Challenge that the dataset was made for.
        licence: Name of the licence.
        spdx: SPDX identifier of the licence.
        redistribution: Whether the licence permits it: ``yes``, ``no`` or ``unknown``.
        commercial: Whether the licence permits commercial use: ``yes``, ``no`` or ``unknown``.
        description: Free text.
        dimensions: ``2D``, ``3D`` or ``video``.
        modalities: Names in ``aliases.MODALITIES``.
        modality_detail: Free text, e.g. computed radiography.
        anatomy: Concepts of the vocabulary, or the words of the table if the vocabulary has none.
        diseases: Likewise; those from a table are unreviewed.
        volume: Published numbers of images: total, train, val, test; unknown ones are absent.
        valid_images: Number of images after cleaning.
        label_presence: Whether the dataset is labelled.
        tasks: Names in ``aliases.TASKS``.
        classes_per_task: Number of classes of each task.
        annotations: Kinds of annotations: image label, box, mask.
        storage_gb: Size of the download in gigabytes.
        parent: Card of the dataset whose images this one re-uses.
        notes: Notes of the card.
        unverified: Keys of the card with values that nobody has checked.
        rows: Joined rows of tables, as ``file row N``.
        differences: Differences between card and joined rows; the card has priority.
        filled: Fields filled in from a joined row because the card leaves them unknown.
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
        """Number of valid images; if unknown, of published ones: the total or the sum of the splits."""
        if self.valid_images is not None:
            return self.valid_images
        counts = [self.volume[split.value] for split in Split if split.value in self.volume]
        return self.volume.get("total", sum(counts) if counts else None)

    def checked(self, permission: str) -> bool:
        """Whether somebody has checked ``redistribution`` or ``commercial`` on the publisher's page."""
        return not {"licence", f"licence.{permission}"} & set(self.unverified)


def joined(values: tuple[str, ...]) -> str | None:
    """A list as one cell of a table; None if it is empty."""
    return ", ".join(values) if values else None
