"""Texts that match a regular expression, for names of files.

``parse`` reads the part of Python's syntax that cards use: literals, character sets, groups, alternatives, repetitions
and anchors. Look-around, back-references, conditions and flags are refused.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DIGITS = 5
"""Digits of a number whose length an expression leaves open."""

_LONGEST = 40
"""Most characters for one repetition."""

_SIGNS = string.digits + string.ascii_letters + "_-. " + string.punctuation
"""Characters of file names, the preferred first."""


@dataclass(frozen=True)
class Characters:
    """One character out of a set.

    Attributes:
        ranges: First and last character of every range.
        classes: Letters of classes such as ``d`` for ``\\d``.
        negated: Whether the set holds all other characters.
    """

    ranges: tuple[tuple[str, str], ...] = ()
    classes: str = ""
    negated: bool = False

    def allows(self, sign: str) -> bool:
        """Whether a character is in the set."""
        inside = any(first <= sign <= last for first, last in self.ranges)
        return self.negated != (inside or any(_in_class(sign, letter) for letter in self.classes))


@dataclass(frozen=True)
class Anchor:
    """A position, such as the start of the text."""


@dataclass(frozen=True)
class Group:
    """A part in parentheses."""

    content: Items
    capturing: bool


@dataclass(frozen=True)
class Branch:
    """Alternatives."""

    alternatives: tuple[Items, ...]


@dataclass(frozen=True)
class Repeat:
    """A repetition; ``most`` is None if it is open."""

    content: Items
    least: int
    most: int | None


Item = Characters | Anchor | Group | Branch | Repeat
Items = tuple[Item, ...]


def _in_class(sign: str, letter: str) -> bool:
    member = {"d": sign.isdigit(), "w": sign.isalnum() or sign == "_", "s": sign.isspace()}[letter.lower()]
    return member == letter.islower()


def parse(expression: str) -> Items:
    """Reads a regular expression.

    Raises:
        ValueError: The expression uses something beyond the supported syntax.
    """
    parser = _Parser(expression)
    items = parser.alternatives()
    if parser.position < len(expression):
        raise ValueError("an unbalanced parenthesis cannot be imitated")
    return items


class _Parser:
    """Recursive descent over the text of an expression."""

    def __init__(self, text: str):
        self.text, self.position = text, 0

    def _next(self, token: str) -> bool:
        """Whether the text goes on with a token, which is then consumed."""
        if self.text.startswith(token, self.position):
            self.position += len(token)
            return True
        return False

    def _take(self) -> str:
        if self.position >= len(self.text):
            raise ValueError("an expression that ends early cannot be imitated")
        self.position += 1
        return self.text[self.position - 1]

    def alternatives(self) -> Items:
        """Items up to the end of the text or group."""
        choices = [self._sequence()]
        while self._next("|"):
            choices.append(self._sequence())
        if len(choices) == 1:
            return choices[0]
        prefix: list[Item] = []
        while all(choices) and len({items[0] for items in choices}) == 1:
            prefix.append(choices[0][0])
            choices = [items[1:] for items in choices]
        single = [items[0] for items in choices if len(items) == 1 and isinstance(items[0], Characters)]
        sets = [item for item in single if isinstance(item, Characters) and not item.negated]
        if len(sets) == len(choices):
            ranges = tuple(pair for item in sets for pair in item.ranges)
            return (*prefix, Characters(ranges, "".join(item.classes for item in sets)))
        return (*prefix, Branch(tuple(choices)))

    def _sequence(self) -> Items:
        items: list[Item] = []
        while self.position < len(self.text) and self.text[self.position] not in "|)":
            items.append(self._repeated(self._item()))
        return tuple(items)

    def _item(self) -> Item:
        sign = self._take()
        if sign in "^$":
            return Anchor()
        if sign == ".":
            return Characters(negated=True)
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._set()
        return self._escaped() if sign == "\\" else Characters(((sign, sign),))

    def _escaped(self) -> Item:
        sign = self._take()
        if sign in "AbBZ":
            return Anchor()
        if sign in "dDsSwW":
            return Characters(classes=sign)
        if sign.isalnum():
            raise ValueError(f"\\{sign} cannot be imitated")
        return Characters(((sign, sign),))

    def _group(self) -> Group:
        capturing = not self._next("?:")
        if self._next("?P<"):
            while self._take() != ">":
                pass
        elif self._next("?"):
            raise ValueError("looking ahead or back, conditions and flags cannot be imitated")
        content = self.alternatives()
        if not self._next(")"):
            raise ValueError("an unbalanced parenthesis cannot be imitated")
        return Group(content, capturing)

    def _set(self) -> Characters:
        negated, ranges, classes = self._next("^"), [], ""
        if self._next("]"):  # the first one is a member
            ranges.append(("]", "]"))
        while not self._next("]"):
            member = self._member()
            if len(member) == 2:
                classes += member[1]
            elif self._next("-"):
                if self._next("]"):
                    return Characters((*ranges, (member, member), ("-", "-")), classes, negated)
                ranges.append((member, self._member()))
            else:
                ranges.append((member, member))
        return Characters(tuple(ranges), classes, negated)

    def _member(self) -> str:
        """A character of a set, or a class with its backslash."""
        sign = self._take()
        if sign != "\\":
            return sign
        sign = self._take()
        return f"\\{sign}" if sign in "dDsSwW" else sign

    def _repeated(self, item: Item) -> Item:
        limits = self._limits()
        if limits is None:
            return item
        _ = self._next("?") or self._next("+")
        plain = isinstance(item, Group) and not item.capturing
        return Repeat(item.content if isinstance(item, Group) and plain else (item,), *limits)

    def _limits(self) -> tuple[int, int | None] | None:
        """Least and most repetitions, if the text goes on with a repetition."""
        for token, limits in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(token):
                return limits
        end = self.text.find("}", self.position)
        if not self.text.startswith("{", self.position) or end < 0:
            return None
        first, comma, second = self.text[self.position + 1 : end].partition(",")
        if not (first + second).isdigit():
            return None
        self.position = end + 1
        least = int(first or 0)
        return least, (int(second) if second else None) if comma else least


def example(expression: str, inside: int, outside: int, value: str | None = None) -> str:
    """A text that matches a regular expression, made of numbers.

    Repetitions become a number with leading zeros; of alternatives the first is used, and optional parts are omitted.

    Args:
        expression: Regular expression with one group.
        inside: Number to use inside the group.
        outside: Number to use elsewhere.
        value: Text of the group; None to make it of ``inside``.

    Raises:
        ValueError: The expression uses something that cannot be imitated (look-around, conditions).
    """
    return "".join(_texts(parse(expression), inside, outside, value, False))


def _texts(items: Items, inside: int, outside: int, value: str | None, in_group: bool) -> Iterator[str]:
    """Text of each item."""
    number = inside if in_group else outside
    for item in items:
        if isinstance(item, Group):
            if item.capturing and value is not None:
                yield value
            else:
                yield from _texts(item.content, inside, outside, value, in_group or item.capturing)
        elif isinstance(item, Branch):
            yield from _texts(_chosen(item), inside, outside, value, in_group)
        elif isinstance(item, Characters):
            yield _repeated_number(item, 1, 1, number)
        elif isinstance(item, Repeat):
            only = item.content[0] if len(item.content) == 1 else None
            if isinstance(only, Characters):
                yield _repeated_number(only, item.least, item.most, number)
            else:
                for _ in range(item.least):
                    yield from _texts(item.content, inside, outside, value, in_group)


def _chosen(branch: Branch) -> Items:
    """The first alternative that is more than an anchor, else the first."""
    useful = (items for items in branch.alternatives if any(not isinstance(item, Anchor) for item in items))
    return next(useful, branch.alternatives[0])


def _repeated_number(characters: Characters, least: int, most: int | None, number: int) -> str:
    """A number written with allowed characters; other allowed characters if digits are not allowed."""
    signs = [sign for sign in _SIGNS if characters.allows(sign)]
    if not signs:
        raise ValueError("a character that no file name has cannot be imitated")
    if len(set(signs)) == 1:
        return signs[0] * least
    if least == 0 and most is not None:
        return ""
    length = max(least, DIGITS) if most is None else max(least, min(most, DIGITS))
    if length > _LONGEST:
        raise ValueError(f"a repetition of {length} characters cannot be imitated")
    if not set(string.digits) <= set(signs):
        return _in_base(number, signs, length)
    return str(number).zfill(length)


def _in_base(number: int, signs: Sequence[str], length: int) -> str:
    """A number in positional notation with other signs than digits."""
    text = ""
    for _ in range(length):
        number, rest = divmod(number, len(signs))
        text = signs[rest] + text
    return text
