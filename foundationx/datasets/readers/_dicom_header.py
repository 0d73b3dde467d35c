"""Values of DICOM headers, read without the pixels."""

from __future__ import annotations

import warnings
from typing import Any

from foundationx.core.errors import DataError
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.stores import store as stores


class DicomHeaders:
    """One attribute of the images' headers; each file is opened once.

    Args:
        folder: Folder of the dataset.
        keyword: Keyword of the attribute, such as ``PatientID``.
    """

    def __init__(self, folder: DatasetFolder, keyword: str):
        self._folder, self._keyword = folder, keyword
        self._values: dict[str, str] = {}

    def value(self, image: str, where: str) -> str:
        """The attribute of an image as text, empty if its header lacks it.

        Args:
            image: Path relative to the dataset's folder.
            where: Location of its annotation, for messages.

        Raises:
            DataError: The file cannot be opened or is no DICOM file.
        """
        if image not in self._values:
            header = read_header(self._folder, image, (self._keyword,), where)
            self._values[image] = str(header.get(self._keyword, "") or "").strip()
        return self._values[image]


def read_header(folder: DatasetFolder, image: str, keywords: tuple[str, ...], where: str) -> dict[str, Any]:
    """Attributes of a DICOM file by keyword. Raises DataError if it cannot be opened or is none."""
    import pydicom

    path = folder.path / image
    try:
        with stores.open_binary(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(keywords))
            return {keyword: found.get(keyword) for keyword in keywords if keyword in found}
    except OSError as error:
        raise DataError(where, f"{image} cannot be opened ({error.strerror})", "a DICOM file", "check it") from None
    except Exception as error:  # a damaged header raises anything
        found_text = f"the header of {image} cannot be read ({' '.join(str(error).split())[:100]})"
        raise DataError(where, found_text, "a DICOM file", "name the patient by column, pattern or tables") from None
