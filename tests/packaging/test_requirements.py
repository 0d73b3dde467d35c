"""What the package imports is what it declares."""

import ast
import configparser
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from foundationx.core.distribution import DISTRIBUTION, install_hint

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = (
    *("backbones", "conformal", "dicom", "dicom-out", "flare", "hub", "mlflow", "onnx", "parquet", "portal", "ray"),
    *("tensorboard", "trackio", "wandb"),
)
OF_EXTRAS = (
    "foundationx/apps/federation/flare.py",
    "foundationx/apps/portal/answers.py",
    "foundationx/apps/portal/api_fuse.py",
    "foundationx/apps/portal/jobs.py",
    "foundationx/apps/portal/server.py",
    "foundationx/weights/hub_code/image_processing_grey.py",
    "foundationx/weights/hub_code/modeling_shifted_swin.py",
)
"""Modules that nobody imports who has not asked for the extra."""
TEXTS = (".py", ".md", ".yaml", ".txt", ".sh", ".ipynb", ".json", ".html")


def declared(*extras):
    """Distributions that setup.cfg names: required, and of extras."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    text = parser["options"]["install_requires"] + "".join(parser["options.extras_require"][name] for name in extras)
    names = (re.match(r"[\w.-]+", line.strip()) for line in text.splitlines())
    return {normal(name.group()) for name in names if name}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imports(tree):
    """Top-level names of modules that a file imports when it runs, and whether at its top."""
    top = {id(node) for node in tree.body}
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0], id(node) in top


FOUND = {}
for path in sorted((ROOT / "foundationx").rglob("*.py")):
    for module, at_top in imports(ast.parse(path.read_text())):
        if module not in sys.stdlib_module_names and module != "foundationx":
            FOUND.setdefault((module, at_top), path)


@pytest.mark.parametrize(("module", "at_top"), sorted(FOUND))
def test_every_import_is_declared(module, at_top):
    distributions = {normal(name) for name in packages_distributions().get(module, ())}
    is_needed = at_top and FOUND[module, at_top].relative_to(ROOT).as_posix() not in OF_EXTRAS
    known = declared() if is_needed else declared(*OPTIONAL)
    if not distributions and not at_top:
        pytest.skip(f"{module} is not installed here")
    assert distributions & known, (
        f"{FOUND[module, at_top]} imports {module} of {distributions}: declare it in setup.cfg"
    )


def test_the_check_itself_sees_imports_and_requirements():
    text = "import os.path\nfrom PIL import Image\ndef f():\n    import onnx.checker\n"
    tree = ast.parse(text + "if TYPE_CHECKING:\n    import pandas\n")
    assert list(imports(tree)) == [("os", True), ("PIL", True), ("onnx", False)]
    assert {"torch", "pillow", "onedl-mmengine"} <= declared() and "onnx" not in declared()


def test_the_distribution_is_called_by_a_name_of_its_own():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert parser["metadata"]["name"] == DISTRIBUTION != "foundationx"
    assert install_hint("onnx") == f"pip install -e '.[onnx]' in the clone, or pip install '{DISTRIBUTION}[onnx]'"
    assert install_hint() == f"pip install -e . in the clone, or pip install {DISTRIBUTION}"


def test_nobody_is_told_to_install_the_package_of_somebody_else():
    """On the index, ``foundationx`` is another package: no code and no page names it behind ``pip install``."""
    wrong = re.compile(r"pip install [^\n`]*\bfoundationx(?!-cxr)\b")
    folders = ("foundationx", "docs", "tools", "benchmarks", "configs", "data_registry", "requirements")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    files += [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "setup.cfg"]
    assert len(files) > 200 and wrong.search("pip install 'foundationx[onnx]'")
    found = [f"{path.relative_to(ROOT)}: {line}" for path in files for line in wrong.findall(path.read_text())]
    assert not found


def test_every_extra_of_a_hint_exists():
    """``install_hint("x")`` names an extra of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    texts = [path.read_text() for path in (ROOT / "foundationx").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"install_hint\(\"([\w-]+)\"\)", text)}
    assert {"onnx", "parquet"} <= named <= set(parser["options.extras_require"])
