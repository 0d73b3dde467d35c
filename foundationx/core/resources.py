"""The cards and configurations that come with the package.

An installed package holds them inside itself; in a clone, and in an editable install of one, they stand beside it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from foundationx.core.errors import ConfigError, nearest

FOLDERS = ("data_registry", "configs")


def resource_folder(name: Literal["data_registry", "configs"]) -> Path:
    """A folder of files that come with the package.

    Args:
        name: Name of the folder.

    Raises:
        ConfigError: The installation is incomplete.
    """
    package = Path(str(resources.files("foundationx")))
    inside, beside = package / name, package.parent / name
    if inside.is_dir():
        return inside
    if beside.is_dir() and (package.parent / "setup.cfg").is_file():
        return beside
    fix = "reinstall foundationx; if that does not help, please report it"
    raise ConfigError(str(inside), "the installation of foundationx is incomplete", f"its folder {name}", fix)


def find_config(path: str | Path) -> Path:
    """A configuration or recipe: a file of the user, or one that comes with the package.

    Args:
        path: Path of a file, or a name within the package's ``configs`` with or without its ending, such as
            ``quickstart/phantom``.

    Returns:
        The file of the user if there is one, else that of the package.

    Raises:
        ConfigError: There is neither.
    """
    path = Path(path)
    if path.is_file():
        return path
    known = packaged_configs()
    name = path.as_posix().removeprefix("configs/")
    if name in known:
        return known[name]
    fix = "check the path, or name one that comes with the package (`foundationx list configs`)"
    raise ConfigError(str(path), "there is no such file", nearest(name, known), fix)


def base_configs() -> dict[str, Path]:
    """Base files that come with the package, by name: ``_base_/swin_base``."""
    files = sorted((resource_folder("configs") / "_base_").glob("*.py"))
    return {f"_base_/{path.stem}": path for path in files}


def packaged_configs() -> dict[str, Path]:
    """Configurations and recipes that come with the package, by name with and without ending.

    Neither base files nor what schedulers read (``cluster``).
    """
    folder = resource_folder("configs")
    files: dict[str, Path] = {}
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
        relative = path.relative_to(folder)
        if relative.parts[0] != "cluster" and not any(part.startswith("_") for part in relative.parts):
            files[relative.as_posix()] = files[relative.with_suffix("").as_posix()] = path
    return files
