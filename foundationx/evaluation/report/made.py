"""The page's section on how the run was made: versions, machine, seed, and the cards with their licences."""

from __future__ import annotations

from html import escape

from foundationx.core.strict_json import to_json
from foundationx.evaluation.report.facts import Facts
from foundationx.evaluation.report.html import details, quiet, section, table_of


def made(facts: Facts) -> str:
    """Versions, commit, seed, machine, cards; then the configuration."""
    run = facts.run
    known = [
        ("foundationx", run.get("version")),
        ("commit", run.get("commit") or "not a clone of the repository"),
        *sorted(run.get("packages", {}).items()),
        ("seed", run.get("seed", facts.config.get("runtime", {}).get("seed"))),
        ("machine", run.get("machine")),
        ("device", run.get("device")),
        ("configuration file", run.get("config_file")),
        ("backbone", run.get("backbone")),
        ("begins from", run.get("begins_from")),
    ]
    rows = [[name, str(value)] for name, value in known if value not in (None, "", [], {})]
    table = table_of(["what", "value"], rows, 0, "versions, seed and machine") if run else ""
    config = ""
    if facts.config:
        config = details(
            "Configuration, as resolved", f"<pre tabindex='0'>{escape(to_json(facts.config, indent=2))}</pre>"
        )
    content = table + _cards(facts) + config
    return section("How it was made", content) if content else ""


def _cards(facts: Facts) -> str:
    """Title, licence and home of every dataset; "" if the run did not note them."""
    cards = facts.run.get("cards", {})
    if not cards:
        return ""
    parts = ("title", "licence", "commercial", "redistribution", "access", "home", "file")
    rows = [[name, *(str(card[part] or "-") for part in parts)] for name, card in cards.items()]
    columns = ["dataset", "title", "licence", "commercial use", "redistribution", "access", "home", "card"]
    note = quiet("Licences as the cards state them; unknown is neither yes nor no.")
    return f"<h3>Cards and licences</h3>{note}{table_of(columns, rows, 0, 'cards and licences')}"
