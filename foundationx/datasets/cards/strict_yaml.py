"""Strict YAML: safe tags only, no repeated keys, and no aliases that expand to millions of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foundationx.core.errors import CardError, FoundationXError

MAX_BYTES = 2**18
"""Maximum size of a file; the largest card has a few thousand bytes."""

MAX_DEPTH, MAX_VALUES = 40, 100_000
"""Maximum nesting depth, and maximum number of values after the aliases are expanded."""


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that rejects repeated keys and aliases that expand to too many values."""

    def construct_document(self, node: yaml.Node) -> Any:
        _extent(node, 1, {})
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _extent(node: yaml.Node, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Number of values of a node with expanded aliases, and their depth. Raises MarkedYAMLError beyond the limits."""
    if id(node) not in known:
        children = [item for item in node.value if isinstance(item, yaml.Node)] if isinstance(node.value, list) else []
        if isinstance(node, yaml.MappingNode):
            children = [item for pair in node.value for item in pair]
        if depth > MAX_DEPTH:  # an alias of a node inside itself, too
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=node.start_mark)
        extents = [_extent(child, depth + 1, known) for child in children]
        values = 1 + sum(count for count, _ in extents)
        known[id(node)] = values, 1 + max((height for _, height in extents), default=0)
    values, height = known[id(node)]
    if values > MAX_VALUES or depth + height > MAX_DEPTH + 1:
        raise yaml.MarkedYAMLError(problem="expands to too many values", problem_mark=node.start_mark)
    return values, height


def read_yaml(path: Path, kind: type[FoundationXError] = CardError, expected: str = "a dataset card") -> dict[str, Any]:
    """Reads one YAML mapping.

    Args:
        path: YAML file.
        kind: Class of the errors.
        expected: What the file should be, for messages.

    Raises:
        FoundationXError: Of class ``kind``: the file is missing, empty, too large, not UTF-8, not YAML, repeats a key,
            contains an impossible value (the date 2017-99-99), or is not a mapping.
    """
    if not path.is_file():
        raise kind(str(path), "there is no such file", expected, "check the path")
    if path.stat().st_size > MAX_BYTES:
        raise kind(
            str(path), f"has {path.stat().st_size:,} bytes", f"at most {MAX_BYTES:,}", "check that it is the right file"
        )
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
    except Exception as error:  # malformed dates, numbers and other scalars raise many kinds of errors
        raise kind(str(path), f"contains a malformed value ({error})", "valid YAML", "correct the file") from None
    if not isinstance(values, dict):
        raise kind(
            str(path),
            f"contains {type(values).__name__} instead of keys",
            "keys such as `name:`",
            "write keys and values",
        )
    return values
