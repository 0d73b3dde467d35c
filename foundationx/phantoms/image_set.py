"""Images that several annotation files share: their paths, patients and ground truth."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from foundationx.core.errors import CardError
from foundationx.core.types import Split
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.schema import template_fields
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.drawing import DrawnImage, draw_image
from foundationx.phantoms.expressions import example
from foundationx.phantoms.files import needed_size
from foundationx.phantoms.ground_truth import FindingAllocator, ImageTruth, concept_key, is_anatomy, wider_concepts
from foundationx.phantoms.names import Rule, file_name
from foundationx.phantoms.task_files import TaskFile, assigned_splits, concrete, split_in_path


class ImageSet:
    """Images for all annotation files that share them.

    Args:
        task_files: Annotation files that share the images.
        images: Least number of images over all folders and splits; more if every class everywhere requires more.
        size: Side in pixels; cards may prescribe another.
        seed: Seed; another one gives other images.

    Raises:
        CardError: An expression of a card cannot be imitated, or no name matches all of them.
    """

    def __init__(self, task_files: Sequence[TaskFile], images: int, size: int, seed: int):
        self.task_files, self._size, self._seed = tuple(task_files), size, seed
        self.cards = tuple({task_file.card.name: task_file.card for task_file in task_files}.values())
        self.root = task_files[0].card.root
        self._folders = tuple(dict.fromkeys(folder for task_file in task_files for folder in task_file.folders))
        self._first = zlib.crc32(f"{self.root} {self._folders} {seed}".encode())
        classes = [(item, task_file.vocabulary) for task_file in task_files for item in task_file.spec.classes]
        self._anatomy = sorted({concept_key(*pair) for pair in classes if is_anatomy(*pair)})
        widenings = {concept_key(*pair): wider_concepts(*pair) for pair in classes}
        self._allocator = FindingAllocator([task_file.label_space for task_file in task_files], widenings)
        self.images = self._make(images)
        self.paths: dict[int, str] = {}
        self._name_all()

    def variants(self, folder_index: int) -> int:
        """Number of annotation files or official splits that share a folder."""
        pattern = self._folders[folder_index]
        parts: dict[tuple[str, str], int] = {}
        for task_file in self.task_files:
            if pattern in task_file.folders:
                key = (task_file.card.name, task_file.task)
                parts[key] = parts.get(key, 0) + 1
        splits = [len(assigned_splits(card, concrete(pattern)[0])) for card in self.cards]
        return max([1, *parts.values(), *splits])

    def _make(self, count: int) -> list[ImageTruth]:
        cells = [(index, variant) for index in range(len(self._folders)) for variant in range(self.variants(index))]
        each = max(self._allocator.least, -(-count // len(cells)))
        random = np.random.default_rng([self._first, 1])
        images: list[ImageTruth] = []
        for folder_index, variant in cells:
            allocated = self._allocator.allocate(each, random)
            again = each > 4 and not self._patients_are_single()
            for index, (present, doubtful) in enumerate(allocated):
                # The last image of a folder shows the patient of the image before.
                same = again and index == each - 1
                number = len(images) + 1
                patient = images[-1].patient if same else number
                images.append(ImageTruth(number, patient, folder_index, variant, present, doubtful))
        if self._allocator.normal:
            images.append(ImageTruth(len(images) + 1, len(images) + 1, unlabelled=True))
        return images

    def _patients_are_single(self) -> bool:
        """Whether a joined table has one row per patient, so that a patient can have one image only."""
        patient = {card.patient.column for card in self.cards if card.patient}
        return any(set(join.on) <= patient for task_file in self.task_files for join in task_file.spec.join)

    def images_of(self, task_file: TaskFile) -> list[ImageTruth]:
        """Images of an annotation file."""
        chosen = []
        for image in self.images:
            folder = self._folders[image.folder_index]
            sharing = [
                other.index
                for other in self.task_files
                if (other.card.name, other.task) == (task_file.card.name, task_file.task) and folder in other.folders
            ]
            if folder in task_file.folders and sharing[image.variant % len(sharing)] == task_file.index:
                chosen.append(image)
        return chosen

    def folder(self, image: ImageTruth) -> str:
        """Folder of an image relative to the dataset's, without folders that encode labels."""
        folders = concrete(self._folders[image.folder_index])
        return folders[image.number % len(folders)]

    def split(self, card: Card, image: ImageTruth) -> Split | None:
        """Official split of an image by the card's ``splits``."""
        in_path, split = split_in_path(card, self.folder(image))
        splits = assigned_splits(card, self.folder(image))
        return split if in_path or not splits else splits[image.variant % len(splits)]

    def label(self, task_file: TaskFile, image: ImageTruth) -> str:
        """The label of an image in a layout with one label per image."""
        options = task_file.options
        unknown = getattr(options, "unknown", ())
        if image.unlabelled and unknown:
            return unknown[0]
        for item in task_file.spec.classes:
            if self.shows(task_file, image, item):
                return item.published[0]
        return options.negative[0]

    def shows(self, task_file: TaskFile, image: ImageTruth, item: ClassSpec) -> bool:
        """Whether a class is present in an image."""
        if item.polarity == "absence":
            name, vocabulary = item.canonical, task_file.vocabulary
            if name is None or name not in vocabulary or vocabulary[name].kind == "state":
                return not image.present
            kinds = (other for other in task_file.spec.classes if name in wider_concepts(other, vocabulary))
            return not image.present & {name, *(concept_key(other, vocabulary) for other in kinds)}
        return concept_key(item, task_file.vocabulary) in image.present or is_anatomy(item, task_file.vocabulary)

    def _name_all(self) -> None:
        """Sets the path of each image relative to the dataset's folder, by its number. File names are unique."""
        used: set[str] = set()
        for image in self.images:
            template, suffix = self.task_files[0].spec.image_path, self._suffix(image)
            folder = "/".join(part for part in (self.folder(image), self._label_folder(image)) if part)
            if template is not None:
                name = template.format_map(self.template_cells(self.task_files[0], image))
                candidates = iter([name + suffix])
            else:
                candidates = file_name(folder, self._rules(image), suffix, image.patient, image.number)
            paths = (f"{folder}/{name}" if folder else name for name in candidates)
            path = next((path for path in paths if path.rpartition("/")[2] not in used), None)
            if path is None:
                keys = ", ".join(rule.key for rule in self._rules(image)) or f"{self.task_files[0].where}.image_path"
                raise CardError(keys, "no file name matches", "expressions that one name can match", "simplify them")
            used.add(path.rpartition("/")[2])
            self.paths[image.number] = path

    def _suffix(self, image: ImageTruth) -> str:
        """Suffix that the cards append to the names of an image's folder."""
        task_files = (
            task_file for task_file in self.task_files if self._folders[image.folder_index] in task_file.folders
        )
        return next((task_file.part.image_suffix for task_file in task_files if task_file.part.image_suffix), "")

    def _label_folder(self, image: ImageTruth) -> str:
        by_folder = (task_file for task_file in self.task_files if task_file.capabilities.label_in == "folder")
        return next((self.label(task_file, image) for task_file in by_folder), "")

    def _rules(self, image: ImageTruth) -> list[Rule]:
        """Expressions by which the cards read the path of an image."""
        rules = []
        for card in self.cards:
            if card.patient is not None and card.patient.pattern is not None:
                rules.append(Rule(f"{card.file}: patient.pattern", card.patient.pattern))
            if card.splits is not None and card.splits.pattern is not None:
                split = self.split(card, image)
                fixed = split_in_path(card, self.folder(image))[0]
                value = None if fixed or split is None else card.splits.values[split][0]
                rules.append(Rule(f"{card.file}: splits.pattern", card.splits.pattern, value))
        for task_file in self.task_files:
            if task_file.capabilities.label_in == "name":
                label = self.label(task_file, image)
                rules.append(Rule(f"{task_file.where}.options.pattern", task_file.options.pattern, label))
        return list(dict.fromkeys(rules))

    def template_cells(self, task_file: TaskFile, image: ImageTruth) -> dict[str, str]:
        """Cells of the columns that form an image's path, including its name and its patient."""
        template = task_file.spec.image_path
        fields = template_fields(template) if template else ()
        cells = dict.fromkeys(fields, f"{image.number:05d}")
        name = task_file.options.image_column if hasattr(task_file.options, "image_column") else None
        row = task_file.spec.table.row_column
        if row in cells:
            numbers = sorted(other.number for other in self.images_of(task_file))
            cells[row] = str(numbers.index(image.number))
        if name in cells and name != row:
            cells[name] = f"{image.patient:05d}_{image.number:03d}{'' if self._suffix(image) else '.png'}"
        if task_file.card.patient is not None and task_file.card.patient.column in cells:
            cells[task_file.card.patient.column] = self.patient(task_file.card, image)
        return cells

    def patient(self, card: Card, image: ImageTruth) -> str:
        """The patient of an image in the card's files: as in the path, if a card of the namespace reads it there."""
        namespace = card.patient.namespace if card.patient is not None else None
        for other in self.cards if image.number in self.paths else ():
            if other.patient is None or other.patient.pattern is None:
                continue
            match = re.search(other.patient.pattern, self.paths[image.number])
            if match is not None and (other.patient.namespace or other.name) == (namespace or card.name):
                return match.group(1)
        others = list(card.patient.namespaces.values()) if card.patient is not None else []
        chosen = image.patient % (len(others) + 1)
        if chosen == 0:
            return f"{image.patient:05d}"
        return example(others[chosen - 1], image.patient, image.patient)

    def draw(self, image: ImageTruth) -> DrawnImage:
        """Draws an image, before it is resized as the cards require."""
        return draw_image(self._first + image.patient, image.number, self._size, image.present, self._anatomy)

    def shape(self, image: ImageTruth) -> tuple[int, int]:
        """Height and width in pixels."""
        suffix = "." + self.paths[image.number].rpartition(".")[2]
        sizes = {size for task_file in self.task_files if (size := task_file.capabilities.size(task_file.options))}
        sizes |= {size for size in [needed_size(suffix)] if size}
        if len(sizes) > 1:
            raise CardError(
                self.task_files[0].where,
                f"images would have the sizes {sorted(sizes)}",
                "one size",
                "correct height and width in the card",
            )
        return next(iter(sizes), (self._size, self._size))
