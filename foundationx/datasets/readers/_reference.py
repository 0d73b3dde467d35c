"""The size in which coordinates are published, so that they fit copies of the images in another size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.core.types import ReferenceSize
from foundationx.datasets.readers._source import ReaderOptions

Pixels = Annotated[int, Field(gt=0)]


class SizedOptions(ReaderOptions):
    """Options of readers with coordinates."""

    reference_size: Literal["image", "unit"] | tuple[Pixels, Pixels] | tuple[str, str] = Field(
        "image",
        examples=[[1024, 1024]],
        description="width and height of the image in whose pixels the coordinates are: numbers ([1024, 1024]) or "
        "columns ([width, height]); image: the file as it is; unit: coordinates are shares from 0 to 1",
    )
    any_aspect: bool = Field(
        False, description="whether images may have another aspect ratio than the reference size (squeezed to a square)"
    )

    @property
    def size_columns(self) -> tuple[str, ...]:
        """Columns with width and height of the reference."""
        return tuple(value for value in self.reference_size if isinstance(value, str)) if self._is_pair else ()

    @property
    def _is_pair(self) -> bool:
        return not isinstance(self.reference_size, str)

    def reference(self, cells: Mapping[str, object], where: str) -> ReferenceSize | None:
        """The size of reference of an image; None: its own.

        Args:
            cells: Row or record of the image.
            where: Location of the row, for messages.

        Raises:
            DataError: A column holds no size in pixels.
        """
        if self.reference_size == "image":
            return None
        if self.reference_size == "unit":
            return ReferenceSize(1, 1, any_aspect=True)
        width, height = (_pixels(value, cells, where) for value in self.reference_size)
        return ReferenceSize(height, width, self.any_aspect)


def _pixels(value: int | str, cells: Mapping[str, object], where: str) -> int:
    """A number of pixels, given or from a column. Raises DataError if it is not positive."""
    if not isinstance(value, str):
        return value
    try:
        pixels = int(float(str(cells.get(value))))
    except (ValueError, OverflowError):
        pixels = 0
    if pixels <= 0:
        raise DataError(where, f"{value} is {cells.get(value)!r}", "a size in pixels", "fix the row")
    return pixels
