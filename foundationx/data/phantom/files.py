"""Writes radiographs, masks and tables in the file formats in which datasets are published."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from foundationx.data.raw_images import JSRT_LARGEST, JSRT_SIDE
from foundationx.errors import CardError
from foundationx.registry.tasks import TableFormat

PILLOW = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Suffixes that Pillow writes."""

_QUALITY = {".jpg": {"quality": 92}, ".jpeg": {"quality": 92}}


def needed_size(suffix: str) -> tuple[int, int] | None:
    """Height and width that every image of a format has; None where it may have any."""
    return (JSRT_SIDE, JSRT_SIDE) if suffix.lower() == ".img" else None


def write_image(path: Path, values: np.ndarray, where: str) -> None:
    """Writes a radiograph (H, W) uint8 as its name says: an image file, DICOM, MetaImage or JSRT's bare pixels.

    Raises:
        CardError: the suffix is of no format that can be written; names ``where``.
    """
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix in PILLOW:
        Image.fromarray(values).save(path, format=PILLOW[suffix], **_QUALITY.get(suffix, {}))
    elif suffix in (".dcm", ".dicom"):
        _write_dicom(path, values)
    elif suffix == ".mha":
        _write_metaimage(path, values)
    elif suffix == ".img":
        path.write_bytes((JSRT_LARGEST - values.astype(np.uint16) * 16).astype(">u2").tobytes())
    else:
        known = ", ".join([*PILLOW, ".dcm", ".dicom", ".mha", ".IMG"])
        raise CardError(where, f"images with the suffix {path.suffix!r} cannot be written", f"one of {known}")


def _write_dicom(path: Path, values: np.ndarray) -> None:
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # computed radiography
    data.SOPInstanceUID = generate_uid(prefix="2.25.", entropy_srcs=[path.name])
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    pixels = values.tobytes()
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)


def _write_metaimage(path: Path, values: np.ndarray) -> None:
    height, width = values.shape
    header = "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    header += f"DimSize = {width} {height}\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(header.encode() + (values.astype("<u2") * 16).tobytes())


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, lines: list[str]) -> None:
    """Writes a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class TableDraft:
    """A table that several annotation files' worth of rows are collected for.

    Args:
        name: of the file, for messages.
        layout: delimiter and header.
    """

    def __init__(self, name: str, layout: TableFormat):
        self.name, self.layout = name, layout
        self.rows: dict[tuple, dict[str, str]] = {}

    def put(self, key: tuple, cells: dict[str, str]) -> None:
        """Adds a row, or further cells to the row of that key.

        Raises:
            CardError: two cards want different things in one cell.
        """
        row = self.rows.setdefault(key, {})
        for column, value in cells.items():
            if row.setdefault(column, value) != value:
                found = f"the column {column!r} would have to hold {row[column]!r} and {value!r} for one image"
                raise CardError(self.name, found, "columns of one meaning", "give one of the cards another file")

    def has(self, column: str) -> bool:
        """Whether a row has the column."""
        return any(column in row for row in self.rows.values())

    def write(self, path: Path) -> None:
        """Writes the file; it is packed where its name ends in ``.gz``.

        Raises:
            CardError: the card's header lacks a column, or cells cannot be told apart where blanks part them.
        """
        found = list(dict.fromkeys(column for row in self.rows.values() for column in row))
        columns = found if self.layout.header is None else list(self.layout.header)
        if unknown := [column for column in found if column not in columns]:
            raise CardError(self.name, f"the header has no column {unknown[0]!r}", f"one of {', '.join(columns)}")
        rows = [[row.get(column, "") for column in columns] for row in self.rows.values()]
        text = self._text(rows if self.layout.header is not None else [columns, *rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode("utf-8")
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)

    def _text(self, rows: list[list[str]]) -> str:
        if self.layout.delimiter == "whitespace":
            rows = [[cell or "-" for cell in row] for row in rows]
            if odd := next((cell for row in rows for cell in row if len(cell.split()) != 1), None):
                raise CardError(self.name, f"{odd!r} would be cut at its blanks", "another delimiter in the card")
            return "".join(" ".join(row) + "\n" for row in rows)
        stream = io.StringIO()
        delimiter = "\t" if self.layout.delimiter == "tab" else self.layout.delimiter
        csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
        return stream.getvalue()
