"""Films that several annotation files share: where they stand, whose they are, and what they show."""

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
from foundationx.phantoms.files import needed_size
from foundationx.phantoms.marks import Picture, draw
from foundationx.phantoms.names import Rule, example, file_name
from foundationx.phantoms.slots import Slot, concrete, dealt_sides, side_in_path
from foundationx.phantoms.truth import Deal, Film, is_anatomy, meaning, wider


class Pool:
    """The images of one place, made for all annotation files that read them.

    Args:
        slots: that share the images.
        films: to make at least, over all places and sides; more where it takes more to show every class everywhere.
        size: side in pixels; cards may hold images to another one.
        seed: draws other films.

    Raises:
        CardError: an expression of a card cannot be imitated, or no name fits all of them.
    """

    def __init__(self, slots: Sequence[Slot], films: int, size: int, seed: int):
        self.slots, self._size, self._seed = tuple(slots), size, seed
        self.cards = tuple({slot.card.name: slot.card for slot in slots}.values())
        self.root = slots[0].card.root
        self._places = tuple(dict.fromkeys(place for slot in slots for place in slot.places))
        self._first = zlib.crc32(f"{self.root} {self._places} {seed}".encode())
        classes = [(item, slot.vocabulary) for slot in slots for item in slot.spec.classes]
        self._anatomy = sorted({meaning(*pair) for pair in classes if is_anatomy(*pair)})
        self._deal = Deal([slot.choice for slot in slots], {meaning(*pair): wider(*pair) for pair in classes})
        self.films = self._make(films)
        self.paths: dict[int, str] = {}
        self._name_all()

    def variants(self, place: int) -> int:
        """How many annotation files or official sides share a place."""
        pattern = self._places[place]
        parts: dict[tuple[str, str], int] = {}
        for slot in self.slots:
            if pattern in slot.places:
                key = (slot.card.name, slot.task)
                parts[key] = parts.get(key, 0) + 1
        sides = [len(dealt_sides(card, concrete(pattern)[0])) for card in self.cards]
        return max([1, *parts.values(), *sides])

    def _make(self, count: int) -> list[Film]:
        cells = [(place, variant) for place in range(len(self._places)) for variant in range(self.variants(place))]
        each = max(self._deal.least, -(-count // len(cells)))
        random = np.random.default_rng([self._first, 1])
        films: list[Film] = []
        for place, variant in cells:
            found = self._deal.findings(each, random)
            again = each > 4 and not self._patients_are_single()
            for index, (present, doubtful) in enumerate(found):
                # The last film of a place is another one of the patient before.
                same = again and index == each - 1
                number = len(films) + 1
                patient = films[-1].patient if same else number
                films.append(Film(number, patient, place, variant, present, doubtful))
        if self._deal.normal:
            films.append(Film(len(films) + 1, len(films) + 1, unread=True))
        return films

    def _patients_are_single(self) -> bool:
        """Whether a joined table has one row a patient, so that a patient can have one image only."""
        patient = {card.patient.column for card in self.cards if card.patient}
        return any(set(join.on) <= patient for slot in self.slots for join in slot.spec.join)

    def films_of(self, slot: Slot) -> list[Film]:
        """Films that an annotation file is about."""
        found = []
        for film in self.films:
            place = self._places[film.place]
            rivals = [
                other.index
                for other in self.slots
                if (other.card.name, other.task) == (slot.card.name, slot.task) and place in other.places
            ]
            if place in slot.places and rivals[film.variant % len(rivals)] == slot.index:
                found.append(film)
        return found

    def folder(self, film: Film) -> str:
        """Folder of a film relative to the dataset's, without those that stand for labels."""
        folders = concrete(self._places[film.place])
        return folders[film.number % len(folders)]

    def side(self, card: Card, film: Film) -> Split | None:
        """Official side of a film by the card's ``splits``."""
        found, side = side_in_path(card, self.folder(film))
        sides = dealt_sides(card, self.folder(film))
        return side if found or not sides else sides[film.variant % len(sides)]

    def label(self, slot: Slot, film: Film) -> str:
        """The one word for a film, where a layout has one."""
        options = slot.options
        unknown = getattr(options, "unknown", ())
        if film.unread and unknown:
            return unknown[0]
        for item in slot.spec.classes:
            if self.shows(slot, film, item):
                return item.published[0]
        return options.negative[0]

    def shows(self, slot: Slot, film: Film, item: ClassSpec) -> bool:
        """Whether a class is present in a film."""
        if item.polarity == "absence":
            concept = slot.vocabulary[item.canonical].kind if item.canonical in slot.vocabulary else "state"
            return not film.present if concept == "state" else item.canonical not in film.present
        return meaning(item, slot.vocabulary) in film.present or is_anatomy(item, slot.vocabulary)

    def _name_all(self) -> None:
        """Sets the path of each film relative to the dataset's folder, by its number. No two files have one name."""
        taken: set[str] = set()
        for film in self.films:
            template, suffix = self.slots[0].spec.image_path, self._suffix(film)
            folder = "/".join(part for part in (self.folder(film), self._label_folder(film)) if part)
            if template is not None:
                name = template.format_map(self.template_cells(self.slots[0], film))
                candidates = iter([name + suffix])
            else:
                candidates = file_name(folder, self._rules(film), suffix, film.patient, film.number)
            found = (f"{folder}/{name}" if folder else name for name in candidates)
            path = next((path for path in found if path.rpartition("/")[2] not in taken), None)
            if path is None:
                keys = ", ".join(rule.key for rule in self._rules(film)) or f"{self.slots[0].where}.image_path"
                raise CardError(keys, "no name of a file fits", "expressions that one name can match", "simplify them")
            taken.add(path.rpartition("/")[2])
            self.paths[film.number] = path

    def _suffix(self, film: Film) -> str:
        """What the cards put behind the names of a film's place."""
        slots = (slot for slot in self.slots if self._places[film.place] in slot.places)
        return next((slot.part.image_suffix for slot in slots if slot.part.image_suffix), "")

    def _label_folder(self, film: Film) -> str:
        found = [self.label(slot, film) for slot in self.slots if slot.manner.label_in == "folder"]
        return found[0] if found else ""

    def _rules(self, film: Film) -> list[Rule]:
        """What the cards read from the path of a film."""
        rules = []
        for card in self.cards:
            if card.patient is not None and card.patient.pattern is not None:
                rules.append(Rule(f"{card.file}: patient.pattern", card.patient.pattern))
            if card.splits is not None and card.splits.pattern is not None:
                side = self.side(card, film)
                fixed = side_in_path(card, self.folder(film))[0]
                value = None if fixed or side is None else card.splits.values[side][0]
                rules.append(Rule(f"{card.file}: splits.pattern", card.splits.pattern, value))
        for slot in self.slots:
            if slot.manner.label_in == "name":
                label = self.label(slot, film)
                rules.append(Rule(f"{slot.where}.options.pattern", slot.options.pattern, label))
        return list(dict.fromkeys(rules))

    def template_cells(self, slot: Slot, film: Film) -> dict[str, str]:
        """Cells of the columns that make a film's path, those of its name and its patient among them."""
        template = slot.spec.image_path
        fields = template_fields(template) if template else ()
        cells = dict.fromkeys(fields, f"{film.number:05d}")
        name = slot.options.image_column if hasattr(slot.options, "image_column") else None
        if name in cells:
            cells[name] = f"{film.patient:05d}_{film.number:03d}{'' if self._suffix(film) else '.png'}"
        if slot.card.patient is not None and slot.card.patient.column in cells:
            cells[slot.card.patient.column] = self.patient(slot.card, film)
        return cells

    def patient(self, card: Card, film: Film) -> str:
        """The patient of a film as the card's files write it: as in the path, where a card of the namespace says so."""
        namespace = card.patient.namespace or card.name
        for other in self.cards if film.number in self.paths else ():
            if other.patient and other.patient.pattern and (other.patient.namespace or other.name) == namespace:
                return re.search(other.patient.pattern, self.paths[film.number]).group(1)
        others = list(card.patient.namespaces.values())
        chosen = film.patient % (len(others) + 1)
        if chosen == 0:
            return f"{film.patient:05d}"
        return example(others[chosen - 1], film.patient, film.patient)

    def picture(self, film: Film) -> Picture:
        """The film as it is drawn, before it gets the size that the cards ask for."""
        return draw(self._first + film.patient, film.number, self._size, film.present, self._anatomy)

    def shape(self, film: Film) -> tuple[int, int]:
        """Height and width in pixels."""
        suffix = "." + self.paths[film.number].rpartition(".")[2]
        wanted = {size for slot in self.slots if (size := slot.manner.size(slot.options))}
        wanted |= {size for size in [needed_size(suffix)] if size}
        if len(wanted) > 1:
            raise CardError(self.slots[0].where, f"images would have the sizes {sorted(wanted)}", "one size")
        return next(iter(wanted), (self._size, self._size))
