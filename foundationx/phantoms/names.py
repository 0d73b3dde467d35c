"""Names of files that a card's regular expressions read as they are meant to be read."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from re import _constants as codes
from re import _parser

from foundationx.core.errors import CardError

DIGITS = 5
"""Digits of a number whose length an expression leaves open."""

_LONGEST = 40
"""Characters that an open repetition is filled with at most."""


@dataclass(frozen=True)
class Rule:
    """An expression that a file's path must match.

    Attributes:
        key: of the card, for messages (``patient.pattern``).
        expression: with one group.
        value: what the group must hold; None where anything will do.
    """

    key: str
    expression: str
    value: str | None = None

    def holds(self, path: str) -> bool:
        """Whether a path is read as it is meant."""
        match = re.search(self.expression, path)
        return match is not None and bool(match.group(1)) and self.value in (None, match.group(1))


def example(expression: str, inside: int, outside: int, value: str | None = None) -> str:
    """A text that matches a regular expression, made of numbers.

    Repetitions become a number, with leading zeros; of alternatives the first is taken, and optional parts are left
    out.

    Args:
        expression: with one group.
        inside: number that stands in the group.
        outside: number that stands elsewhere.
        value: text of the group; made of ``inside`` where it is None.

    Raises:
        ValueError: the expression uses something that cannot be imitated (looking ahead, conditions).
    """
    return "".join(_texts(_parser.parse(expression), inside, outside, value, False))


def _texts(items: Sequence, inside: int, outside: int, value: str | None, in_group: bool) -> Iterator[str]:
    """Text of each item of a parsed expression."""
    number = inside if in_group else outside
    for code, given in items:
        if code is codes.AT:
            continue
        if code is codes.SUBPATTERN:
            group, _, _, content = given
            if group is not None and value is not None:
                yield value
            else:
                yield from _texts(content, inside, outside, value, in_group or group is not None)
        elif code is codes.BRANCH:
            yield from _texts(_branch(given[1]), inside, outside, value, in_group)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            least, most, content = given
            if len(content) == 1 and content[0][0] in (codes.IN, codes.ANY, codes.NOT_LITERAL):
                yield _repeated(_allowed(content), least, most, number)
            else:
                for _ in range(least):
                    yield from _texts(content, inside, outside, value, in_group)
        else:
            yield _repeated(_allowed([(code, given)]), 1, 1, number)


def _branch(branches: Sequence) -> Sequence:
    """The first alternative that is more than an anchor, else the first."""
    return next((branch for branch in branches if any(code is not codes.AT for code, _ in branch)), branches[0])


def _allowed(items: Sequence) -> Callable[[str], bool]:
    """Whether a character matches a parsed expression of one character."""
    code, given = items[0]
    if code is codes.LITERAL:
        return lambda sign: ord(sign) == given
    if code is codes.NOT_LITERAL:
        return lambda sign: ord(sign) != given
    if code is codes.ANY:
        return lambda sign: True
    if code is not codes.IN:
        raise ValueError(f"{str(code).lower()} cannot be imitated")
    inverted = given[0][0] is codes.NEGATE
    return lambda sign: inverted != any(_in_set(sign, *part) for part in given[inverted:])


def _in_set(sign: str, code: object, given: object) -> bool:
    if code is codes.LITERAL:
        return ord(sign) == given
    if code is codes.RANGE:
        return given[0] <= ord(sign) <= given[1]
    category = {
        codes.CATEGORY_DIGIT: sign.isdigit(),
        codes.CATEGORY_WORD: sign.isalnum() or sign == "_",
        codes.CATEGORY_SPACE: sign.isspace(),
    }
    opposite = {
        codes.CATEGORY_NOT_DIGIT: not sign.isdigit(),
        codes.CATEGORY_NOT_WORD: not (sign.isalnum() or sign == "_"),
        codes.CATEGORY_NOT_SPACE: not sign.isspace(),
    }
    return (category | opposite)[given]


def _repeated(allowed: Callable[[str], bool], least: int, most: int, number: int) -> str:
    """A number written with allowed characters; other allowed characters where digits are not."""
    signs = [sign for sign in string.digits + string.ascii_letters + "_-. " + string.punctuation if allowed(sign)]
    if not signs:
        raise ValueError("a character that no file name has cannot be imitated")
    if len(signs) == 1:
        return signs[0] * least
    open_ended = most is codes.MAXREPEAT
    if least == 0 and not open_ended:
        return ""
    length = max(least, DIGITS) if open_ended else max(least, min(most, DIGITS))
    if length > _LONGEST:
        raise ValueError(f"a repetition of {length} characters cannot be imitated")
    if not set(string.digits) <= set(signs):
        return _in_base(number, signs, length)
    return str(number).zfill(length)


def _in_base(number: int, signs: Sequence[str], length: int) -> str:
    """A number with other signs than digits."""
    text = ""
    for _ in range(length):
        number, rest = divmod(number, len(signs))
        text = signs[rest] + text
    return text


def file_name(folder: str, rules: Sequence[Rule], suffix: str, patient: int, film: int) -> Iterator[str]:
    """Names of a film's file, suffix and all, that all rules read as they are meant; the best first.

    Args:
        folder: in which the file will stand, relative to the dataset's.
        rules: on the path.
        suffix: that the name must end with; ``.png`` where neither it nor a rule says anything else.
        patient: number of the patient, which names of one patient share where a rule lets them.
        film: number of the film, which no other film has.

    Raises:
        CardError: an expression cannot be imitated.
    """
    for inside in (patient, film):
        texts = []
        for rule in rules:
            try:
                texts.append((rule, example(rule.expression, inside, film, rule.value)))
            except (ValueError, RecursionError) as error:
                raise CardError(rule.key, f"{rule.expression!r}: {error}", "a simpler expression") from None
        texts.sort(key=lambda item: -len(item[1]))
        for name in _candidates([text for _, text in texts if text], suffix, inside, film):
            path = f"{folder}/{name}" if folder else name
            if all(rule.holds(path) for rule in rules):
                yield name


def _candidates(texts: Sequence[str], suffix: str, patient: int, film: int) -> Iterator[str]:
    """Texts of the rules alone and together, then a plain name, each with the suffix."""
    end = suffix or ".png"
    for count in range(1, min(len(texts), 3) + 1):
        wholes = [glue.join(chosen) for chosen in permutations(texts, count) for glue in ("", f"{film:03d}")[:count]]
        for whole in wholes:
            last = whole.rpartition("/")[2]
            if re.search(r"[^.]\.[A-Za-z]\w*$", last) and last.endswith(suffix):
                yield from dict.fromkeys((last, whole.lstrip("/")))
            else:
                apart = "" if whole.endswith(("_", "-", "/")) else "_"
                yield f"{whole.lstrip('/')}{apart}{film:03d}{end}"
                yield f"{film:03d}{'' if whole.startswith(('_', '-', '/')) else '_'}{whole}{end}"
    yield f"{patient:05d}_{film:03d}{end}"
