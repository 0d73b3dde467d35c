"""Croissant 1.0, the JSON-LD description of datasets by MLCommons: written from a card, and read for a draft of one.

http://mlcommons.org/croissant/1.0. Annotation files become file objects, image folders file sets, and each task two
record sets: its classes as an enumeration, and its records with the columns that the card names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.datasets.annotations import open_reader
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import alternatives
from foundationx.datasets.cards.spdx import identifiers, normalised
from foundationx.datasets.drafts import label_task

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prints."""

SPDX_ADDRESS = "https://spdx.org/licenses/"

FORMATS = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".gz": "application/gzip",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".dcm": "application/dicom",
    ".dicom": "application/dicom",
}
"""Media types by suffix."""

OTHER_FORMAT = "application/octet-stream"

_SYSTEMS = {
    "umls": "https://uts.nlm.nih.gov/uts/umls/concept/",
    "radlex": "http://www.radlex.org/RID/",
}
"""Addresses of codes, by system."""


def croissant_of(card: Card, data_root: Path | None = None) -> dict[str, Any]:
    """A card as Croissant 1.0.

    Args:
        card: The card.
        data_root: Folder of all datasets. The checksums of the annotation files that are there are added; without them
            the description says that the files are not frozen (``isLiveDataset``).

    Raises:
        CardError: A reader or one of its options is wrong.
    """
    folder = data_root / card.root if data_root is not None else None
    files = {name: _file_object(name, folder) for name in dict.fromkeys(_annotation_files(card))}
    sets = {item["@id"]: item for item in _file_sets(card)}
    distribution = [*files.values(), *sets.values()]
    values = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": card.title,
        "alternateName": card.name,
        "description": card.notes or card.survey.description or card.title,
        "url": card.home,
        "license": _licences(card),
        "citeAs": card.citation,
        "datePublished": card.survey.released,
        "creator": [{"@type": "sc:Organization", "name": name} for name in card.survey.organisations],
        "keywords": _keywords(card),
        "version": "1.0.0",
        "isLiveDataset": True if any("sha256" not in item for item in files.values()) else None,
        "distribution": distribution,
        "recordSet": [record_set for task in card.tasks for record_set in _record_sets(card, task)],
    }
    return {key: value for key, value in values.items() if value not in (None, [], ())}


def draft_of(path: Path) -> dict[str, Any]:
    """What a Croissant file says, as values of a card; what it does not say is left out.

    Args:
        path: JSON-LD file.

    Returns:
        Name, title, home, licence, citation, notes, survey and, if record sets name columns of a file, the tasks.

    Raises:
        CardError: The file is missing, is not JSON, or describes no dataset.
    """
    content = _read(path)
    licence, survey = _licence_values(content), _survey_values(content)
    values = {
        "name": _slug(_text(content.get("alternateName")) or _text(content.get("name")) or path.stem),
        "title": _text(content.get("name")),
        "home": _text(content.get("url")),
        "licence": licence,
        "citation": _text(content.get("citeAs")) or _text(content.get("citation")),
        "notes": _text(content.get("description")),
        "survey": survey,
        "tasks": _draft_tasks(content),
    }
    return {key: value for key, value in values.items() if value}


# Writing


def _annotation_files(card: Card) -> Iterator[str]:
    """First names of all files that the card names."""
    for spec in card.tasks.values():
        yield from (alternatives(part.file)[0] for part in spec.files if part.file)
        yield from (alternatives(join.file)[0] for join in spec.join)
    if card.patient is not None:
        yield from (table.file[0] for table in card.patient.tables)
    if card.splits is not None:
        yield from (alternatives(file)[0] for file in card.splits.lists.values())
    if card.attributes is not None:
        yield from (alternatives(file)[0] for file in card.attributes.files)


