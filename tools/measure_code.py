"""Measures the shape of the code: ``python tools/measure_code.py [PACKAGE_FOLDER] [--mypy]``.

Prints each measure beside its value before the package was divided into eleven folders, and its goal. Only the syntax
tree is read; nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BEFORE = {
    "names at the top of the package": ("29", "<= 12"),
    "levels of imports between folders": ("12", "<= 7"),
    "imports inside their own folder, core apart": ("38 %", ">= 65 %"),
    "lines of a function, median": ("7", ""),
    "lines of a function, 95th percentile": ("26", "<= 26"),
    "lines of a function, longest": ("53", "<= 53"),
    "import circles": ("0", "0"),
    "names imported from mm* packages": ("21", "<= 15"),
    "files that import from mm* packages": ("12", "1"),
    "places that name a concrete task outside tasks and core": ("76", "<= 12"),
    "mypy errors": ("420", "0"),
}
"""Value at commit f9a80f5, measured by this script, and goal of every measure, in the order of printing."""

MM_PACKAGES = ("mmengine", "mmcv", "mmdet", "mmseg")
CONCRETE_TASK = re.compile(r"Task\.(CLASSIFICATION|DETECTION|SEGMENTATION|SELF_SUPERVISION)\b")


@dataclass
class Code:
    """What is read of a package.

    Attributes:
        root: The package's folder.
        trees: Syntax tree of every module, by its dotted name.
        files: File of every module.
        imports: Modules of the package that each module imports, once per imported module.
    """

    root: Path
    trees: dict[str, ast.Module] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    imports: dict[str, set[str]] = field(default_factory=dict)


def read_code(root: Path) -> Code:
    """Parses every module of a package."""
    code = Code(root)
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        code.trees[name], code.files[name] = ast.parse(path.read_text(encoding="utf-8")), path
    for name, tree in code.trees.items():
        code.imports[name] = {result for result in _modules(code, tree) if result != name}
    return code


def _modules(code: Code, tree: ast.Module) -> Iterator[str]:
    """Modules of the package that a module imports."""
    for dotted in imported_names(tree):
        while dotted and dotted not in code.trees:
            dotted = dotted.rpartition(".")[0]
        if dotted:
            yield dotted


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a module imports (``package.module.name``), at any depth; not those for type checkers alone."""
    for node in _nodes_that_run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _nodes_that_run(node)


def top_names(code: Code) -> list[str]:
    """Folders and modules directly inside the package."""
    inside = {name.split(".")[1] for name in code.trees if "." in name}
    return sorted(inside)


def folder_of(module: str) -> str:
    """Top folder (or top module) that a module belongs to."""
    return [*module.split("."), ""][1]


def levels(code: Code) -> int:
    """Length of the longest chain of imports between top folders; folders that import each other share a level.

    The package's own ``__init__.py`` counts as a folder.
    """
    between: dict[str, set[str]] = {name: set() for name in ["", *top_names(code)]}
    for module, targets in code.imports.items():
        between[folder_of(module)] |= {folder_of(target) for target in targets} - {folder_of(module)}
    return longest_chain(between)


def longest_chain(graph: dict[str, set[str]]) -> int:
    """Nodes on the longest path of a graph in which every circle counts as one node."""
    group_of = {name: number for number, group in enumerate(groups(graph)) for name in group}
    arrows = {number: {group_of[b] for a in group for b in graph[a]} for number, group in enumerate(groups(graph))}
    lengths: dict[int, int] = {}

    def length(number: int) -> int:
        if number not in lengths:
            lengths[number] = 1 + max((length(other) for other in arrows[number] - {number}), default=0)
        return lengths[number]

    return max(map(length, arrows), default=0)


def groups(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components: nodes that reach each other stand in one group."""
    reached = {name: _reachable(graph, name) for name in graph}
    done: set[str] = set()
    result = []
    for name in graph:
        if name not in done:
            group = [name, *(other for other in reached[name] if other != name and name in reached[other])]
            done.update(group)
            result.append(group)
    return result


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    result: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - result:
            result.add(name)
            waiting.append(name)
    return result


def share_inside(code: Code) -> float:
    """Share of the imports inside the package that stay in their top folder; imports of and from core left out."""
    pairs = [(folder_of(a), folder_of(b)) for a, targets in code.imports.items() for b in targets]
    pairs = [pair for pair in pairs if "core" not in pair]
    return sum(a == b for a, b in pairs) / max(1, len(pairs))


def function_lengths(code: Code) -> list[tuple[int, str]]:
    """Lines and name of every function and method, ascending."""
    lengths = []
    for module, tree in code.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append(((node.end_lineno or node.lineno) - node.lineno + 1, f"{module}.{node.name}"))
    return sorted(lengths)


def percentile(values: list[tuple[int, str]], share: float) -> int:
    """The number of lines that ``share`` of the functions do not exceed."""
    return values[round(share * (len(values) - 1))][0]


def mm_names(code: Code) -> dict[str, set[str]]:
    """Names that each module imports from mm* packages, by a statement or through a table of names (name: module)."""
    result = {
        module: {name for name in (*imported_names(tree), *_tabled_names(tree)) if name.split(".")[0] in MM_PACKAGES}
        for module, tree in code.trees.items()
    }
    return {module: names for module, names in result.items() if names}


def _tabled_names(tree: ast.Module) -> Iterator[str]:
    """``module.name`` of every entry ``"name": "module"`` or ``"name": "module:NAME"`` of a dictionary.

    Types of a registry (``mmdet.SwinTransformer``) are no modules: the names of modules are in lower case.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    module = str(value.value).partition(":")[0]
                    if module.islower():
                        yield f"{module}.{key.value!s}"


def concrete_tasks(code: Code) -> int:
    """Lines outside ``tasks`` and ``core`` that name one task."""
    files = [path for module, path in code.files.items() if folder_of(module) not in ("tasks", "core")]
    return sum(bool(CONCRETE_TASK.search(line)) for path in files for line in path.read_text("utf-8").splitlines())


def mypy_errors(root: Path) -> int:
    """Errors that mypy reports for the package."""
    ended = subprocess.run([sys.executable, "-m", "mypy", str(root)], capture_output=True, text=True, check=False)
    return sum(": error:" in line for line in ended.stdout.splitlines())


def measure(root: Path) -> dict[str, str]:
    """Every measure but mypy's, by its name in ``BEFORE``."""
    code = read_code(root)
    lengths, names = function_lengths(code), mm_names(code)
    circles = [group for group in groups(code.imports) if len(group) > 1]
    values = (
        str(len(top_names(code))),
        str(levels(code)),
        f"{100 * share_inside(code):.0f} %",
        *(str(percentile(lengths, share)) for share in (0.5, 0.95)),
        f"{lengths[-1][0]} ({lengths[-1][1]})",
        f"{len(circles)}" + "".join(f" ({', '.join(sorted(circle))})" for circle in circles),
        str(len(set().union(*names.values()))),
        str(len(names)),
        str(concrete_tasks(code)),
    )
    return dict(zip(BEFORE, values, strict=False))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="measure the shape of the code")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[1] / "foundationx")
    parser.add_argument("--mypy", action="store_true", help="count type errors as well (about a minute)")
    options = parser.parse_args()
    now = measure(options.folder.resolve())
    if options.mypy:
        now["mypy errors"] = str(mypy_errors(options.folder))
    print(f"{'':<58}{'before':>8}{'goal':>9}  now")
    for name, value in now.items():
        before, goal = BEFORE[name]
        print(f"{name:<58}{before:>8}{goal:>9}  {value}")


if __name__ == "__main__":
    main()
