"""The one module that imports mmengine, mmcv, mmdet and mmseg: what we use of them, by name, and their quirks.

``NAMES`` lists all of it; ``FOR_THEIR_USERS`` what exported models run on in them. ``from foundationx.core.openmmlab
import Config`` imports the library when it is run, not when this module is imported: that takes seconds. Backbones are
not among the names: they are built by configuration (``type='mmdet.SwinTransformer'``) from the two registries.
"""

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
from typing import Any, cast

from foundationx.core.errors import OF_THE_BASE, ConfigError, FoundationXError, nearest

NAMES = {
    # configuration files and options in OpenMMLab's notation
    "Config": "mmengine.config",
    "DictAction": "mmengine.config",
    # registries, from which networks are built by configuration
    "DefaultScope": "mmengine.registry",
    "MMDET_MODELS": "mmdet.registry:MODELS",
    "MMSEG_MODELS": "mmseg.registry:MODELS",
    # what our detection trunk and our Swin are built of
    "DeformableDetrTransformerEncoder": "mmdet.models.layers",
    "DinoTransformerDecoder": "mmdet.models.layers",
    "ShiftWindowMSA": "mmdet.models.backbones.swin",
    "SwinTransformer": "mmdet.models.backbones.swin",
    # the loop for mmengine's Runner
    "BaseLoop": "mmengine.runner",
    "LOOPS": "mmengine.registry",
    "MMENGINE_MODELS": "mmengine.registry:MODELS",
    "MMLogger": "mmengine.logging",
    "OPTIM_WRAPPER_CONSTRUCTORS": "mmengine.registry",
    "OptimWrapper": "mmengine.optim",
}
"""Name here: module that defines it, with its name there if that differs."""

FOR_THEIR_USERS = {
    "BaseDetector": "mmdet.models.detectors",
    "BaseSegmentor": "mmseg.models.segmentors",
    "InstanceData": "mmengine.structures",
    "MMDET_TRANSFORMS": "mmdet.registry:TRANSFORMS",
    "MMSEG_TRANSFORMS": "mmseg.registry:TRANSFORMS",
    "PixelData": "mmengine.structures",
}
"""Likewise, what exported models need to run inside these libraries; nothing else here depends on it."""

UNUSED = ("mmengine._strategy.fsdp", "sklearn", "torch.distributed.optim", "transformers")
"""What these libraries import if they can, for trackers, language models and an optimizer that nothing here uses.

They take half of the time that importing a backbone takes, and are left to those who do use them.
"""

FULLY_SHARDED = "mmengine.model.wrappers.fully_sharded_distributed"
"""What mmengine imports always, torch's fully sharded training with it (600 modules), and nothing here uses."""

PLOTTING = "matplotlib.pyplot"
"""What mmdet's pictures of lanes and of tracks import before anybody asks for one."""


def __getattr__(name: str) -> Any:
    """One of ``NAMES`` or ``FOR_THEIR_USERS``, imported quietly when it is first asked for."""
    known = NAMES | FOR_THEIR_USERS
    if name not in known:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, theirs = known[name].partition(":")
    if module != "mmengine.config":  # which needs neither mmcv nor torch
        prepare()
    with quiet(), _without_unused():
        value = getattr(importlib.import_module(module), theirs or name)
    globals()[name] = value
    return value


