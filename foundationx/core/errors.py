"""Errors for people: position, actual state, expected state, fix.

The command line prints them without a stack trace and ends with exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 1200
"""Longest part of a message in characters; a damaged file could otherwise fill one."""


class FoundationXError(Exception):
    """Base of every error that a user can fix.

    Args:
        where: File, and row or key in it (``findings.csv row 12``).
        found: What is wrong.
        expected: What would be right; empty if that is clear.
        fix: What the user can do.
    """

    def __init__(self, where: str, found: str, expected: str = "", fix: str = ""):
        self.where, self.found, self.expected, self.fix = map(_printable, (where, found, expected, fix))
        super().__init__(self.where, self.found, self.expected, self.fix)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.found}"]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def _printable(text: str) -> str:
    """The text as any terminal and file can show it; the middle of a very long one is left out."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... ({len(text):,} characters) ... {text[-half:]}"


class DataError(FoundationXError):
    """An annotation row, an image or a mask that cannot be used as it is."""


class CardError(FoundationXError):
    """A dataset card that does not follow the schema or contradicts itself."""


class RecipeError(FoundationXError):
    """A recipe of fusion, or a table of datasets, that cannot be used as it is."""


class ConfigError(FoundationXError):
    """A configuration with an unknown key, a wrong value or a combination that makes no sense."""


class ExtensionError(FoundationXError):
    """An extension (head, objective, reader, metric ...) that cannot be loaded, or two of one name."""


class CompileError(FoundationXError):
    """A part of the network that cannot be compiled, or is compiled more often than planned."""


class DivergenceError(FoundationXError):
    """Losses or gradients that are not finite, step after step."""


class DiskError(FoundationXError):
    """A disk that is full or cannot be written."""


class CheckpointError(FoundationXError):
    """A checkpoint that is missing, incomplete or does not fit the model."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint of which an entry is missing, of another type or shape, or not finite; an older one may serve."""


OF_THE_BASE = "`_delete_=True` beside `type` leaves out what a base configuration sets"
"""Advice where a part of the network was changed to another, which does not take the arguments of the first."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: ``did you mean 'x'?``, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
