"""Damage: to bytes, to the cells of tables, to the values of JSON and YAML. All is drawn from ``random``."""

from __future__ import annotations

import json
import random as randoms
from collections.abc import Callable
from typing import Any

Random = randoms.Random

LEADS_OUT = ("../outside/secret.png", "../../outside/secret.csv", "/etc/hostname", "..\\secret.png", "x/../../../etc")
"""Names that lead out of a data root."""

ODD_TEXTS = (
    *LEADS_OUT,
    *("", " ", ".", "..", "/", "nan", "inf", "-inf", "1e308", "1e400", "-1", "-99999999", "9" * 30, "0x10", "1_0"),
    *("a\0b", "\ud83d\ude00", "٣", "x" * 300, "y" * 5000, '"', "'", ";", "|", "\t", "\r", "a\nb", "<script>", "{x}"),
    *("{image:>9999999999}", "{image.__class__}", "*", "**", "[", "(", "(a+)+$", "%s", "~", "$HOME", "\ufeff", "None"),
)
"""Texts that do not belong where they are put."""

HUGE, DEEP, SURROGATE = "@huge@", "@deep@", "@surrogate@"
"""Stand for what ``json.dumps`` does not write: a number of 5,000 digits, 100,000 brackets, half a character."""

ODD_VALUES = (
    *(None, True, False, 0, -1, 2**31, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), 0.5),
    *([], {}, [[]], [None], {"a": 1}, [1, 2, 3], [-5, -5, 0, 0], [0, 0, 1e9, 1e9], ["a", "b", "c", "d"], HUGE, DEEP),
    *(SURROGATE, {"size": [65535, 65535], "counts": [0, 65535 * 65535]}, {"size": [4, 4], "counts": "\u00e9!"}),
)


def damaged(content: bytes, random: Random) -> bytes:
    """A file with one or two accidents."""
    for _ in range(random.choice((1, 1, 2))):
        content = random.choice(ACCIDENTS)(content, random)
    return content


def _place(content: bytes, random: Random) -> int:
    """Anywhere, every second time near the beginning, where headers are."""
    return random.randrange(min(len(content), 300) if random.random() < 0.5 else len(content)) if content else 0


def _cut(content: bytes, random: Random) -> bytes:
    return content[: _place(content, random)]


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 3, 30)) if content else 0):
        changed[_place(content, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _put_in(content: bytes, random: Random) -> bytes:
    place = _place(content, random)
    odd = random.choice((b"\0", b"\0" * 50, b"\xff\xfe", b"\xe9", b"\xc3\x28", b'"', b"\r", random.randbytes(20)))
    return content[:place] + odd + content[place:]


def _drop(content: bytes, random: Random) -> bytes:
    place = _place(content, random)
    return content[:place] + content[place + random.choice((1, 8, 200)) :]


def _double(content: bytes, random: Random) -> bytes:
    place = _place(content, random)
    return content[: place + random.choice((4, 100, 2000))] + content[place:]


def _encoding(content: bytes, random: Random) -> bytes:
    text = content.decode("latin-1")
    return random.choice(
        (b"\xef\xbb\xbf" + content, text.encode("utf-16"), text.encode("utf-32"), text.encode("utf-8"))
    )


def _line_ends(content: bytes, random: Random) -> bytes:
    return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\n\r")))


def _nothing(content: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\n", b" " * 9, b"<!DOCTYPE html><html>404</html>", b"\xef\xbb\xbf"))


ACCIDENTS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_cut, _cut, _flip, _flip, _flip, _put_in, _put_in, _drop, _double, _encoding, _line_ends, _nothing),
)


def odd_table(content: bytes, random: Random, odd: tuple[str, ...] = ODD_TEXTS) -> bytes:
    """A table with rows and columns dropped, doubled or in another order, or with odd cells."""
    text = content.decode("utf-8-sig", "replace")
    separator = max(",;\t ", key=text[:500].count)
    rows = [line.split(separator) for line in text.split("\n")]
    for _ in range(random.choice((1, 1, 3))):
        row, other = random.randrange(len(rows)), random.randrange(len(rows))
        column = random.randrange(1 + max(len(cells) for cells in rows))
        match random.randrange(9):
            case 0:
                rows.pop(row) if len(rows) > 1 else None
            case 1:
                rows.insert(other, list(rows[row]))
            case 2:
                rows[row], rows[other] = rows[other], rows[row]
            case 3:
                rows = [cells[:column] + cells[column + 1 :] for cells in rows]
            case 4:
                rows = [cells[: column + 1] + cells[column:] for cells in rows]
            case 5:
                rows[row] = rows[row][:column]
            case _:
                place = column % max(1, len(rows[row]))
                rows[row][place : place + 1] = [random.choice(odd)]
    return "\n".join(separator.join(cells) for cells in rows).encode("utf-8", "surrogatepass")


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of everything inside nested lists and dictionaries, at most forty items of each."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [path, *(place for key, item in inner[:40] for place in places(item, (*path, key)))]


def replaced(value: Any, path: tuple, odd: Any) -> Any:
    """A copy of ``value`` with ``odd`` at a path."""
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


def at(value: Any, path: tuple) -> Any:
    """What stands at a path."""
    for key in path:
        value = value[key]
    return value


def odd_value(value: Any, random: Random, odd: tuple[Any, ...] = (*ODD_VALUES, *ODD_TEXTS)) -> Any:
    """Nested values with one to three of them replaced, doubled, renamed or removed."""
    for _ in range(random.choice((1, 1, 3))):
        path = random.choice(places(value))
        held = at(value, path)
        action = random.randrange(6)
        if action == 0 and isinstance(held, dict) and held:
            key = random.choice(list(held))
            held = {name: item for name, item in held.items() if name != key}
        elif action == 1 and isinstance(held, dict) and held:
            held = held | {random.choice(("id", "odd key", "../x")): random.choice(odd)}
        elif action == 2 and isinstance(held, list) and held:
            held = [*held, random.choice(held)]
        else:
            held = random.choice(odd)
        value = replaced(value, path, held)
    return value


def odd_json(content: bytes, random: Random) -> bytes:
    """A JSON file with odd values in it."""
    text = json.dumps(odd_value(json.loads(content), random))
    text = text.replace(f'"{HUGE}"', "9" * 5000).replace(SURROGATE, "\\ud800.png")
    return text.replace(f'"{DEEP}"', random.choice(("[" * 100_000, '{"a":' * 20_000, "[" * 900 + "]" * 900))).encode()
