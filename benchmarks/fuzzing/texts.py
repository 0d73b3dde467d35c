"""Cards, recipes and configurations that are odd: damaged text, values of wrong types, YAML that grows or calls."""

from __future__ import annotations

from typing import Any

import yaml

from fuzzing.mutate import DEEP, HUGE, ODD_TEXTS, ODD_VALUES, Random, at, damaged, odd_value, places, replaced

GROWS = "".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
    ]
)
"""Nine lines that stand for 9 ** 9 values."""

PIECES = (
    *("!!python/object/apply:os.system ['exit 1']", "!!python/name:os.system", "!!python/object/new:dict {}"),
    *("&loop [*loop]", "&loop {a: *loop}", "*nowhere", "2017-99-99", "0b_", "0x", "1:99:99", "!!binary '!'", "!!int x"),
    *("!!timestamp x", "? [a, b]\n: c", "{[a]: b}", "{{a: b}: c}", "{a: b, a: c}", "{<<: [a]}", "<<: *nowhere"),
    *("!!set {a}", "!!omap [a]", "!!pairs [[a]]", "[" * 5000, "{a: " * 3000, "[" * 900 + "]" * 900, "- " * 2000),
    *("'\\x00'", '"\\0"', '"\\ud800"', "9" * 5000, ".nan", ".inf", "-.inf", "1e999", "~", "%YAML 9.9", "---", "..."),
    *("| \n" + "x" * 100_000, "\t", "!!float x", "!!bool maybe", "!<tag:x> y", "\x85", "\u2028", "@", "`"),
)
"""YAML in place of a value."""


def bad_text(text: str, random: Random) -> bytes:
    """A YAML file with damaged bytes, or with a piece of tricky YAML in it."""
    draw = random.random()
    if draw < 0.4:
        return damaged(text.encode(), random)
    if draw < 0.5:
        return (GROWS + text + f"\n{random.choice(('notes', 'tasks', 'root', 'citation', 'x'))}: *a8\n").encode()
    lines = text.split("\n")
    number = random.randrange(len(lines))
    key = lines[number].partition(":")[0]
    lines[number] = random.choice((f"{key}: ", f"{key}: ", "", "- ")) + random.choice(PIECES)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def bad_values(values: dict[str, Any], random: Random) -> bytes:
    """A YAML file with odd values in some places."""
    odd = tuple(value for value in (*ODD_VALUES, *ODD_TEXTS) if value not in (HUGE, DEEP))
    text = yaml.dump(odd_value(values, random, odd), sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def strange_words(values: dict[str, Any], random: Random) -> dict[str, Any]:
    """A card of right types with another text in place of one or two."""
    words = [text for text in ODD_TEXTS if "\ud83d" not in text]
    own = [path for path in places(values) if isinstance(at(values, path), str)]
    for path in random.sample(own, random.choice((1, 1, 2))):
        odd = random.choice((*words, at(values, random.choice(own))))
        values = replaced(values, path, odd)
    return values
