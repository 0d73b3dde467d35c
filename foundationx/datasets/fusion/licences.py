"""Permissions and conditions by the name of a licence. Only common licences are known; the others stay unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foundationx.datasets.cards.spdx import holds, identifiers, licence_ref
from foundationx.datasets.fusion.aliases import compact
from foundationx.datasets.fusion.record import Record

SAME_LICENCE = "adaptations under the same licence"
"""The condition ``SA`` (share alike)."""

_FREE = ("mit", "apache", "bsd", "cc0", "pddl", "odcby", "publicdomain")
_CREATIVE_COMMONS = re.compile(
    r"(cc|creativecommons)(by|attribution)(?P<nc>nc|noncommercial)?(?P<sa>sa|sharealike)?(?P<nd>nd|noderiv)?"
)


def permissions_of(licence: str | None) -> tuple[str, str]:
    """Redistribution and commercial use (yes, no, unknown) by the name of a licence.

    All Creative Commons licences allow redistribution (``ND``: only unchanged); ``NC`` forbids commercial use. If
    several licences are named, the strictest counts.
    """
    names = [compact(name) for name in re.split(r"[,;]", licence or "")]
    terms = [_CREATIVE_COMMONS.match(name) for name in names]
    if not all(term or name.startswith(_FREE) for term, name in zip(terms, names, strict=True)):
        return "unknown", "unknown"
    return "yes", "no" if any(term and term["nc"] for term in terms) else "yes"


def conditions_of(licence: str | None, spdx: str | None) -> tuple[str, ...]:
    """Conditions of Creative Commons licences on works based on the data, in words."""
    terms = _terms(licence, spdx)
    if not terms:
        return ()
    words = {"nc": "no commercial use", "sa": SAME_LICENCE, "nd": "no adaptations are passed on"}
    return ("the source is named", *(text for key, text in words.items() if any(term[key] for term in terms)))


def _terms(licence: str | None, spdx: str | None) -> list[re.Match[str]]:
    """The Creative Commons licences among the identifiers of the SPDX expression, or else by the licence's name."""
    names = identifiers(spdx) if spdx else (licence or "",)
    return [term for name in names if (term := _CREATIVE_COMMONS.match(compact(name)))]


def same_licence(one: str, other: str) -> bool:
    """Whether two names mean the same licence: ``CC BY 4.0`` and ``CC-BY-4.0``. Versions differ."""
    return compact(one) == compact(other)


def is_among(licence: str | None, spdx: str | None, allowed: Sequence[str]) -> bool:
    """Whether a licence is among those of a list, by its name or by its SPDX expression (``AND``: all of its parts)."""

    def listed(name: str) -> bool:
        return any(same_licence(name, other) for other in allowed)

    return bool((licence and listed(licence)) or (spdx and (listed(spdx) or holds(spdx, listed))))


def licence_report(training: Sequence[Record], others: Sequence[Record]) -> str:
    """Markdown report of each licence, and of all data taken together.

    All data may be redistributed, or used commercially, only if every dataset may; one unknown answer makes the total
    unknown. Whether licences of the data apply to a model trained on it is not answered here.

    Args:
        training: Selected datasets that the configuration trains on.
        others: The other selected datasets.
    """
    records = [*training, *others]
    lines = [
        "# Licences of the selection",
        "",
        "As stated by the cards; this is not legal advice. Rows marked * come from a public table, whose licences are",
        "often wrong: check them.",
        "",
        "| dataset | licence | redistribution | commercial use | conditions | access |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(record) for record in records]
    lines += ["", "## All datasets that config.py trains on", "", *_summary(training)]
    if others:
        lines += ["", "## All selected datasets", "", *_summary(records)]
    return "\n".join(lines) + "\n"


def _row(record: Record) -> str:
    name = record.name if record.card else f"{record.name} *"
    conditions = "; ".join(conditions_of(record.licence, record.spdx)) or "-"
    licence = record.licence or "not recorded"
    if record.spdx and not same_licence(record.spdx, licence) and record.spdx != licence_ref(licence):
        licence = f"{record.spdx} ({licence})"
    answers = (_answer(record, key) for key in ("redistribution", "commercial"))
    cells = (name, licence, *answers, conditions, record.access or "unknown")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _answer(record: Record, key: str) -> str:
    answer = getattr(record, key)
    return answer if answer == "unknown" or record.checked(key) else f"{answer}, unverified"


def _summary(records: Sequence[Record]) -> list[str]:
    if not records:
        return ["- No dataset."]
    lines = _verdict("Redistribution of all data", "redistribution", records)
    lines += _verdict("Commercial use of all data", "commercial", records)
    lines += _shared_conditions(records)
    unchecked = [r.name for r in records if not (r.checked("redistribution") and r.checked("commercial"))]
    if unchecked:
        lines.append(f"- Nobody has checked the answers of: {', '.join(unchecked)}.")
    credentialed = [record.name for record in records if record.access == "credentialed"]
    if credentialed:
        lines.append(f"- Every user must sign an individual agreement for: {', '.join(credentialed)}.")
    return lines


def _verdict(use: str, key: str, records: Sequence[Record]) -> list[str]:
    answers = {answer: [r.name for r in records if getattr(r, key) == answer] for answer in ("no", "unknown")}
    if answers["no"]:
        lines = [f"- **{use} is forbidden** by: {', '.join(answers['no'])}."]
        return lines + ([f"  Unknown for: {', '.join(answers['unknown'])}."] if answers["unknown"] else [])
    if answers["unknown"]:
        return [f"- **{use}: unknown**, since it is unknown for: {', '.join(answers['unknown'])}."]
    return [f"- **{use} is allowed** by every licence."]


def _shared_conditions(records: Sequence[Record]) -> list[str]:
    """Conditions of Creative Commons licences by dataset, and conflicts between them."""
    by_condition: dict[str, list[Record]] = {}
    for record in records:
        for condition in conditions_of(record.licence, record.spdx):
            by_condition.setdefault(condition, []).append(record)
    lines = [f"- Condition: {text}: {', '.join(r.name for r in by)}." for text, by in by_condition.items()]
    share_alike = by_condition.get(SAME_LICENCE, [])
    terms = [term for r in share_alike for term in _terms(r.licence, r.spdx) if term["sa"]]
    if len({bool(term["nc"]) for term in terms}) > 1:  # versions of one licence are compatible
        names = ", ".join(f"{r.name} ({r.spdx or r.licence})" for r in share_alike)
        lines.append(f"- **These require different licences for one adaptation**, which is impossible: {names}.")
    return lines
