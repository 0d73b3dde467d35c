"""What the name of a licence says. Only licences that everybody knows are read; the rest is unknown, not guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foundationx.datasets.fusion.aliases import compact
from foundationx.datasets.fusion.record import Record

SAME_LICENCE = "adaptations under the same licence"
"""The condition ``SA``."""

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
        SAME_LICENCE: term["sa"],
        "no adaptations are passed on": term["nd"],
    }
    return ("the source is named", *(condition for condition, holds in said.items() if holds))


def same_licence(one: str, other: str) -> bool:
    """Whether two spellings name one licence: ``CC BY 4.0`` and ``CC-BY-4.0``. Versions differ."""
    return compact(one) == compact(other)


def licence_report(training: Sequence[Record], others: Sequence[Record]) -> str:
    """Markdown: what each licence says, and what that means for the data put together.

    The whole may be passed on, or used commercially, only where every part may; one unknown answer makes it unknown.
    A model trained on the data is not the data: whether licences reach it is not answered here.

    Args:
        training: kept datasets that the configuration trains on.
        others: kept datasets that it does not.
    """
    records = [*training, *others]
    lines = [
        "# Licences of the selection",
        "",
        "As the cards state them; no legal advice. Rows marked * come from a public table, whose licences are often",
        "wrong: check them.",
        "",
        "| dataset | licence | redistribution | commercial use | conditions | access |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(record) for record in records]
    lines += ["", "## What config.py trains on, put together", "", *_of_the_whole(training)]
    if others:
        lines += ["", "## All that is kept, put together", "", *_of_the_whole(records)]
    return "\n".join(lines) + "\n"


def _row(record: Record) -> str:
    name = record.name if record.card else f"{record.name} *"
    conditions = "; ".join(conditions_of(record.licence, record.spdx)) or "-"
    licence = record.licence or "not recorded"
    licence = f"{record.spdx} ({licence})" if record.spdx and not same_licence(record.spdx, licence) else licence
    answers = (_answer(record, key) for key in ("redistribution", "commercial"))
    cells = (name, licence, *answers, conditions, record.access or "unknown")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _answer(record: Record, key: str) -> str:
    answer = getattr(record, key)
    return answer if answer == "unknown" or record.checked(key) else f"{answer}, unverified"


def _of_the_whole(records: Sequence[Record]) -> list[str]:
    if not records:
        return ["- No dataset."]
    lines = _verdict("Passing all of it on", "redistribution", records)
    lines += _verdict("Commercial use of all of it", "commercial", records)
    lines += _shared_conditions(records)
    unchecked = [r.name for r in records if not (r.checked("redistribution") and r.checked("commercial"))]
    if unchecked:
        lines.append(f"- Nobody has checked the answers of: {', '.join(unchecked)}.")
    credentialed = [record.name for record in records if record.access == "credentialed"]
    if credentialed:
        lines.append(f"- Every user signs an agreement of their own for: {', '.join(credentialed)}.")
    return lines


def _verdict(use: str, key: str, records: Sequence[Record]) -> list[str]:
    answers = {answer: [r.name for r in records if getattr(r, key) == answer] for answer in ("no", "unknown")}
    if answers["no"]:
        lines = [f"- **{use} is forbidden** by: {', '.join(answers['no'])}."]
        return lines + ([f"  Not known of: {', '.join(answers['unknown'])}."] if answers["unknown"] else [])
    if answers["unknown"]:
        return [f"- **{use}: not known**, because it is not known of: {', '.join(answers['unknown'])}."]
    return [f"- **{use} is allowed** by every licence."]


def _shared_conditions(records: Sequence[Record]) -> list[str]:
    """Conditions of Creative Commons licences by dataset, and where two of them cannot both be kept."""
    by_condition: dict[str, list[Record]] = {}
    for record in records:
        for condition in conditions_of(record.licence, record.spdx):
            by_condition.setdefault(condition, []).append(record)
    lines = [f"- Condition: {text}: {', '.join(r.name for r in by)}." for text, by in by_condition.items()]
    alike = [_CREATIVE_COMMONS.match(compact(r.spdx or r.licence)) for r in by_condition.get(SAME_LICENCE, ())]
    if len({bool(term["nc"]) for term in alike}) > 1:  # versions of one licence go together
        names = ", ".join(f"{r.name} ({r.spdx or r.licence})" for r in by_condition[SAME_LICENCE])
        lines.append(f"- **These ask for different licences of one adaptation**, which cannot be: {names}.")
    return lines