def _file_object(name: str, folder: Path | None) -> dict[str, Any]:
    values = {
        "@type": "cr:FileObject",
        "@id": _identified(name),
        "name": name.rpartition("/")[2],
        "contentUrl": name,
        "encodingFormat": FORMATS.get(os.path.splitext(name)[1].lower(), OTHER_FORMAT),
    }
    path = folder / name if folder is not None else None
    if path is not None and path.is_file():
        with path.open("rb") as file:
            values |= {
                "contentSize": f"{path.stat().st_size} B",
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    return values


def _file_sets(card: Card) -> Iterator[dict[str, Any]]:
    """One file set per folder and suffix of images."""
    for spec in card.tasks.values():
        for part in spec.files:
            suffix = alternatives(part.image_suffix or "")[0]
            for pattern in part.images or ("",):
                folder = alternatives(pattern)[0]
                includes = "/".join(piece for piece in (folder, f"**/*{suffix}") if piece)
                yield {
                    "@type": "cr:FileSet",
                    "@id": _identified(f"images/{includes}"),
                    "name": f"images of {folder or 'the dataset'}",
                    "includes": includes,
                    "encodingFormat": FORMATS.get(suffix.lower(), OTHER_FORMAT),
                }


def _identified(name: str) -> str:
    """An ``@id`` of a name: readers take no blanks and few other signs."""
    return re.sub(r"[^A-Za-z0-9_./-]+", "_", name)


def _licences(card: Card) -> list[str]:
    """Addresses of the licences that SPDX has, and the name of the licence if there is another one."""
    names = identifiers(card.licence.spdx)
    own = [] if all(not name.startswith("LicenseRef-") for name in names) else [card.licence.name]
    return [f"{SPDX_ADDRESS}{name}.html" for name in names if not name.startswith("LicenseRef-")] + own


def _keywords(card: Card) -> list[str]:
    survey = card.survey
    words = [survey.modality, survey.modality_detail, survey.dimension, *survey.anatomy, *card.diseases]
    return list(dict.fromkeys(word for word in words if word))


def _record_sets(card: Card, task: Task) -> Iterator[dict[str, Any]]:
    """The classes of a task, and its records if the card names columns of a table."""
    yield _enumeration(card, task)
    spec, (_, options) = card.tasks[task], open_reader(card, task)
    file = next((alternatives(part.file)[0] for part in spec.files if part.file), None)
    if file is None:
        return
    named = dict(_columns(options[0]))
    if card.patient is not None and card.patient.column is not None:
        named |= {"patient": card.patient.column}
    if card.splits is not None and card.splits.column is not None:
        named |= {"split": card.splits.column}
    known = set(named.values())
    if spec.reader == "label_columns_csv":
        named |= {f"label: {item.name}": item.published[0] for item in spec.classes if item.published[0] not in known}
    if named:
        yield {
            "@type": "cr:RecordSet",
            "@id": task.value,
            "name": task.value,
            "description": f"Rows of {file}, read by {spec.reader}.",
            "field": [
                _field(_identified(f"{task.value}/{name}"), name, file, column) for name, column in named.items()
            ],
        }


def _enumeration(card: Card, task: Task) -> dict[str, Any]:
    spec, name = card.tasks[task], f"{task.value}_classes"
    keys = ("name", "published", "concept", "relation", "polarity", "codes")
    rows = []
    for item in spec.classes:
        codes = [f"{_SYSTEMS[system]}{code}" for system, values in spec.codes(item).items() for code in values]
        cells = (
            item.name,
            " | ".join(item.published),
            item.canonical or "",
            item.relation,
            item.polarity,
            " ".join(codes),
        )
        rows.append({f"{name}/{key}": cell for key, cell in zip(keys, cells, strict=True)})
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Classes of {task.value} with their published names, concepts and codes.",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{name}/name"},
        "field": [{"@type": "cr:Field", "@id": f"{name}/{key}", "name": key, "dataType": "sc:Text"} for key in keys],
        "data": rows,
    }


def _columns(options: Any) -> Iterator[tuple[str, str]]:
    """Name and column of every option that names columns (``image_column``, ``box_columns``)."""
    for key, value in options.model_dump().items():
        name = re.sub(r"_columns?$", "", key)
        if key.endswith("_column") and isinstance(value, str):
            yield name, value
        elif key.endswith("_columns") and isinstance(value, dict):
            yield from ((f"{name}: {own}", column) for own, column in value.items())
        elif key.endswith("_columns") and isinstance(value, list | tuple):
            yield from ((f"{name} {number}", column) for number, column in enumerate(value, start=1))


