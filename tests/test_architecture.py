"""The shape of the code: imports run one way, functions stay short, few lines name a task, none a dataset."""

import ast
import re
from pathlib import Path

import pytest

from foundationx.core import openmmlab

PACKAGE = Path(__file__).resolve().parents[1] / "foundationx"

# From the ground up. A package may import from its own row and from those above it in this list, never from below.
PACKAGES = [
    ("core",),
    ("datasets", "tasks"),
    ("models", "data"),
    ("engine", "curation", "phantoms"),
    ("evaluation", "weights"),
    ("apps",),
]
LEVEL = {package: level for level, packages in enumerate(PACKAGES) for package in packages}
FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_packages(tree: ast.Module) -> set[str]:
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
    package = package_of(path)
    if package == "__init__":
        return
    assert package in LEVEL, f"{package} is not in PACKAGES: add it"
    upward = [name for name in imported_packages(ast.parse(path.read_text())) if LEVEL[name] > LEVEL[package]]
    assert not upward, f"{path.name} ({package}) imports upwards: {upward}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 600, "more than one subject: split the file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 53, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


CARDS = {path.stem for path in (PACKAGE.parent / "data_registry").glob("*.yaml")}
MAY_NAME_DATASETS = {
    "apps/cli/command_demo.py": "generates the phantom datasets and trains on them",
    "phantoms/write.py": "writes the phantom datasets",
    "weights/imports/foundation_x.py": "says which datasets the detectors and masks of Foundation X belong to",
    "weights/imports/released.py": "says which datasets the heads of released files belong to",
}


def dataset_names(tree: ast.Module) -> list[str]:
    """Names of cards that stand in code as text."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if text in CARDS]


def _is_count(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 1


def dataset_counts(tree: ast.Module) -> list[str]:
    """Comparisons of a number of datasets or cards with a fixed number above 1."""
    fixed = [node for node in ast.walk(tree) if isinstance(node, ast.Compare) and any(map(_is_count, ast.walk(node)))]
    texts = [ast.unparse(node) for node in fixed]
    return [text for text in texts if re.search(r"len\([\w.]*(datasets|cards)\)", text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_dataset_and_no_number_of_datasets_stands_in_code(path):
    tree = ast.parse(path.read_text())
    if str(path.relative_to(PACKAGE)) not in MAY_NAME_DATASETS:
        assert not dataset_names(tree)
    assert not dataset_counts(tree)


def test_the_check_itself_finds_datasets_and_their_number():
    tree = ast.parse("if card == 'chestx_det' and len(config.datasets) == 11 and len(self.cards) > 0: pass")
    assert dataset_names(tree) == ["chestx_det"]
    assert dataset_counts(tree) == ["len(config.datasets) == 11"]


TASKS = {path.parent.name for path in PACKAGE.glob("tasks/*/task.py")}
OTHER_MEANING = {
    "apps/run/coco_results.py": "COCO calls points `keypoints`",
    "datasets/fusion/aliases.py": "words of public tables and what they mean",
    "datasets/folder_draft.py": "COCO calls outlines `segmentation`",
    "datasets/readers/coco.py": "COCO calls outlines `segmentation`, and points `keypoints`",
    "datasets/readers/_coco_points.py": "COCO calls points `keypoints`",
    "datasets/readers/keypoints_csv.py": "the part of an annotation that it reads",
    "datasets/readers/point_lists_csv.py": "the part of an annotation that it reads",
    "phantoms/layouts/coco.py": "COCO calls outlines `segmentation`",
}


def task_lines(tree: ast.Module) -> list[int]:
    """Lines that name a concrete task: `Task.NAME`, a string that is a task's name, an import from a task's folder.

    Docstrings do not count, nor do names of attributes and keys in `model.detection`, which are the configuration's.
    """
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Task":
            lines += [node.lineno] * (node.attr.lower() in TASKS)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            lines += [node.lineno] * (isinstance(node.value, str) and node.value in TASKS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("foundationx.tasks"):
            named = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            lines += [node.lineno] * bool(named & TASKS)
    return lines


def test_at_most_twelve_lines_outside_tasks_and_core_name_a_concrete_task():
    assert {"classification", "detection", "keypoints", "segmentation", "self_supervision"} == TASKS
    lines = []
    for path in FILES:
        inside = path.relative_to(PACKAGE).as_posix()
        if package_of(path) not in ("tasks", "core") and inside not in OTHER_MEANING:
            lines += [f"{inside}:{line}" for line in task_lines(ast.parse(path.read_text()))]
    assert len(lines) <= 12, "\n".join(lines)


def test_the_count_sees_each_way_of_naming_a_task():
    code = (
        '"""segmentation"""\nfrom foundationx.tasks.detection.head import X\nfrom foundationx.tasks import detection\n'
        'a = Task.CLASSIFICATION\nb = {"segmentation": Task(name)}\n"detection"\nc = config.detection\n'
    )
    assert task_lines(ast.parse(code)) == [2, 3, 4, 5]


def test_tools_that_wrap_commands_are_thin():
    uses = re.compile(r"^\s*(from|import) foundationx\b", re.MULTILINE)
    wrappers = [path for path in (PACKAGE.parent / "tools").glob("*.py") if uses.search(path.read_text())]
    assert {"train.py", "test.py"} <= {path.name for path in wrappers}
    for path in wrappers:
        assert len(path.read_text().splitlines()) <= 60, f"{path.name} is more than a wrapper"


def test_the_check_itself_finds_an_upward_import():
    tree = ast.parse("from foundationx.engine.trainer import Trainer\nimport foundationx.core.types")
    assert imported_packages(tree) == {"engine", "core"}
    assert LEVEL["engine"] > LEVEL["models"] > LEVEL["core"]


OPENMMLAB = re.compile(r"(mmengine|mmcv|mmdet|mmseg)(\.|$)")


def openmmlab_imports(tree: ast.Module) -> set[str]:
    """Every name of mm* packages that a module imports, however it does."""
    result = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            result |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            result |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {name for name in result if OPENMMLAB.match(name)}


def test_leaving_openmmlab_is_possible():
    """Its packages are imported by one module, and not more than 15 names of them."""
    users = {path: openmmlab_imports(ast.parse(path.read_text())) for path in FILES}
    users = {str(path.relative_to(PACKAGE)): names for path, names in users.items() if names}
    assert users == {"core/openmmlab.py": {"mmengine", "mmcv"}}, "import them by core/openmmlab.py"
    assert len(openmmlab.NAMES) <= 15
    assert all(OPENMMLAB.match(module) for module in openmmlab.NAMES.values())


def test_every_name_of_openmmlab_is_used_and_there():
    """A name that nobody needs goes; each is imported when it is asked for."""
    used = set()
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "foundationx.core.openmmlab":
                used |= {alias.name for alias in node.names}
    inside = {"DefaultScope", "MMDET_MODELS", "MMSEG_MODELS", "MMLogger"}
    known = openmmlab.NAMES | openmmlab.FOR_THEIR_USERS
    assert used | inside == set(known)
    for name, module in known.items():
        assert getattr(openmmlab, name) is not None, module
    with pytest.raises(AttributeError, match="no attribute 'Registry'"):
        openmmlab.Registry  # noqa: B018


def test_the_count_itself_finds_every_way_to_import():
    text = "import mmcv.ops\nfrom mmdet.models import x\nimportlib.import_module('mmseg')\nimport mmap"
    assert openmmlab_imports(ast.parse(text)) == {"mmcv.ops", "mmdet.models.x", "mmseg"}
