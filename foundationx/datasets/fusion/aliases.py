"""Spellings of public tables and what they mean: phase 1 of MDFP (``mdfp.md`` A.2), for free text without a vocabulary.

The published table knows 14 spellings of a dimension, 136 of a modality and 89 of a task (``mdfp.md`` A.1). A word that
means nothing (``NA``, ``-``) is unknown, never "none"; a word that means something else is ``other``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OTHER = "other"
NOTHING = frozenset(
    {"", "-", "?", "na", "n/a", "nan", "none", "null", "unknown", "not recorded", "yes", "no", "various"}
)
"""Texts that say nothing; ``yes`` and ``no`` are stray cells of the portal's table."""

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
"""The nine tasks of the paper (section 2.4), VQA, captioning, and prediction of a course. ``Reg`` stands for
registration beside the portal's ``Registration`` and is read as that, not as regression."""

CLINICAL_USE = {
    "classification": "diagnosis, grading, response",
    "detection": "screening",
    "segmentation": "delineation, volumetry, planning",
    "regression": "biomarker",
}
"""What a task is for in the clinic, as phase 2 of MDFP gives it (``mdfp.md`` A.2); the other tasks it does not name."""

NO_MODALITY = frozenset({"multi", "sr", "seg", "sc", "ot", "rtimage", "rtdose", "rtplan", "rtstruct", "seriesdata"})
"""Words in the modality column that name none: several unnamed ones, or derived DICOM objects."""


def compact(text: str) -> str:
    """Letters and digits only, in small: ``X-Ray`` and ``x ray`` are both ``xray``. Letters of any script count."""
    return re.sub(r"[\W_]+", "", text.casefold())


def says_nothing(text: str | None) -> bool:
    """Whether a cell is empty or holds a word for "not known"."""
    return text is None or text.strip(" \\\t").casefold() in NOTHING


def words_of(text: str) -> list[str]:
    """The entries of a list in free text (``CT/ MR, PET`` or ``2D+Video``), without what stands in brackets.

    Commas of full width (U+FF0C, U+3001) stand in the published table too.
    """
    plain = re.sub(r"\([^)]*\)", " ", text)
    return [
        word.strip(" .?\\") for word in re.split(r"[,;/+|\uff0c\u3001]", plain) if not says_nothing(word.strip(" .?\\"))
    ]


def dimensions_of(text: str) -> tuple[str, ...]:
    """2D, 3D and video, as far as the text names them; a stray year or ``Text`` names none."""
    found = (DIMENSIONS.get(compact(word)) for word in words_of(text))
    return _each_once(word for word in found if word)


def modalities_of(text: str) -> tuple[str, ...]:
    """Modalities of the enumeration; ``other`` for one outside it. ``Multi`` names none."""
    words = [word for word in words_of(text) if compact(word) not in NO_MODALITY]
    return _each_once(_of(MODALITIES, word) for word in words)


def tasks_of(text: str) -> tuple[str, ...]:
    """Tasks of the enumeration; ``other`` for one outside it."""
    return _each_once(_of(TASKS, word) for word in words_of(text))


def count_of(text: str) -> int | None:
    """A number of images: ``5.9k``, ``9,125``, ``200+``, ``303,001 images & 450,724 VQA``; None for no number."""
    match = re.match(r"\s*(\d[\d,]*(?:\.\d+)?)\s*([kKmM]?)(?![\w.])", text)
    if match is None:
        return None
    factor = {"": 1, "k": 1_000, "m": 1_000_000}[match[2].casefold()]
    return round(float(match[1].replace(",", "")) * factor)


def _of(table: Mapping[str, tuple[str, ...]], word: str) -> str:
    spelt = compact(word)
    return next((name for name, spellings in table.items() if spelt == compact(name) or spelt in spellings), OTHER)


def _each_once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
