"""Findings of one image as DICOM: masks as a segmentation (SEG), the rest as a structured report (SR, TID 1500).

Needs the extra ``dicom-out`` (highdicom). Names of classes are codes of a scheme of our own, ``99FOUNDATIONX``: cards
name classes as datasets publish them, and only some publishers give codes.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from foundationx import __version__
from foundationx.core.atomic_write import write_atomically
from foundationx.core.errors import ConfigError
from foundationx.data.pixels.dicom import is_dicom
from foundationx.data.pixels.read import read_bytes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SCHEME, MAKER = "99FOUNDATIONX", "foundationx"

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""Attributes without which nothing can refer to an image."""

COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Attributes that a result takes over from its image, empty if the image lacks them."""

LONGEST = {"value": 16, "meaning": 64}
"""Most characters of a code and of its meaning."""


def require_highdicom() -> None:
    """Raises ConfigError: the extra is missing."""
    if importlib.util.find_spec("highdicom") is None:
        fix = "pip install -e '.[dicom-out]' in the clone"
        raise ConfigError("--dicom", "highdicom cannot be imported", "the extra 'dicom-out'", fix)


def write_dicom(path: Path, values: Mapping[str, Any], stem: Path) -> list[Path]:
    """Writes ``STEM.seg.dcm`` if there are masks and ``STEM.sr.dcm``; nothing if the image is no complete DICOM file.

    Args:
        path: The image.
        values: Its findings, as ``predict`` writes them to JSON.
        stem: Path of the results without their suffix.

    Raises:
        DataError: The image cannot be read.
        DiskError: A file cannot be written.
    """
    import pydicom

    content = read_bytes(path)
    if not is_dicom(content):
        return []
    image = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
    if any(name not in image for name in UIDS):
        return []
    for name in COPIED:
        if name not in image:
            setattr(image, name, None)
    results = {".seg.dcm": _segmentation(image, values), ".sr.dcm": _report(image, values)}
    written = []
    for suffix, result in results.items():
        if result is not None:
            stream = io.BytesIO()
            result.save_as(stream)
            written.append(stem.with_name(stem.name + suffix))
            write_atomically(written[-1], stream.getvalue(), durable=False)
    return written


def _rows(values: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Findings of all heads that have ``key``, with the head's name."""
    for head, findings in values["heads"].items():
        for row in findings if isinstance(findings, list) else ():
            if key in row:
                yield head, row


def _code(name: str) -> Any:
    """A class as a code."""
    from highdicom.sr import CodedConcept

    value = re.sub(r"[^A-Za-z0-9]+", "_", name)[: LONGEST["value"]] or "class"
    return CodedConcept(value, SCHEME, name[: LONGEST["meaning"]])


def _segmentation(image: Dataset, values: Mapping[str, Any]) -> Dataset | None:
    """One binary segment for each class whose mask holds pixels; None without any."""
    import highdicom
    from pydicom.sr.codedict import codes

    found = [(head, row) for head, row in _rows(values, "polygons") if row["polygons"]]
    if not found:
        return None
    masks = np.zeros((1, image.Rows, image.Columns, len(found)), dtype=np.uint8)
    for index, (_, row) in enumerate(found):
        mask = np.zeros((image.Rows, image.Columns), dtype=np.uint8)
        for polygon in row["polygons"]:
            _fill(mask, np.array(polygon, dtype=np.int32).reshape(-1, 2))
        masks[0, :, :, index] = mask
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=MAKER, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=index,
            segment_label=f"{head}: {row['class']}"[: LONGEST["meaning"]],
            segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=_code(row["class"]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for index, (head, row) in enumerate(found, start=1)
    ]
    return highdicom.seg.Segmentation(
        source_images=[image],
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_number=9001,
        **_identity(),
        device_serial_number="0",
        manufacturer_model_name=MAKER,
        software_versions=__version__,
    )


def _fill(mask: np.ndarray, polygon: np.ndarray) -> None:
    """Fills an outline that runs along the edges of pixels: from the first pixel inside to the last."""
    inner = polygon.copy()
    centre = polygon.mean(axis=0)
    inner[polygon > centre] -= 1
    cv2.fillPoly(mask, [inner], 1)


def _identity() -> dict[str, Any]:
    """Identifiers of a new object in a series of its own."""
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": MAKER,
    }


def _report(image: Dataset, values: Mapping[str, Any]) -> Dataset:
    """Scores of image labels, and boxes with theirs."""
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    groups: list[Any] = []
    for number, (head, name, score, box) in enumerate(_scored(values), start=1):
        common = {
            "tracking_identifier": sr.TrackingIdentifier(highdicom.UID(), f"{head} {number}"),
            "finding_type": _code(name),
            "measurements": [sr.Measurement(sr.CodedConcept("score", SCHEME, "Score"), score, codes.UCUM.NoUnits)],
        }
        if box is None:
            source = sr.SourceImageForMeasurementGroup.from_source_image(image)
            groups.append(sr.MeasurementsAndQualitativeEvaluations(source_images=[source], **common))
        else:
            x1, y1, x2, y2 = box
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]])
            region = sr.ImageRegion("POLYLINE", corners, sr.SourceImageForRegion.from_source_image(image))
            groups.append(sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **common))
    device = sr.ObserverContext(codes.DCM.Device, sr.DeviceObserverIdentifyingAttributes(highdicom.UID(), name=MAKER))
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain X-ray of chest"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(evidence=[image], content=report, series_number=9002, is_complete=True, **_identity())


def _scored(values: Mapping[str, Any]) -> Iterator[tuple[str, str, float, list[float] | None]]:
    """Head, class, score and box (None for an image label) of every finding with a score."""
    for head, findings in values["heads"].items():
        if isinstance(findings, dict):
            yield from ((head, name, score, None) for name, score in findings.items() if isinstance(score, float))
    yield from ((head, row["class"], row["score"], row["box"]) for head, row in _rows(values, "box") if "score" in row)
