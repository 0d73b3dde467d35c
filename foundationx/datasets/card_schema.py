"""The JSON schema of a card with the options of every reader, for editors that complete and check YAML."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_args

from pydantic.fields import FieldInfo

from foundationx.core.config.describe import REQUIRED, options_of
from foundationx.core.errors import CardError
from foundationx.datasets.annotations import READERS
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog, default_folders


def card_schema() -> dict[str, Any]:
    """The schema of a card. The reader of a task decides which options it may have."""
    schema = Card.json_schema()
    definitions = schema["$defs"]
    source = definitions["TaskSource"]
    rules = []
    for name, reader in READERS.all().items():
        options = reader.Options.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= options.pop("$defs", {})
        options.pop("required", None)  # a part of the task may give what the task itself leaves out
        definitions[f"options of {name}"] = options | {"title": f"Options of {name}"}
        own = {"$ref": f"#/$defs/options of {name}"}
        parts = {"items": {"properties": {"options": own}}}
        rules.append(
            {
                "if": {"properties": {"reader": {"const": name}}, "required": ["reader"]},
                "then": {"properties": {"options": own, "parts": parts}},
            }
        )
    reader_key = source["properties"]["reader"]
    reader_key.pop("type")
    reader_key["anyOf"] = [{"enum": list(READERS.all())}, {"type": "string"}]  # a package may bring a further reader
    source["allOf"] = rules
    return schema


def option_rows(name: str) -> list[dict[str, str]]:
    """Every option of a reader: key, type, default, example and meaning.

    Examples are taken from the cards of the project, or else from the option's own.

    Args:
        name: Name of the reader.

    Raises:
        CardError: There is no such reader.
    """
    options = READERS.get(name, "reader", CardError).Options
    used = _values_in_cards(name)
    rows = []
    for row in options_of(options):
        telling = [found for found in used.get(row.key, ()) if found[0] != row.default]
        value, card = telling[0] if telling else (_example(options.model_fields[row.key], row.default), "")
        example = f"{_yaml(value)}{f'  ({card})' if card else ''}"
        default = row.default if row.default == REQUIRED else _yaml(row.default)
        rows.append(
            {"option": row.key, "type": row.type, "default": default, "example": example, "meaning": row.meaning}
        )
    return rows


def _values_in_cards(reader: str) -> dict[str, list[tuple[Any, str]]]:
    """The values of each option in the cards of the project, each with the card's name."""
    values: dict[str, list[tuple[Any, str]]] = {}
    for card in _own_cards():
        for spec in card.tasks.values():
            for part in spec.files if spec.reader == reader else ():
                for key, value in part.options.items():
                    values.setdefault(key, []).append((value, card.name))
    return values


@lru_cache(maxsize=1)
def _own_cards() -> tuple[Card, ...]:
    """The cards of the project."""
    return tuple(Catalog(default_folders()[:1]).valid().values())


def _example(field: FieldInfo, default: Any) -> Any:
    """A value that an option can have, preferably another than its default."""
    if field.examples:
        return field.examples[0]
    if isinstance(default, bool):
        return not default
    choices = [value for value in get_args(field.annotation) if isinstance(value, str) and value != default]
    return choices[0] if choices else default


def _yaml(value: Any) -> str:
    """A value as it is written in a card, on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()
