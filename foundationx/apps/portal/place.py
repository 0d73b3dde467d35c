"""What the portal may touch: the data root, the work directories, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from foundationx.core.errors import FoundationXError

NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
"""Names of runs and fusions that the portal makes: those that a recipe may have, short enough for a folder."""

OWN = ".portal"
"""Folder of the work directories with what the portal keeps: fusions, jobs, and which runs it has launched."""


class OutsideError(FoundationXError):
    """A path outside of the data root and the work directories."""


class BusyError(FoundationXError):
    """What is asked for is under way already."""


class UnknownError(FoundationXError):
    """A run, fusion, job or file that is not there."""


@dataclass(frozen=True)
class Place:
    """The folders that the portal works in.

    Attributes:
        data_root: Folder of the datasets; it need not exist.
        work_dirs: Folder of the runs.
        tables: Public tables of datasets.
    """

    data_root: Path
    work_dirs: Path
    tables: tuple[Path, ...] = ()

    @property
    def own(self) -> Path:
        """Folder of what the portal keeps."""
        return self.work_dirs / OWN

    def run_folder(self, name: str) -> Path:
        """The folder of a run by its name, a path below the work directories.

        Raises:
            OutsideError: The name leads out of them.
            UnknownError: There is no such folder.
        """
        folder = inside(self.work_dirs, name)
        if not folder.is_dir():
            raise UnknownError(
                name, "there is no such run", f"a run below {self.work_dirs}", "look at the list of runs"
            )
        return folder

    def fusion_folder(self, name: str) -> Path:
        """The folder of a fusion by its name; it need not exist. Raises UnknownError: No fusion can have this name."""
        if not NAME.fullmatch(name):
            raise UnknownError(
                "name", f"found {name!r:.80}", "up to 64 letters, digits and underscores", "choose another"
            )
        return self.own / "fusions" / name


def inside(root: Path, name: str) -> Path:
    """A path below a folder, whatever the name holds: links are followed and may not lead out.

    Args:
        root: Folder.
        name: Relative path with ``/``, without hidden parts.

    Raises:
        OutsideError: The path leads out of the folder, or has a part that no name of ours has.
    """
    parts = name.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    if odd or not name.isprintable() or "\\" in name or len(name) > 1024:
        raise OutsideError("path", f"found {name!r:.200}", "a name below the folder", "choose one from the list")
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise OutsideError("path", f"{name!r:.200} leads out of {root}", "a path inside", "links out are not followed")
    return path
