"""Ways of judging a pretrained model beyond its own heads: one file a protocol, found by scanning the folder."""

import pkgutil

SHARED = ("base", "embedding")
"""Files of the folder that are no protocols."""


def protocol_names() -> tuple[str, ...]:
    """Names of all protocols, as on the command line."""
    names = (module.name for module in pkgutil.iter_modules(__path__) if module.name not in SHARED)
    return tuple(sorted(name.replace("_", "-") for name in names))
