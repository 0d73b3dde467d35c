"""The name that the package index knows, and how what is optional is installed.

The module and the command are called ``foundationx``; a package of that name on the index belongs to somebody else.
"""

from __future__ import annotations

DISTRIBUTION = "foundationx-cxr"


def install_hint(extra: str = "") -> str:
    """How to install the package, or one of its extras: in a clone, and from the index.

    Args:
        extra: Name of an extra of ``setup.cfg``; empty for the package alone.
    """
    chosen = f"[{extra}]" if extra else ""
    quote = "'" if extra else ""
    return f"pip install -e {quote}.{chosen}{quote} in the clone, or pip install {quote}{DISTRIBUTION}{chosen}{quote}"
