"""Drafts a card from what lies in a folder: tables, COCO files, folders of classes or masks, DICOM headers.

Every value that is a guess has a comment that says from what it was guessed, and what has to be decided. The draft
loads as it is.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from foundationx.core.errors import CardError, DataError
from foundationx.core.types import Split, annotated_tasks
from foundationx.datasets.readers._dicom_header import read_header
from foundationx.datasets.readers._files import read_json
from foundationx.datasets.readers._images import IMAGE_SUFFIXES
from foundationx.datasets.readers._paths import DatasetFolder
from foundationx.datasets.readers._stored_tables import store_table
from foundationx.datasets.readers._stray import image_files, is_stray_folder
from foundationx.datasets.readers._tables import Table, read_table
from foundationx.datasets.readers._tables import read_header as read_columns
from foundationx.datasets.stores import store as stores

MAX_ENTRIES = 500_000
"""Files that are looked at; a larger folder is described by hand."""

SAMPLED = 20_000
"""Rows of a table that are looked at."""

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".tar")

NEGATIVE = ("no finding", "no findings", "normal", "negative", "healthy", "none", "nofinding", "no_finding")
"""Names, in lower case, that mean that no class is present."""

SPLITS = {"train": Split.TRAIN, "training": Split.TRAIN, "val": Split.VAL, "valid": Split.VAL, "validation": Split.VAL}
SPLITS |= {"validate": Split.VAL, "dev": Split.VAL, "test": Split.TEST, "testing": Split.TEST}

BOXES = (
    (("x", "y", "width", "height"), "xywh"),
    (("x", "y", "w", "h"), "xywh"),
    (("x_min", "y_min", "x_max", "y_max"), "xyxy"),
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("x_center", "y_center", "width", "height"), "cxcywh"),
)
"""Usual names of the columns of boxes."""


@dataclass
class Task:
    """One task of the draft.

    Attributes:
        name: Name of the task.
        values: Keys of the task in the card.
        comments: Comments by key; ``""`` stands above the task.
    """

    name: str
    values: dict[str, Any]
    comments: dict[str, str] = field(default_factory=dict)


@dataclass
class Draft:
    """What was found in a folder.

    Attributes:
        tasks: Tasks of the card.
        patient: The card's patient, None if nothing names one.
        splits: The card's splits, None if nothing names them.
        comments: Comments by key of the card.
        unused: Files that the draft does not use.
    """

    tasks: list[Task] = field(default_factory=list)
    patient: dict[str, Any] | None = None
    splits: dict[str, Any] | None = None
    comments: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def task_with(part: str) -> str:
    """Name of the task that learns from a part of an annotation: ``labels``, ``boxes`` or ``masks``."""
    return next(task.value for task in annotated_tasks() if task.facts.part == part)


class FolderView:
    """Files of a folder: its images by folder, and its tables and JSON files.

    Args:
        path: The folder.

    Raises:
        CardError: There is no such folder, it holds no image, or too many files.
    """

    def __init__(self, path: Path):
        self.path, self.dataset = path, DatasetFolder(path, path)
        self.images: dict[str, list[str]] = {}
        self.tables: list[str] = []
        self.json: list[str] = []
        if not path.is_dir():
            raise CardError(str(path), "there is no such folder", "the folder of a dataset", "check the path")
        count = 0
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not is_stray_folder(name))
            count += len(names)
            if count > MAX_ENTRIES:
                fix = "write the card by hand (foundationx data readers), or draft it from a part"
                raise CardError(str(path), f"holds more than {MAX_ENTRIES:,} files", "fewer", fix)
            self._add(Path(folder).relative_to(path).as_posix().removeprefix("."), sorted(names))
        if not self.images and not self.tables:
            raise CardError(str(path), "holds neither images nor tables", "a dataset", "check the path")

    def _add(self, folder: str, names: Sequence[str]) -> None:
        before = f"{folder}/" if folder else ""
        for name in names:
            if not name.startswith(".") and name.lower().endswith(TABLES):
                self.tables.append(before + name)
            elif not name.startswith(".") and name.lower().endswith(".json"):
                self.json.append(before + name)
        suffixed = [name for name in image_files(names) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]
        bare = [name for name in image_files(names) if "." not in name or re.fullmatch(r"[\d.]+", name)]
        bare = [name for name in bare if self._is_dicom(before + name)] if not suffixed else []
        if suffixed or bare:
            self.images[folder] = suffixed or bare

    def _is_dicom(self, name: str) -> bool:
        with (self.path / name).open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"

    def all_images(self) -> list[str]:
        """Paths of all images."""
        return [f"{folder}/{name}".lstrip("/") for folder, names in self.images.items() for name in names]


def draft_folder(path: Path) -> Draft:
    """The draft of a card for the dataset in a folder. Raises CardError if nothing in it can be used."""
    view, draft = FolderView(path), Draft()
    for name in view.json:
        _add_coco(view, draft, name)
    for name in view.tables:
        _add_table(view, draft, name)
    if not any(task.name == task_with("labels") for task in draft.tasks):
        _add_class_folders(view, draft)
    _add_mask_folders(view, draft)
    if not draft.tasks:
        _add_unlabelled(view, draft)
    if draft.patient is None:
        _patient_of_headers(view, draft)
    if draft.patient is None:
        draft.comments["patient"] = (
            "decide: nothing names the patients, so that each image counts as its own, and images of one patient\n"
            "may be trained and tested on. patient: {pattern: '...'} on the image's path, {column: ...} of the table,\n"
            "{tables: [...]}, or {dicom: PatientID}"
        )
    return draft


def _add_coco(view: FolderView, draft: Draft, name: str) -> None:
    """Tasks of a COCO file."""
    try:
        content = read_json(view.path / name, name)
    except DataError:
        content = None
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        draft.unused.append(name)
        return
    files = [str(image.get("file_name")) for image in content["images"] if isinstance(image, dict)]
    names = [str(item.get("name")) for item in content["categories"] if isinstance(item, dict)]
    outlined = any(isinstance(one, dict) and one.get("segmentation") for one in content["annotations"])
    images, suffix = _where(view, files)
    values = {"reader": "coco", "file": name, "images": images} | suffix
    values["classes"] = list(dict.fromkeys(names))
    comment = f"guessed from {name}: {len(files):,} images, {len(content['annotations']):,} annotations, all categories"
    further = (
        "decide: a listed image without an annotation of a class counts as negative for it; leave_out names images\n"
    )
    further += "that nobody annotated"
    for part in ["boxes", *(["masks"] if outlined else [])]:
        _merge(draft, Task(task_with(part), dict(values), {"": f"{comment}\n{further}"}))


def _add_table(view: FolderView, draft: Draft, name: str) -> None:
    """The task of a table, by its columns."""
    try:
        table = _read(view, name)
    except DataError as error:
        draft.unused.append(f"{name} ({error.found})")
        return
    column = _image_column(view, table)
    if column is None:
        draft.unused.append(f"{name} (no column names the images that lie here)")
        return
    where, suffix = ("", {}) if stores.is_store(name) else _where(view, table.cells[column])
    values: dict[str, Any] = {"file": name, "images": where} | suffix
    if stores.is_store(name):
        values.pop("images")
    task = _boxes(table, column, values) or _findings(table, column, values) or _labels(table, column, values)
    if task is None:
        draft.unused.append(f"{name} (names images in {column!r}, but no labels or boxes)")
        return
    task.comments["image_column"] = f"guessed: its cells name the images ({_shown(table.cells[column])})"
    _merge(draft, task)
    _patient_and_splits(table, draft)


def _read(view: FolderView, name: str) -> Table:
    """A table of a file or store, with its first rows."""
    if stores.is_store(name):
        return store_table(view.dataset, [name], name, store_table(view.dataset, [name], name, ()).columns)
    columns = read_columns(view.path / name, name)
    table = read_table(view.path / name, name, columns)
    cells: dict[str, Sequence[Any]] = {column: list(values[:SAMPLED]) for column, values in table.cells.items()}
    return Table(name, table.columns, table.lines[:SAMPLED], cells)


def _image_column(view: FolderView, table: Table) -> str | None:
    """The column whose cells name most of the images; at least half of them."""
    known: set[str] = set()
    for image in view.all_images():
        base = image.rpartition("/")[2]
        known |= {image, base, os.path.splitext(base)[0]}
    shares = {}
    for column, cells in table.cells.items():
        named = [PurePosixPath(cell).name for cell in cells if cell]
        hits = sum(name in known or os.path.splitext(name)[0] in known for name in named)
        packed = (
            sum(bool(stores.locate(view.path / cell)) for cell in cells[:100]) if stores.is_store(table.name) else 0
        )
        shares[column] = max(hits / max(1, len(named)), packed / max(1, min(100, len(cells))))
    best = max(shares, key=lambda column: shares[column], default=None)
    return best if best is not None and shares[best] >= 0.5 else None


def _where(view: FolderView, names: Iterable[str]) -> tuple[str | list[str], dict[str, str]]:
    """Folders of the named images, and the suffix that the names lack."""
    sample = [name for name in names if name][:2000]
    with_folder = sum((view.path / name).is_file() for name in sample)
    if sample and with_folder > len(sample) / 2:
        return "", {}
    bases = {PurePosixPath(name).name for name in sample}
    stems = {os.path.splitext(name)[0] for name in bases}
    hits: Counter[str] = Counter()
    suffixes: Counter[str] = Counter()
    for folder, files in view.images.items():
        for file in files:
            stem, suffix = os.path.splitext(file)
            if file in bases:
                hits[folder] += 1
                suffixes[""] += 1
            elif stem in bases:
                hits[folder] += 1
                suffixes[suffix] += 1
            elif stem in stems:
                hits[folder] += 1
                suffixes[f"| {suffix}"] += 1
    folders = [folder for folder, count in hits.items() if count >= 0.1 * max(hits.values())]
    inner = {str(PurePosixPath(name).parent) for name in sample} - {"."}
    if inner and len(folders) > 1:  # the names hold folders below one folder
        top = os.path.commonpath(folders) if all(folders) else ""
        folders = [top]
    suffix = suffixes.most_common(1)[0][0] if suffixes else ""
    found = folders[0] if len(folders) == 1 else folders
    return (found or ""), ({"image_suffix": suffix} if suffix else {})


def _boxes(table: Table, column: str, values: Mapping[str, Any]) -> Task | None:
    """A table with one row per box."""
    lower = {name.lower().strip(): name for name in table.columns}
    form = next((form for form in BOXES if all(name in lower for name in form[0])), None)
    if form is None:
        return None
    names, layout = form
    class_column = next((lower[name] for name in lower if re.search(r"class|categor|finding|label", name)), None)
    classes = ["Object"]
    if class_column is not None:
        empty = [all(not table.cells[lower[name]][row] for name in names) for row in range(len(table))]
        classes = sorted(
            {cell for cell, none in zip(table.cells[class_column], empty, strict=True) if cell and not none}
        )
    named = [cell for cell in set(table.cells.get(class_column or "", ())) if cell and cell not in classes]
    options: dict[str, Any] = {"image_column": column, "box_columns": [lower[name] for name in names]}
    options |= {"box_layout": layout, "absent": "unknown"}
    if class_column is not None:
        options["class_column"] = class_column
    if class_column is not None and named:
        options |= {"empty_column": class_column, "empty_values": named}
    shares = all(
        _number(cell) is None or abs(_number(cell) or 0) <= 1 for name in names for cell in table.cells[lower[name]]
    )
    if shares:
        options["reference_size"] = "unit"
    comments = {
        "": f"guessed from the columns of {table.name}",
        "box_layout": f"guessed from the names {', '.join(names)}",
        "absent": "decide: is a class without a box in a listed image absent (negative) or not annotated (unknown)?",
        "reference_size": "guessed: no number is above 1, so that these are shares of the image",
        "empty_values": "guessed: these rows have no box",
    }
    if class_column is None:
        comments["classes"] = "decide: no column names a class; give the objects their name"
    return Task(task_with("boxes"), {"reader": "bbox_csv", **values, "options": options, "classes": classes}, comments)


def _findings(table: Table, column: str, values: Mapping[str, Any]) -> Task | None:
    """A table with all findings of an image in one column."""
    for name in table.columns:
        if name == column or not re.search(r"finding|label|diagnos|class|disease", name, re.IGNORECASE):
            continue
        cells = [cell for cell in table.cells[name] if cell]
        if not cells or all(_number(cell) is not None for cell in cells):
            continue
        separator = next((sign for sign in ("|", ";", ",") if any(sign in cell for cell in cells)), "|")
        trim = "[]'\" " if cells[0].startswith("[") else ""
        counts = Counter(
            part.strip().strip(trim).strip() for cell in cells for part in cell.strip(trim).split(separator)
        )
        counts.pop("", None)
        if len(counts) > max(200, len(cells) / 2):  # free text
            continue
        negative = [found for found in counts if found.lower() in NEGATIVE]
        classes = [found for found, _ in counts.most_common() if found not in negative]
        options = {"image_column": column, "findings_column": name, "separator": separator, "negative": negative}
        options |= {"trim": trim} if trim else {}
        options |= {"blank": "unknown"} if len(cells) < len(table) else {}
        comments = {
            "": f"guessed from the column {name!r} of {table.name}: {len(counts)} names",
            "negative": "guessed from the names; decide: which names say that no class is present?",
            "classes": "decide: all other names are classes now; move what says nothing to options.ignore, and what\n"
            "is another finding of an image that was searched for all classes to options.other",
            "blank": "decide: an empty cell may mean not read (unknown) or no finding (negative)",
        }
        if classes:
            task = {"reader": "findings_csv", **values, "options": options, "classes": classes}
            return Task(task_with("labels"), task, comments)
    return None


def _labels(table: Table, column: str, values: Mapping[str, Any]) -> Task | None:
    """A table with one column of 0 and 1 per class."""
    classes, blank, uncertain = [], False, False
    for name in table.columns:
        cells = set(table.cells[name])
        numbers = {_number(cell) for cell in cells if cell}
        if name == column or not numbers or not numbers <= {0.0, 1.0, -1.0}:
            continue
        classes.append(name)
        blank |= "" in cells
        uncertain |= -1.0 in numbers
    if not classes:
        return None
    options: dict[str, Any] = {"image_column": column}
    options |= {"blank": "unknown"} if blank else {}
    options |= {"uncertain": "ignore"} if uncertain else {}
    comments = {
        "": f"guessed from {table.name}: every column that holds nothing but 0, 1, -1 or nothing is a class",
        "classes": "decide: remove columns that are no findings",
        "blank": "decide: an empty cell may mean not read (unknown) or absent (negative)",
        "uncertain": "decide: -1 is taken as uncertain and counts as unknown; or zeros, ones, lsr_ones",
    }
    task = {"reader": "label_columns_csv", **values, "options": options, "classes": classes}
    return Task(task_with("labels"), task, comments)


def _patient_and_splits(table: Table, draft: Draft) -> None:
    """Columns of the patient and of the split."""
    for name in table.columns:
        distinct = set(table.cells[name])
        named = re.search(r"patient|subject|person", name, re.IGNORECASE)
        if draft.patient is None and named and len(distinct) > 1 and "" not in distinct:
            draft.patient = {"column": name}
            draft.comments["patient"] = (
                f"guessed from the column's name in {table.name}: {len(distinct):,} values in {len(table):,} rows.\n"
                "decide: is it the patient, and does every task's table have it?"
            )
        values = {cell for cell in table.cells[name] if cell}
        if draft.splits is None and len(values) > 1 and {cell.lower() for cell in values} <= SPLITS.keys():
            by_split: dict[str, list[str]] = {}
            for cell in sorted(values):
                by_split.setdefault(SPLITS[cell.lower()].value, []).append(cell)
            draft.splits = {"column": name, "values": by_split}
            draft.comments["splits"] = f"guessed from the values of {name!r} in {table.name}"


def _add_class_folders(view: FolderView, draft: Draft) -> None:
    """Folders of images side by side, one per class, perhaps below folders of splits."""
    folders = [folder for folder in view.images if folder and "mask" not in folder.lower()]
    tops: dict[str, list[str]] = {}
    for folder in folders:
        tops.setdefault(str(PurePosixPath(folder).parent), []).append(PurePosixPath(folder).name)
    tops = {top.removeprefix("."): sorted(names) for top, names in tops.items() if len(names) > 1}
    names = sorted({name for inner in tops.values() for name in inner})
    if not tops or {name.lower() for name in names} <= SPLITS.keys() or len(names) > 200:
        return
    negative = [name for name in names if name.lower() in NEGATIVE]
    classes = [name for name in names if name not in negative]
    if not classes:
        return
    values: dict[str, Any] = {"reader": "class_folders"}
    by_split = {top: SPLITS.get(PurePosixPath(top).name.lower()) for top in tops}
    if all(by_split.values()):
        values["parts"] = [{"images": top, "split": split.value} for top, split in by_split.items() if split]
    else:
        values["images"] = list(tops) if len(tops) > 1 else next(iter(tops))
    values |= {"options": {"negative": negative}, "classes": classes}
    comments = {
        "": "guessed from the names of the folders: each folder is a class",
        "negative": "guessed from the names; decide: which folders hold images without any class?",
        "classes": "decide: are all of these classes? options.ignore names folders to skip",
        "parts": "guessed from the names of the folders",
    }
    draft.tasks.append(Task(task_with("labels"), values, comments))


def _add_mask_folders(view: FolderView, draft: Draft) -> None:
    """Folders of masks whose files have the names of images."""
    masks = [folder for folder in view.images if "mask" in folder.lower()]
    stems = {
        os.path.splitext(name)[0]: folder
        for folder, names in view.images.items()
        for name in names
        if "mask" not in folder.lower()
    }
    folders, names = {}, Counter[str]()
    used: Counter[str] = Counter()
    for folder in masks:
        for file in view.images[folder][:2000]:
            stem, suffix = os.path.splitext(file)
            for ending in ("", "_mask", "-mask", "_seg"):
                image = stem.removesuffix(ending) if ending else stem
                if image in stems and stem == image + ending:
                    names[f"{{image_stem}}{ending}{suffix}"] += 1
                    folders[PurePosixPath(folder).name.capitalize()] = folder
                    used[stems[image]] += 1
                    break
    if not folders or any(task.name == task_with("masks") for task in draft.tasks):
        return
    values = {
        "reader": "mask_folder",
        "images": used.most_common(1)[0][0],
        "options": {"folders": folders, "mask_name": names.most_common(1)[0][0]},
        "classes": list(folders),
    }
    comments = {
        "": "guessed: files of these folders have the names of images",
        "classes": "decide: the classes are called like their folders; give them the names of what is drawn",
        "mask_name": "guessed from the names of the files; any value above 0 is foreground: options.positive names one",
    }
    draft.tasks.append(Task(task_with("masks"), values, comments))


def _add_unlabelled(view: FolderView, draft: Draft) -> None:
    """Images without any annotation that was recognised, for self-supervision."""
    if not view.images:
        raise CardError(str(view.path), f"nothing can be used: {'; '.join(draft.unused)}", "annotations", "see docs")
    suffixes = sorted({os.path.splitext(name)[1] for name in view.all_images()})
    values = {
        "reader": "name_pattern",
        "images": "**" if set(view.images) != {""} else "",
        "options": {"pattern": "()", "unknown": [""]},
        "classes": ["Unlabelled"],
    }
    comment = (
        f"no annotations were recognised: every image ({', '.join(suffixes)}) is there without labels, which serves\n"
    )
    comment += (
        "self_supervision. decide: name a reader and its file if there are annotations (foundationx data readers)"
    )
    draft.tasks.append(Task(task_with("labels"), values, {"": comment}))


def _patient_of_headers(view: FolderView, draft: Draft) -> None:
    """The patient in DICOM headers, if all of a sample have one."""
    others = IMAGE_SUFFIXES - {".dcm", ".dicom"}
    sample = [image for image in view.all_images() if os.path.splitext(image)[1].lower() not in others]
    sample = [sample[index] for index in range(0, len(sample), max(1, len(sample) // 50))][:50]
    patients: list[str] = []
    for image in sample:
        try:
            found = read_header(view.dataset, image, ("PatientID",), image).get("PatientID")
        except DataError:
            return
        patients.append(str(found or "").strip())
    if sample and all(patients):
        draft.patient = {"dicom": "PatientID"}
        draft.comments["patient"] = (
            f"guessed: all of {len(sample)} headers have a PatientID, {len(set(patients))} different ones.\n"
            "decide: is it the patient's, or the same or another one in every file?"
        )


def _merge(draft: Draft, task: Task) -> None:
    """Adds a task; a second file of the same form becomes a part, any other is named as unused."""
    known = next((other for other in draft.tasks if other.name == task.name), None)
    if known is None:
        draft.tasks.append(task)
        return
    if any(known.values.get(key) != task.values.get(key) for key in ("reader", "options")):
        draft.unused.append(f"{task.values['file']} ({task.name} is drafted from another file)")
        return
    parts = known.values.pop("parts", None) or [_part(known.values)]
    known.values["parts"] = [*parts, _part(task.values)]
    known.values["classes"] = list(dict.fromkeys([*known.values["classes"], *task.values["classes"]]))
    known.comments["parts"] = "guessed: files of one form; a split is guessed from a file's name"


def _part(values: dict[str, Any]) -> dict[str, Any]:
    """A task's file as one part; file, images and suffix leave the task."""
    part = {key: values.pop(key) for key in ("file", "images", "image_suffix") if key in values}
    words = re.split(r"[^a-z]+", str(part.get("file", "")).lower())
    split = next((SPLITS[word] for word in words if word in SPLITS), None)
    return part | ({"split": split.value} if split else {})


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _shown(cells: Sequence[str]) -> str:
    return ", ".join(list(dict.fromkeys(cells))[:2])
