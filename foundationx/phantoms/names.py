"""File names that match a card's regular expressions with given values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from foundationx.core.errors import CardError
from foundationx.phantoms.expressions import example


@dataclass(frozen=True)
class Rule:
    """An expression that a file's path must match.

    Attributes:
        key: Key of the card, for messages (``patient.pattern``).
        expression: Regular expression with one group.
        value: Required text of the group; None for any.
    """

    key: str
    expression: str
    value: str | None = None

    def matches(self, path: str) -> bool:
        """Whether the expression reads the value from a path."""
        match = re.search(self.expression, path)
        return match is not None and bool(match.group(1)) and self.value in (None, match.group(1))


def file_name(folder: str, rules: Sequence[Rule], suffix: str, patient: int, number: int) -> Iterator[str]:
    """Candidates for the name of an image file, with suffix, that match all rules; the best first.

    Args:
        folder: Folder of the file relative to the dataset's folder.
        rules: Expressions that the path must match.
        suffix: Required suffix; if empty and no rule implies one, ``.png``.
        patient: Number of the patient; the names of a patient's images share it if the rules allow it.
        number: Number of the image, which is unique.

    Raises:
        CardError: An expression cannot be imitated.
    """
    for inside in (patient, number):
        texts = []
        for rule in rules:
            try:
                texts.append((rule, example(rule.expression, inside, number, rule.value)))
            except (ValueError, RecursionError) as error:
                found, fix = f"{rule.expression!r}: {error}", "simplify the expression"
                raise CardError(rule.key, found, "a simpler expression", fix) from None
        texts.sort(key=lambda item: -len(item[1]))
        for name in _candidates([text for _, text in texts if text], suffix, inside, number):
            path = f"{folder}/{name}" if folder else name
            if all(rule.matches(path) for rule in rules):
                yield name


def _candidates(texts: Sequence[str], suffix: str, patient: int, number: int) -> Iterator[str]:
    """Texts of single rules and of several joined, then a plain name, each with the suffix."""
    end = suffix or ".png"
    for count in range(1, min(len(texts), 3) + 1):
        texts_joined = [
            glue.join(chosen) for chosen in permutations(texts, count) for glue in ("", f"{number:03d}")[:count]
        ]
        for joined in texts_joined:
            last = joined.rpartition("/")[2]
            if re.search(r"[^.]\.[A-Za-z]\w*$", last) and last.endswith(suffix):
                yield from dict.fromkeys((last, joined.lstrip("/")))
            else:
                apart = "" if joined.endswith(("_", "-", "/")) else "_"
                yield f"{joined.lstrip('/')}{apart}{number:03d}{end}"
                yield f"{number:03d}{'' if joined.startswith(('_', '-', '/')) else '_'}{joined}{end}"
    yield f"{patient:05d}_{number:03d}{end}"
