"""Extension folders: the one scan that finds tasks, heads, objectives, readers, metrics, export formats and the like.

An extension is one file of a kind's folder; its name is the file's. Packages outside join through Python entry points
of the kind's group (``foundationx.heads``, ``foundationx.objectives`` ...), whose value is the module or the object:

    [project.entry-points."foundationx.heads"]
    mlp = "my_package.mlp"

A class counts only in the module that defines it, so that a file may import what it derives from. Nothing is imported
before it is asked for.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from foundationx.core.errors import ConfigError, ExtensionError, FoundationXError, nearest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Rule(Protocol[T_co]):
    """What counts as an extension of a kind."""

    def __call__(self, value: Any, source: str) -> T_co:
        """The extension.

        Args:
            value: Module, or the object that an entry point names.
            source: File or distribution, for messages.

        Raises:
            ExtensionError: There is none, or more than one.
        """


def one_class(base: type[T]) -> Rule[type[T]]:
    """The one class that a module defines of those derived from ``base``; abstract and private ones do not count."""

    def rule(value: Any, source: str) -> type[T]:
        classes = [value] if isinstance(value, type) else _defined(value, inspect.isclass)
        chosen = [item for item in classes if issubclass(item, base) and item is not base and not _is_hidden(item)]
        if len(chosen) == 1:
            return chosen[0]
        names = ": " + ", ".join(item.__name__ for item in chosen) if chosen else ""
        found = f"defines {len(chosen) or 'no'} class{'es' * (len(chosen) > 1)} derived from {base.__name__}{names}"
        fix = "give each class a file of its own; helpers and bases begin with an underscore"
        raise ExtensionError(source, found, "exactly one", fix if chosen else f"derive a class from {base.__name__}")

    return rule


def module_with(*names: str) -> Rule[ModuleType]:
    """The module itself, if it has attributes of these names; functions and classes among them are defined there."""

    def rule(value: Any, source: str) -> ModuleType:
        missing = [name for name in names if not _is_own(value, name)]
        if missing:
            raise ExtensionError(source, f"defines no {', no '.join(missing)}", ", ".join(names), "define all of them")
        return value

    return rule


def one_value(name: str, kind: type[T]) -> Rule[T]:
    """The module's attribute ``name``, an instance of ``kind``."""

    def rule(value: Any, source: str) -> T:
        chosen = value if isinstance(value, kind) else getattr(value, name, None)
        if isinstance(chosen, kind):
            return chosen
        raise ExtensionError(source, f"defines no {name}", f"{name} = {kind.__name__}(...)", f"define {name}")

    return rule


def one_function(name: str) -> Rule[Callable[..., Any]]:
    """The module's function ``name``."""

    def rule(value: Any, source: str) -> Callable[..., Any]:
        if inspect.isfunction(value):
            return value
        return getattr(module_with(name)(value, source), name)

    return rule


@dataclass(frozen=True)
class Extension(Generic[T]):
    """An extension as a listing shows it.

    Attributes:
        name: Name that a configuration, card or command line uses.
        source: File, or the distribution and its entry point.
        value: The extension; None if it is broken.
        error: What is wrong with it; None if it can be used.
    """

    name: str
    source: str
    value: T | None
    error: FoundationXError | None = None


@dataclass(frozen=True)
class _Candidate:
    """Location of an extension: ``load`` gives its module or object."""

    source: str
    is_outside: bool
    load: Callable[[], Any]


