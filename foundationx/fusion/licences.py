"""What the name of a licence says. Only licences that everybody knows are read; the rest is unknown, not guessed."""

from __future__ import annotations

import re

from foundationx.fusion.spellings import compact

_FREE = ("mit", "apache", "bsd", "cc0", "pddl", "odcby", "publicdomain")
_CREATIVE_COMMONS = re.compile(
    r"(cc|creativecommons)(by|attribution)(?P<nc>nc|noncommercial)?(?P<sa>sa|sharealike)?(?P<nd>nd|noderiv)?"
)


def permissions_of(licence: str | None) -> tuple[str, str]:
    """Redistribution and commercial use (yes, no, unknown) as the name of a licence says them.

    Creative Commons licences all allow to pass the data on (``ND`` unchanged only); ``NC`` forbids commercial use.
    Where several licences are named, the strictest counts.
    """
    names = [compact(name) for name in re.split(r"[,;]", licence or "")]
    terms = [_CREATIVE_COMMONS.match(name) for name in names]
    if not all(term or name.startswith(_FREE) for term, name in zip(terms, names, strict=True)):
        return "unknown", "unknown"
    return "yes", "no" if any(term and term["nc"] for term in terms) else "yes"


def conditions_of(licence: str | None, spdx: str | None) -> tuple[str, ...]:
    """Conditions that a Creative Commons licence puts on what is made of the data, in words."""
    term = _CREATIVE_COMMONS.match(compact(spdx or licence or ""))
    if term is None:
        return ()
    said = {
        "no commercial use": term["nc"],
        "adaptations under the same licence": term["sa"],
        "no adaptations are passed on": term["nd"],
    }
    return ("the source is named", *(condition for condition, holds in said.items() if holds))


def same_licence(one: str, other: str) -> bool:
    """Whether two spellings name one licence: ``CC BY 4.0`` and ``CC-BY-4.0``. Versions differ."""
    return compact(one) == compact(other)
