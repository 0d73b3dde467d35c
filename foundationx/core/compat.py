"""The one place that knows the quirks of mmengine, mmcv, mmdet and mmseg. Import it before any of them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

from foundationx.core.errors import ConfigError, nearest


def _placeholder_ops() -> types.ModuleType:
    """A stand-in for ``mmcv._ext``: importable, its operators raise when called."""
    module = types.ModuleType("mmcv._ext")
    module.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)  # importlib.util.find_spec asks for it

    def operator(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(f"mmcv was built without its compiled operator {name!r}; foundationx does not need it")

        return refuse

    module.__getattr__ = operator  # type: ignore[method-assign]
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what mm* packages print, warn and log while being imported or built from the user."""
    level = logging.root.manager.disable
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _prepare() -> None:
    """Imports mmengine and mmcv quietly, with the placeholder where the compiled operators are absent."""
    with quiet():
        importlib.import_module("mmengine")
        importlib.import_module("mmcv")
        if importlib.util.find_spec("mmcv._ext") is None:
            sys.modules.setdefault("mmcv._ext", _placeholder_ops())
    # mmdet's backbones (with_cp=True) do not say which kind of checkpointing they want: torch tells it in every step.
    warnings.filterwarnings("ignore", message=".*use_reentrant parameter should be passed", category=UserWarning)


def _scope(library: str) -> contextlib.AbstractContextManager[None]:
    """Looks names up in ``library`` first, also inside a Runner, which sets a scope of its own."""
    from mmengine.registry import DefaultScope

    return DefaultScope.overwrite_default_scope(library)


def build_mm(config: dict[str, Any]) -> Any:
    """Builds a module of mmdet's or mmseg's registry.

    Args:
        config: ``type`` such as ``mmdet.SwinTransformer``, and its arguments.

    Raises:
        ConfigError: the library or type is unknown, or an argument is wrong.
    """
    arguments = dict(config)
    kind_name = arguments.pop("type", None)
    library, _, name = str(kind_name).rpartition(".")
    if library not in ("mmdet", "mmseg"):
        raise ConfigError("type", f"found {kind_name!r}", "mmdet.NAME or mmseg.NAME")
    with quiet():
        importlib.import_module(f"{library}.models")
        registry = importlib.import_module(f"{library}.registry").MODELS
    kind = registry.module_dict.get(name)
    if kind is None:
        raise ConfigError("type", f"{library} has no module {name!r}", nearest(name, registry.module_dict))
    try:
        with quiet(), _scope(library):
            return kind(**arguments)
    except Exception as error:  # modules refuse bad arguments in every way: KeyError, RuntimeError, ZeroDivisionError
        found = f"{type(error).__name__}: {error}"
        raise ConfigError(f"arguments of {kind_name}", found, "arguments that it takes") from error


def import_mmdet() -> None:
    """Makes mmdet's modules importable (seconds, so only where they are needed) without its start-up noise."""
    with quiet():
        importlib.import_module("mmdet.models")


_prepare()
