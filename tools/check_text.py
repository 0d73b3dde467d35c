"""Whether text files end in one line break and no line ends in spaces: ``python tools/check_text.py FILE ...``."""

from __future__ import annotations

import sys
from pathlib import Path


def faults(path: Path) -> list[str]:
    """What is wrong with a file, one line per fault."""
    text = path.read_bytes()
    if not text or b"\0" in text:
        return []
    lines = text.split(b"\n")
    result = [f"{path}:{n}: trailing spaces" for n, line in enumerate(lines, start=1) if line.rstrip(b" \t") != line]
    if not text.endswith(b"\n") or text.endswith(b"\n\n"):
        result.append(f"{path}:{len(lines)}: the file does not end in one line break")
    return result


if __name__ == "__main__":
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    print("\n".join(found))
    sys.exit(bool(found))
