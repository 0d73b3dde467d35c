"""The shape of the house: imports run one way, files and functions stay short, no number of datasets stands in code."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "foundationx"

# From the ground up. A room may import from its own row and from those above it in this list, never from below.
ROOMS = [
    ("core",),
    ("datasets", "tasks"),
    ("models", "data"),
    ("engine", "curation", "phantoms"),
    ("evaluation", "weights"),
    ("apps",),
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.Module) -> set[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "foundationx" and len(part) > 1 and part[1] in LEVEL}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in LEVEL, f"{room} has no place in the house: give it one in ROOMS"
    upward = [name for name in imported_rooms(ast.parse(path.read_text())) if LEVEL[name] > LEVEL[room]]
    assert not upward, f"{path.name} ({room}) imports upwards: {upward}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 600, "more than one subject: split the file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_tools_that_wrap_commands_are_thin():
    wrappers = [path for path in (PACKAGE.parent / "tools").glob("*.py") if "foundationx" in path.read_text()]
    assert {"train.py", "test.py"} <= {path.name for path in wrappers}
    for path in wrappers:
        if path.name != "measure_code.py":  # imports nothing: it reads the package's syntax trees
            assert len(path.read_text().splitlines()) <= 60, f"{path.name} is more than a wrapper"


def test_the_check_itself_finds_an_upward_import():
    tree = ast.parse("from foundationx.engine.trainer import Trainer\nimport foundationx.core.types")
    assert imported_rooms(tree) == {"engine", "core"}
    assert LEVEL["engine"] > LEVEL["models"] > LEVEL["core"]
