"""Names of marked objects (boxes, outlines) of one image: classes, other findings, and names that say nothing."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from foundationx.datasets.readers._source import ReaderOptions, Source


class OtherNames(ReaderOptions):
    """Names of objects that are no class."""

    ignore: tuple[str, ...] = Field(
        (),
        examples=[["Artefact"]],
        description="names that carry no information about the classes: an image with nothing else marked is unknown",
    )
    other: tuple[str, ...] = Field(
        (),
        examples=[["Support device"]],
        description="names that are no class, in images that were searched for all classes: those are absent",
    )


class ObjectNames:
    """Collects the names of one image's objects.

    Args:
        source: Source that the image is added to.
        options: Names that are no class.
    """

    def __init__(self, source: Source, options: OtherNames):
        self._source, self._options = source, options
        self._present: list[int] = []
        self._named: list[str] = []
        self._ignored = False

    def classes(self, published: str, where: str) -> list[int]:
        """Indices of an object's classes; none if its name is no class. Raises DataError if the card lacks the name."""
        if published in self._options.ignore:
            self._source.strings.ignored[published] += 1
            self._ignored = True
            return []
        self._named.append(published)
        indices = []
        if published not in self._options.other:
            known = (*self._options.ignore, *self._options.other)
            indices = self._source.class_indices(published, where, known)
        if not indices:
            self._source.strings.absent[published] += 1
        self._present += indices
        return indices

    def labels(self, unnamed: float, searched: bool = False) -> np.ndarray:
        """Labels (K,) of the image.

        Args:
            unnamed: Label of a class that no object is of.
            searched: Whether the file says that the image was searched, even if nothing was marked.
        """
        says_nothing = self._ignored and not self._named and not searched
        labels = self._source.labels(np.nan if says_nothing else unnamed)
        labels[sorted(self._source.names.undecided(self._named))] = np.nan
        labels[self._present] = 1.0
        return labels