class Extensions(Generic[T]):
    """All extensions of one kind.

    Args:
        kind: What one is called, in the singular (``head``); its plural is the entry points' group unless given.
        package: Package whose folder is scanned.
        rule: What counts.
        pattern: Files that are scanned, relative to the folder; those that begin with ``_`` are never extensions.
        shared: Names of files that the folder's extensions share.
        name_of: Path relative to the folder -> name; the file's name without ending by default.
        group: Entry points' group without ``foundationx.``.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        rule: Rule[T],
        *,
        pattern: str = "*.py",
        shared: Collection[str] = (),
        name_of: Callable[[PurePath], str] = lambda path: path.stem,
        group: str = "",
    ):
        self.kind = kind
        self.group = f"foundationx.{group or kind + 's'}"
        self._package, self._rule, self._pattern, self._shared, self._name_of = package, rule, pattern, shared, name_of
        self._scanned: tuple[object, dict[str, list[_Candidate]]] = (None, {})
        self._loaded: tuple[object, dict[str, T]] = (None, {})

    def names(self) -> tuple[str, ...]:
        """Names in alphabetical order, broken ones too; imports none of them."""
        return tuple(sorted(self._candidates()))

    def get(self, name: str, where: str = "", error: type[FoundationXError] = ConfigError) -> T:
        """The extension of a name.

        Args:
            name: As in :meth:`names`.
            where: File or key that asks for it, for messages.
            error: Raised if there is none of the name.

        Raises:
            FoundationXError: Of type ``error``: there is none of this name.
            ExtensionError: There are two, or it is broken.
        """
        candidates = self._candidates()
        if name not in candidates:
            fix = f"correct the name, or install the package that brings the {self.kind}"
            raise error(where or self.group, f"no {self.kind} is called {name!r}", nearest(name, candidates), fix)
        return self._only(name, candidates[name])

    def all(self) -> dict[str, T]:
        """Every extension by its name; broken ones of outside packages are left out.

        Raises:
            ExtensionError: A file of our own folder is broken, or two extensions have one name.
        """
        known = self._candidates()
        if self._loaded[0] is known:
            return dict(self._loaded[1])
        values = {}
        for name, candidates in sorted(known.items()):
            try:
                values[name] = self._only(name, candidates)
            except ExtensionError:
                if len(candidates) > 1 or not candidates[0].is_outside:
                    raise
        self._loaded = (known, values)
        return dict(values)

    def listing(self) -> list[Extension[T]]:
        """Every extension with its source; what cannot be used has its error instead of a value."""
        rows: list[Extension[T]] = []
        for name, candidates in sorted(self._candidates().items()):
            source = " and ".join(candidate.source for candidate in candidates)
            try:
                rows.append(Extension(name, source, self._only(name, candidates)))
            except FoundationXError as error:
                rows.append(Extension(name, source, None, error))
        return rows

    def _only(self, name: str, candidates: list[_Candidate]) -> T:
        if len(candidates) > 1:
            sources = " and ".join(candidate.source for candidate in candidates)
            found = f"two {self.kind}s are called {name!r}"
            raise ExtensionError(sources, found, "one of each name", "rename one, or uninstall its package")
        return self._rule(candidates[0].load(), candidates[0].source)

    def _candidates(self) -> dict[str, list[_Candidate]]:
        """Locations by name; folders are scanned again when they or Python's search path have changed."""
        folders = tuple(import_module(self._package).__path__)
        state = (tuple(sys.path), folders, [path.stat().st_mtime_ns for path in self._watched(folders)])
        if self._scanned[0] != state:
            self._scanned = (state, self._scan(folders))
        return self._scanned[1]

    def _watched(self, folders: Collection[str]) -> list[Path]:
        """Folders in which an extension may appear."""
        within, own = PurePath(self._pattern).parent, [Path(folder) for folder in folders]
        return own + [path for folder in own if within.parts for path in sorted(folder.glob(str(within)))]

    def _scan(self, folders: Collection[str]) -> dict[str, list[_Candidate]]:
        candidates: dict[str, list[_Candidate]] = {}
        for folder in folders:
            for path in sorted(Path(folder).glob(self._pattern)):
                if not path.name.startswith("_") and path.stem not in self._shared:
                    relative = path.relative_to(folder)
                    module = ".".join((self._package, *relative.with_suffix("").parts))
                    candidate = _Candidate(str(path), False, partial(import_module, module))
                    candidates.setdefault(self._name_of(relative), []).append(candidate)
        for point in _entry_points(self.group):
            candidates.setdefault(point.name, []).append(_outside(point))
        return candidates


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of a group, of all installed distributions."""
    return _read_entry_points(group, tuple(sys.path))


@lru_cache
def _read_entry_points(group: str, search_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Read again when Python's search path has changed."""
    return tuple(_installed(search_path).select(group=group))


@lru_cache(maxsize=4)
def _installed(search_path: tuple[str, ...]) -> Any:
    """Those of all groups, for which the lists of all distributions are read: ``select`` gives those of one.

    Their class is another one in Python 3.11 than later.
    """
    return entry_points()


def _outside(point: EntryPoint) -> _Candidate:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
    source = f"{distribution} (entry point {point.group}: {point.name} = {point.value})"

    def load() -> Any:
        try:
            return point.load()
        except Exception as error:  # whatever a foreign package does while it is imported
            found = f"cannot be loaded: {type(error).__name__}: {error}"
            fix = "upgrade or uninstall the package"
            raise ExtensionError(source, found, "a module that can be imported", fix) from error

    return _Candidate(source, True, load)


def _defined(module: Any, predicate: Callable[[Any], bool]) -> list[Any]:
    """What a module defines itself, not what it imports."""
    own = [value for _, value in inspect.getmembers(module, predicate) if value.__module__ == module.__name__]
    return list(dict.fromkeys(own))


def _is_own(module: Any, name: str) -> bool:
    value = getattr(module, name, None)
    if not isinstance(module, ModuleType) or not (inspect.isclass(value) or inspect.isroutine(value)):
        return hasattr(module, name)
    return value.__module__ == module.__name__


def _is_hidden(item: type) -> bool:
    return inspect.isabstract(item) or item.__name__.startswith("_")
