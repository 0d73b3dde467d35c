"""Aliases in public tables and their standard names, for fields of free text without a vocabulary (phase 1 of MDFP).

The published table has 14 aliases of dimensions, 136 of modalities and 89 of tasks. A word without meaning (``NA``,
``-``) is unknown, not "none"; any other unlisted word is ``other``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OTHER = "other"
NO_VALUE = frozenset(
    {"", "-", "?", "na", "n/a", "nan", "none", "null", "unknown", "not recorded", "yes", "no", "various"}
)
"""Texts that mean "unknown"; ``yes`` and ``no`` are stray cells of the portal's table."""

DIMENSIONS = {"2d": "2D", "3d": "3D", "4d": "3D", "video": "video"}

MODALITIES = {
    "X-ray": ("xray", "xr", "cr", "dx", "cxr", "radiography", "computedradiography", "digitalradiography", "3dxray"),
    "mammography": ("mammography", "mg"),
    "angiography": ("xa", "rf", "dsa", "3ddsa", "angiography"),
    "CT": ("ct", "cbct", "fbct"),
    "MR": ("mr", "mri"),
    "PET": ("pet", "pt"),
    "nuclear": ("nm", "spect"),
    "ultrasound": ("us", "ultrasound"),
    "fundus": ("fundus", "fundusphoto", "fundusphotography"),
    "OCT": ("oct", "octa"),
    "endoscopy": ("endoscopy", "colposcopy"),
    "dermoscopy": ("dermoscopy",),
    "histopathology": ("histopathology", "histo", "pathology", "wsi", "biopsyslides"),
    "microscopy": ("microscopy", "3dmicroscopy"),
    "infrared": ("infrared", "infraredreflectanceimaging"),
    "photography": ("rgb", "digitalphotography"),
    "electrophysiology": ("eeg", "meg"),
}

TASKS = {
    "classification": ("cls", "classification"),
    "detection": ("det", "detection"),
    "segmentation": ("seg", "segmentation"),
    "localisation": ("loc", "lmk", "localization", "localisation"),
    "registration": ("reg", "registration"),
    "reconstruction": ("rec", "recon", "reconstruction"),
    "regression": ("est", "meas", "measurement", "quan", "regression", "estimation"),
    "prediction": ("pred", "prog", "surv", "prediction", "prognosis"),
    "tracking": ("track", "trk", "tracking"),
    "generation": ("gen", "syn", "generation", "synthesis"),
    "VQA": ("vqa", "qa"),
    "captioning": ("caption", "captioning"),
}
"""The nine tasks of the paper (section 2.4), VQA, captioning, and prediction of a clinical course. ``Reg`` means
registration, like ``Registration`` on the portal, not regression."""

CLINICAL_USE = {
    "classification": "diagnosis, grading, response",
    "detection": "screening",
    "segmentation": "delineation, volumetry, planning",
    "regression": "biomarker",
}
"""Clinical use of each task, according to MDFP; it does not name the other tasks."""

NO_MODALITY = frozenset({"multi", "sr", "seg", "sc", "ot", "rtimage", "rtdose", "rtplan", "rtstruct", "seriesdata"})
"""Words in the modality column that name no modality: several unnamed ones, or derived DICOM objects."""


def compact(text: str) -> str:
    """Letters (of any script) and digits in lower case: ``X-Ray`` and ``x ray`` both become ``xray``."""
    return re.sub(r"[\W_]+", "", text.casefold())


def is_unknown(text: str | None) -> bool:
    """Whether a cell is empty or has a word for "unknown"."""
    return text is None or text.strip(" \\\t").casefold() in NO_VALUE


def words_of(text: str) -> list[str]:
    """The entries of a list in free text (``CT/ MR, PET`` or ``2D+Video``), without text in brackets.

    The published table also uses full-width commas (U+FF0C, U+3001).
    """
    plain = re.sub(r"\([^)]*\)", " ", text)
    return [
        word.strip(" .?\\") for word in re.split(r"[,;/+|\uff0c\u3001]", plain) if not is_unknown(word.strip(" .?\\"))
    ]


def dimensions_of(text: str) -> tuple[str, ...]:
    """The dimensions (2D, 3D, video) that the text names; a stray year or ``Text`` names none."""
    names = (DIMENSIONS.get(compact(word)) for word in words_of(text))
    return _unique(name for name in names if name)


def modalities_of(text: str) -> tuple[str, ...]:
    """Standard names of the modalities; ``other`` for an unlisted one. ``Multi`` names none."""
    words = [word for word in words_of(text) if compact(word) not in NO_MODALITY]
    return _unique(_standard_name(MODALITIES, word) for word in words)


def tasks_of(text: str) -> tuple[str, ...]:
    """Standard names of the tasks; ``other`` for an unlisted one."""
    return _unique(_standard_name(TASKS, word) for word in words_of(text))


def count_of(text: str) -> int | None:
    """A number of images: ``5.9k``, ``9,125``, ``200+``, ``303,001 images & 450,724 VQA``; None if there is none."""
    match = re.match(r"\s*(\d[\d,]*(?:\.\d+)?)\s*([kKmM]?)(?![\w.])", text)
    if match is None:
        return None
    factor = {"": 1, "k": 1_000, "m": 1_000_000}[match[2].casefold()]
    return round(float(match[1].replace(",", "")) * factor)


def _standard_name(table: Mapping[str, tuple[str, ...]], word: str) -> str:
    alias = compact(word)
    return next((name for name, aliases in table.items() if alias == compact(name) or alias in aliases), OTHER)


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