def _placeholder_ops() -> types.ModuleType:
    """A stand-in for ``mmcv._ext``: importable, its operators raise when called."""
    module = _stand_in("mmcv._ext")

    def operator(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(f"mmcv was built without its compiled operator {name!r}; foundationx does not need it")

        return refuse

    module.__getattr__ = operator  # type: ignore[method-assign]  # PEP 562: a module may have one
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


@contextlib.contextmanager
def initialising() -> Iterator[None]:
    """For ``init_weights`` of their networks: quiet, and passing over log files that are closed.

    mmengine writes there what it initialised, and does not ask whether others have closed the files of its logger:
    ``logging.config`` does, and importing submitit runs that.
    """
    logger = __getattr__("MMLogger").get_current_instance()
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            logger.removeHandler(handler)
    with quiet():
        yield


@contextlib.contextmanager
def _without_unused() -> Iterator[None]:
    """Whoever imports one of ``UNUSED`` inside is told that it is not installed, unless it has been imported before.

    Likewise stand-ins take the places of ``FULLY_SHARDED`` and ``PLOTTING``, which are imported without asking.
    """
    places: dict[str, types.ModuleType | None] = dict.fromkeys(UNUSED)  # None is Python's own sign for that
    places |= {FULLY_SHARDED: _without_sharding(), PLOTTING: _imported_late(PLOTTING)}
    absent = {name: place for name, place in places.items() if name not in sys.modules}
    hidden = cast(dict[str, types.ModuleType | None], sys.modules)
    hidden.update(absent)
    try:
        yield
    finally:
        for name, place in absent.items():
            if name in hidden and hidden[name] is place:
                del hidden[name]


def _without_sharding() -> types.ModuleType:
    """A stand-in for ``FULLY_SHARDED``: its wrapper cannot be made."""

    class MMFullyShardedDataParallel:
        def __init__(self, *args: Any, **kwargs: Any):
            raise RuntimeError(f"fully sharded training was left out: import {FULLY_SHARDED} before foundationx")

    module = _stand_in(FULLY_SHARDED)
    module.__dict__["MMFullyShardedDataParallel"] = MMFullyShardedDataParallel
    return module


def _imported_late(name: str) -> types.ModuleType:
    """A stand-in for a module, which is imported when something of it is asked for."""
    module = _stand_in(name)

    def ask(attribute: str) -> Any:
        if attribute.startswith("__"):  # mmengine looks for the files of all modules
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    module.__getattr__ = ask  # type: ignore[method-assign]  # PEP 562: a module may have one
    return module


def _stand_in(name: str) -> types.ModuleType:
    """An empty module."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # importlib.util.find_spec asks for it
    return module


def prepare() -> None:
    """Makes the libraries importable: quietly, with the placeholder if mmcv's compiled operators are absent.

    Whoever imports one of them past this module calls it before.
    """
    if "mmcv._ext" in sys.modules:
        return
    with quiet(), _without_unused():
        importlib.import_module("mmengine")
        importlib.import_module("mmcv")
        if importlib.util.find_spec("mmcv._ext") is None:
            sys.modules.setdefault("mmcv._ext", _placeholder_ops())
    # mmdet's backbones (with_cp=True) do not choose a kind of checkpointing: torch warns in every step.
    warnings.filterwarnings("ignore", message=".*use_reentrant parameter should be passed", category=UserWarning)


def _scope(library: str) -> contextlib.AbstractContextManager[None]:
    """Looks names up in ``library`` first, also inside a Runner, which sets a scope of its own."""
    scope: contextlib.AbstractContextManager[None] = __getattr__("DefaultScope").overwrite_default_scope(library)
    return scope


def modules_of(library: str) -> dict[str, type[Any]]:
    """Every module that ``library`` (``mmdet`` or ``mmseg``) has registered, by name."""
    prepare()
    with quiet(), _without_unused():
        importlib.import_module(f"{library}.models")  # registers its modules
    registered: dict[str, type[Any]] = __getattr__(f"{library.upper()}_MODELS").module_dict
    return registered


def build_mm(config: dict[str, Any]) -> Any:
    """Builds a module of mmdet's or mmseg's registry.

    Args:
        config: Type such as ``mmdet.SwinTransformer``, and its arguments.

    Raises:
        ConfigError: The library or type is unknown, or an argument is wrong.
    """
    arguments = dict(config)
    kind_name = arguments.pop("type", None)
    library, _, name = str(kind_name).rpartition(".")
    if library not in ("mmdet", "mmseg"):
        raise ConfigError("type", f"found {kind_name!r}", "mmdet.NAME or mmseg.NAME", "name the library")
    known = modules_of(library)
    kind = known.get(name)
    if kind is None:
        raise ConfigError("type", f"{library} has no module {name!r}", nearest(name, known), "correct the name")
    if "init_cfg" in arguments:  # networks ask for `init_cfg.checkpoint`, as mmengine's own dictionaries have it
        arguments["init_cfg"] = __getattr__("Config")({"init_cfg": arguments["init_cfg"]}).init_cfg
    try:
        with quiet(), _scope(library):
            return kind(**arguments)
    except FoundationXError:
        raise
    except Exception as error:  # modules refuse bad arguments in every way: KeyError, RuntimeError, ZeroDivisionError
        found = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"arguments of {kind_name}", found, "arguments that it takes", f"correct the arguments; {OF_THE_BASE}"
        ) from error
