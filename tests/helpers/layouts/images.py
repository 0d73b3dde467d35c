"""Phantoms, and the file formats in which they are published."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from foundationx.phantoms.phantom import Phantom, make_phantom

SIDE = 48


@cache
def phantom(patient: int, number: int = 0, findings: tuple[str, ...] | None = ("Nodule",)) -> Phantom:
    return make_phantom(patient, number, SIDE, findings)


def sick(patient: int) -> bool:
    """Every second patient has a nodule in the layouts."""
    return patient % 2 == 1


def nodule_phantom(patient: int) -> Phantom:
    return phantom(patient, 0, ("Nodule",) if sick(patient) else ())


def place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_image(path: Path, values: np.ndarray) -> None:
    """PNG or JPEG, by the suffix."""
    assert cv2.imwrite(str(place(path)), values)


def write_dicom(path: Path, values: np.ndarray) -> None:
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = values.tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(place(path), enforce_file_format=True)


def write_mha(path: Path, values: np.ndarray) -> None:
    """As NODE21: 16 bits, not packed."""
    height, width = values.shape
    header = "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    header += f"DimSize = {width} {height}\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    place(path).write_bytes(header.encode() + (values.astype("<u2") * 16).tobytes())


def write_jsrt(path: Path, values: np.ndarray) -> None:
    """The film's densities, which are high where it is black."""
    grown = cv2.resize(values, (2048, 2048), interpolation=cv2.INTER_NEAREST)
    place(path).write_bytes((4095 - grown.astype(np.uint16) * 16).astype(">u2").tobytes())


def write_rows(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    """A CSV file, packed where its name ends in ``.gz``."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    text = stream.getvalue().encode()
    place(path).write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_json(path: Path, content: Any) -> None:
    place(path).write_text(json.dumps(content), encoding="utf-8")


def runs(mask: np.ndarray, *, relative: bool, first: int, order: str) -> str:
    """A mask as ``start length ...``, counted pixel by pixel."""
    flat = (mask if order == "rows" else mask.T).reshape(-1).tolist()
    text, start, end = [], None, 0
    for index, value in enumerate([*flat, 0]):
        if value and start is None:
            start = index
        elif not value and start is not None:
            text += [start + first if not relative or not text else start - end, index - start]
            start, end = None, index
    return " ".join(map(str, text))


def outline(mask: np.ndarray) -> list[list[float]]:
    """The largest outline of a mask, x and y pairs."""
    result, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(result, key=cv2.contourArea)[:, 0].astype(float).tolist()