def _field(identifier: str, name: str, file: str, column: str) -> dict[str, Any]:
    is_number = name.startswith(("label:", "box "))
    return {
        "@type": "cr:Field",
        "@id": identifier,
        "name": name,
        "dataType": "sc:Float" if is_number else "sc:Text",
        "source": {"fileObject": {"@id": _identified(file)}, "extract": {"column": column}},
    }


# Reading


def _read(path: Path) -> dict[str, Any]:
    """The description in a file, its keys without prefixes. Raises CardError."""
    if not path.is_file():
        raise CardError(str(path), "there is no such file", "a Croissant file (JSON-LD)", "check the path")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CardError(str(path), f"is not JSON: {error}", "a Croissant file (JSON-LD)", "download it again") from None
    content = _without_prefixes(content)
    if not isinstance(content, dict) or "Dataset" not in _listed(content.get("@type")):
        raise CardError(str(path), "describes no dataset", '"@type": "sc:Dataset"', "check that it is the right file")
    return content


def _without_prefixes(value: Any) -> Any:
    """The same values with ``sc:name``, ``cr:field`` and full addresses as plain names."""
    if isinstance(value, dict):
        plain = {_plain(key): item for key, item in value.items()}
        named = ("@type", "dataType")
        return {key: _plain(item) if key in named else _without_prefixes(item) for key, item in plain.items()}
    return [_without_prefixes(item) for item in value] if isinstance(value, list) else value


def _plain(name: Any) -> Any:
    if isinstance(name, list):
        return [_plain(item) for item in name]
    return re.sub(r"^(sc:|cr:|dct:|https?://schema\.org/|http://mlcommons\.org/(schema|croissant)/)", "", str(name))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str | None:
    """A text, also one that is given by language or in a list."""
    if isinstance(value, dict):
        value = value.get("@value") or value.get("en") or value.get("name") or value.get("url")
    if isinstance(value, list):
        value = _text(value[0]) if value else None
    return value.strip() or None if isinstance(value, str) else None


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.casefold()).strip("_") or "dataset"


def _licence_values(content: Mapping[str, Any]) -> dict[str, str]:
    """Name and SPDX expression of the licences; permissions are not guessed."""
    names = [text for item in _listed(content.get("license")) if (text := _text(item))]
    if not names:
        return {"name": "not stated", "redistribution": "unknown", "commercial": "unknown"}
    values = {"name": ", ".join(names), "redistribution": "unknown", "commercial": "unknown"}
    known = [found for name in names if (found := _identifier(name))]
    return values | ({"spdx": " AND ".join(known)} if len(known) == len(names) else {})


def _identifier(name: str) -> str | None:
    """The SPDX identifier that a name or address means, if it is a well-known one."""
    address = re.fullmatch(r"https?://(www\.)?spdx\.org/licenses/([A-Za-z0-9.+-]+?)(\.html|\.json)?/?", name)
    commons = re.fullmatch(r"https?://(www\.)?creativecommons\.org/licenses/([a-z-]+)/(\d\.\d).*", name)
    zero = re.fullmatch(r"https?://(www\.)?creativecommons\.org/publicdomain/zero/1\.0.*", name)
    text = address[2] if address else f"CC-{commons[2]}-{commons[3]}" if commons else "CC0-1.0" if zero else name
    for candidate in (text, re.sub(r"\s+", "-", text.strip())):
        try:
            return normalised(candidate)
        except ValueError:
            continue
    return None


def _survey_values(content: Mapping[str, Any]) -> dict[str, Any]:
    makers = [name for key in ("creator", "publisher") for item in _listed(content.get(key)) if (name := _text(item))]
    date = re.match(r"\d{4}(-\d{2}(-\d{2})?)?(?!\d)", _text(content.get("datePublished")) or "")
    values = {"released": date[0] if date else None, "organisations": list(dict.fromkeys(makers))}
    return {key: value for key, value in values.items() if value}


_IMAGE = re.compile(r"image|img|file|path|dicom", re.IGNORECASE)
"""Columns that probably name the image."""

_FINDINGS = re.compile(r"finding|label|class|diagnos|categor|disease", re.IGNORECASE)
"""Columns of text that probably hold labels."""

