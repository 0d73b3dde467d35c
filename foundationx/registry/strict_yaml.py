"""YAML without surprises: safe tags only, and a key that stands twice is an error instead of the last one winning."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from foundationx.errors import CardError, FoundationXError


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, which refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            if isinstance(key.value, Hashable):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, kind: type[FoundationXError] = CardError, what: str = "a dataset card") -> dict[str, Any]:
    """Reads one YAML mapping; ``kind`` and ``what`` it should be are for messages.

    Raises:
        CardError: (or ``kind``) the file is missing, empty, not UTF-8, not YAML, repeats a key or is not a mapping.
    """
    if not path.is_file():
        raise kind(str(path), "there is no such file", what, "check the path")
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
    if not isinstance(values, dict):
        raise kind(str(path), f"holds {type(values).__name__}, not keys", "keys such as `name:`", "fill the file")
    return values
