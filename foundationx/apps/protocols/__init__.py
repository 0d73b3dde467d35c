"""Ways of judging a pretrained model beyond its own heads: one file per protocol."""

from types import ModuleType

from foundationx.core.extensions import Extensions, module_with

PROTOCOLS: Extensions[ModuleType] = Extensions(
    "protocol",
    "foundationx.apps.protocols",
    module_with("Options", "run"),
    shared=("base", "embedding"),
    name_of=lambda path: path.stem.replace("_", "-"),
)
"""Every protocol, by its name on the command line."""