_MEASURES = re.compile(
    r"(?<![a-z])(age|year|width|height|size|spacing|box|follow|id|[xywh]|[xy]_?(min|max))(?![a-z])", re.IGNORECASE
)
"""Columns of numbers that are probably no labels."""


class _Column(NamedTuple):
    """A column of a file that a record set names: file object, name and data type, and name of the field."""

    file: Any
    column: str
    kind: Any
    field: str


def _draft_tasks(content: Mapping[str, Any]) -> dict[str, Any]:
    """A task of image labels: of the first record set with an image column and columns of labels in one table."""
    files = {item.get("@id"): item for item in _listed(content.get("distribution")) if isinstance(item, dict)}
    records = [item for item in _listed(content.get("recordSet")) if isinstance(item, dict)]
    classes = next((found for item in records if (found := _enumerated(item))), [])
    for record_set in records:
        columns = _file_columns(record_set, files)
        for file in dict.fromkeys(column.file for column in columns):
            own = [column for column in columns if column.file == file]
            image = next((one.column for one in own if _IMAGE.search(f"{one.column} {one.field}")), None)
            others = [column for column in own if column.column != image]
            if image is not None and (values := _label_values(others, image, classes)):
                name = _text(files[file].get("contentUrl")) or str(file)
                return {label_task(): {**values, "file": name, "images": _image_folders(files.values())}}
    return {}


def _label_values(columns: Sequence[_Column], image: str, classes: list[Any]) -> dict[str, Any]:
    """Reader, options and classes: a column per class, or one column of findings; empty if there is neither."""
    numbers = [
        one for one in columns if one.kind in ("Boolean", "Integer", "Float") and not _MEASURES.search(one.column)
    ]
    if numbers:
        named = [(one.field.removeprefix("label: "), one.column) for one in numbers]
        own = [name if name == column else {"name": name, "sources": [column]} for name, column in named]
        return {"reader": "label_columns_csv", "options": {"image_column": image}, "classes": own}
    findings = next((one.column for one in columns if one.kind == "Text" and _FINDINGS.search(one.column)), None)
    if findings is None or not classes:
        return {}
    options = {"image_column": image, "findings_column": findings}
    return {"reader": "findings_csv", "options": options, "classes": classes}


def _enumerated(record_set: Mapping[str, Any]) -> list[Any]:
    """Classes that a record set enumerates, with the published names if they are other ones."""
    if "Enumeration" not in _listed(record_set.get("dataType")):
        return []
    rows = [row for row in _listed(record_set.get("data")) if isinstance(row, dict)]
    classes: list[Any] = []
    for row in rows:
        cells = {str(key).rpartition("/")[2]: value for key, value in row.items()}
        name = _text(cells.get("name") or cells.get("label") or next(iter(cells.values()), None))
        published = [part.strip() for part in (_text(cells.get("published")) or "").split("|") if part.strip()]
        if name and name not in classes:
            classes.append({"name": name, "sources": published} if published not in ([], [name]) else name)
    return classes


def _image_folders(files: Iterable[Mapping[str, Any]]) -> list[str]:
    """Folders of the sets of images: what stands before the first wildcard."""
    patterns = [_text(item.get("includes")) for item in files if "FileSet" in _listed(item.get("@type"))]
    folders = [re.sub(r"(^|/)[^/]*[*?].*$", "", pattern) for pattern in patterns if pattern]
    return list(dict.fromkeys(folders)) or [""]


def _file_columns(record_set: Mapping[str, Any], files: Mapping[Any, Any]) -> list[_Column]:
    """Every field of a record set that is a column of a file."""
    found = []
    for field in _listed(record_set.get("field")):
        source = field.get("source") if isinstance(field, dict) else None
        extract = source.get("extract") if isinstance(source, dict) else None
        column = extract.get("column") if isinstance(extract, dict) else None
        file = source.get("fileObject") if isinstance(source, dict) else None
        file = file.get("@id") if isinstance(file, dict) else file
        if isinstance(column, str) and isinstance(file, str) and file in files:
            kind = next(iter(_listed(field.get("dataType"))), None)
            found.append(_Column(file, column, kind, _text(field.get("name")) or column))
    return found
