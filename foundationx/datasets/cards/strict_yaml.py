"""YAML without surprises: safe tags only, no key twice, and no file of a few lines that stands for a million values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foundationx.core.errors import CardError, FoundationXError

MAX_BYTES = 2**18
"""Of a file; the largest card has some thousand."""

MAX_DEPTH, MAX_VALUES = 40, 100_000
"""How deep values may be nested, and how many a file may stand for when its aliases are written out."""


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, which refuses repeated keys, and aliases that grow beyond measure."""

    def construct_document(self, node: yaml.Node) -> Any:
        _extent(node, 1, {})
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _extent(node: yaml.Node, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node stands for, and how deep they are nested. Raises MarkedYAMLError beyond the limits."""
    if id(node) not in known:
        children = [item for item in node.value if isinstance(item, yaml.Node)] if isinstance(node.value, list) else []
        if isinstance(node, yaml.MappingNode):
            children = [item for pair in node.value for item in pair]
        if depth > MAX_DEPTH:  # an alias of what it stands in, too
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=node.start_mark)
        found = [_extent(child, depth + 1, known) for child in children]
        values = 1 + sum(count for count, _ in found)
        known[id(node)] = values, 1 + max((height for _, height in found), default=0)
    values, height = known[id(node)]
    if values > MAX_VALUES or depth + height > MAX_DEPTH + 1:
        raise yaml.MarkedYAMLError(problem="stands for too many values", problem_mark=node.start_mark)
    return values, height


def read_yaml(path: Path, kind: type[FoundationXError] = CardError, what: str = "a dataset card") -> dict[str, Any]:
    """Reads one YAML mapping; ``kind`` and ``what`` it should be are for messages.

    Raises:
        CardError: (or ``kind``) the file is missing, empty, too large, not UTF-8, not YAML, repeats a key, holds a
            value that is none of its type (the date 2017-99-99), or is not a mapping.
    """
    if not path.is_file():
        raise kind(str(path), "there is no such file", what, "check the path")
    if path.stat().st_size > MAX_BYTES:
        raise kind(str(path), f"has {path.stat().st_size:,} bytes", f"at most {MAX_BYTES:,}", "check the file")
    try:
        # The subclass of SafeLoader builds plain values only, like yaml.safe_load.
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except UnicodeDecodeError as error:
        raise kind(str(path), f"byte {error.start} is not UTF-8", "UTF-8 text", "save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise kind(f"{path}{line}", str(error.problem), "valid YAML", "correct the line") from None
    except yaml.YAMLError as error:
        raise kind(str(path), str(error), "valid YAML", "correct the file") from None
    except RecursionError:
        raise kind(str(path), "is nested too deeply", "valid YAML", "correct the file") from None
    except Exception as error:  # dates, numbers and other scalars raise many kinds where they are none
        raise kind(str(path), f"holds a value that is none ({error})", "valid YAML", "correct the file") from None
    if not isinstance(values, dict):
        raise kind(str(path), f"holds {type(values).__name__}, not keys", "keys such as `name:`", "fill the file")
    return values
