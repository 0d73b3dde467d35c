"""The sixteen fields of Project Imaging-X's ``data-meta.jsonl`` (``mdfp.md`` A.1, third schema), as published."""

from __future__ import annotations

from typing import Any

from foundationx.datasets.fusion.record import Record

NOT_KNOWN = "NA"
"""What the published schema writes for an unknown value."""

_PRESENCE = {"labelled": "labeled", "unlabelled": "unlabeled", "mixed": "mixed"}
_TASKS = {"localisation": "localization"}
_JOINED = ", "


def meta_of(record: Record) -> dict[str, Any]:
    """The sixteen fields in their published order and spelling.

    ``valid_image_n`` is known only where somebody counted after cleaning; published volumes stand in ``data_volume``.
    """
    valid = {"total": record.valid_images} if record.valid_images is not None else NOT_KNOWN
    return {
        "dataset_name": record.title,
        "release_date": record.released or NOT_KNOWN,
        "homepage_url": record.home or NOT_KNOWN,
        "organization": _JOINED.join(record.organisations) or NOT_KNOWN,
        "challenge_series": record.challenge or NOT_KNOWN,
        "license": record.spdx or record.licence or NOT_KNOWN,
        "dataset_description": record.description or NOT_KNOWN,
        "modality_primary": _JOINED.join(record.modalities) or NOT_KNOWN,
        "modality_secondary": record.modality_detail or NOT_KNOWN,
        "anatomical_structure": _JOINED.join(record.anatomy) or NOT_KNOWN,
        "disease": _JOINED.join(record.diseases) or NOT_KNOWN,
        "data_volume": record.volume or NOT_KNOWN,
        "valid_image_n": valid,
        "label_presence": _PRESENCE.get(record.label_presence or "", NOT_KNOWN),
        "task_type": _JOINED.join(_TASKS.get(task, task) for task in record.tasks) or NOT_KNOWN,
        "num_classes_per_task": record.classes_per_task or NOT_KNOWN,
    }
