"""foundationx: one foundation model trained on many differently annotated chest X-ray datasets.

The public API, loaded on first use so that ``import foundationx`` stays quick:

- :func:`load`: a run, an import or an export as a model with features, predictions and pictures of image files
- :func:`load_backbone`: the backbone alone, a torch module
- :func:`train` and :func:`evaluate`: the commands of these names as functions
- :class:`Catalog` and :func:`open_dataset`: dataset cards, and one of them as a torch dataset
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foundationx.apps.api import ImageDataset, Model, evaluate, load, load_backbone, open_dataset, train
    from foundationx.core.errors import FoundationXError
    from foundationx.datasets.cards.catalog import Catalog

__version__ = "0.1.0"
__all__ = [
    "Catalog",
    "FoundationXError",
    "ImageDataset",
    "Model",
    "__version__",
    "evaluate",
    "load",
    "load_backbone",
    "open_dataset",
    "train",
]
_MODULES = {"Catalog": "foundationx.datasets.cards.catalog", "FoundationXError": "foundationx.core.errors"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for. Raises AttributeError: there is no such name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES.get(name, "foundationx.apps.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
