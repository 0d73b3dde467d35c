"""The wheel works where there is no clone: it is built, installed into an empty folder and used from there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("foundationx", "configs", "data_registry", "setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
RUN = """
import sys
root, target = sys.argv[1:3]
sys.path = [target, *(entry for entry in sys.path if entry not in ("", root))]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
import foundationx
assert foundationx.__file__.startswith(target), foundationx.__file__
from foundationx.core.resources import resource_folder
assert all(str(resource_folder(name)).startswith(target) for name in ("data_registry", "configs"))
from foundationx.apps.cli.main import main
sys.exit(main(sys.argv[3:]))
"""

pytestmark = pytest.mark.slow


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    clone, target = folder / "clone", folder / "site"
    clone.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(clone))
    (wheel,) = folder.glob("foundationx_cxr-*.whl")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    shutil.rmtree(clone)
    return target


@pytest.fixture
def run(installed, tmp_path):
    """Runs the installed command in an empty folder."""
    home = tmp_path / "empty"
    home.mkdir()

    def command(*arguments):
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FOUNDATIONX"))}
        return subprocess.run(
            [sys.executable, "-c", RUN, str(ROOT), str(installed), *arguments],
            cwd=home,
            env=variables,
            capture_output=True,
            text=True,
            timeout=1200,
        )

    return command


def test_the_wheel_holds_every_card_and_configuration(installed):
    for name in ("data_registry", "configs"):
        files = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*") if path.is_file()}
        files = {path for path in files if "__pycache__" not in path.parts}
        packaged = installed / "foundationx" / name
        assert len(files) > 20
        assert files == {
            path.relative_to(packaged)
            for path in packaged.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }


def test_cards_are_listed_and_the_portal_is_written(run, tmp_path):
    ended = run("data", "list")
    assert ended.returncode == 0 and "chestx_det" in ended.stdout, ended.stderr
    ended = run("portal", "--out", str(tmp_path / "portal.html"))
    assert ended.returncode == 0, ended.stderr
    assert "chestx_det" in (tmp_path / "portal.html").read_text()


def test_the_demo_and_the_plan_of_a_packaged_configuration(run, tmp_path):
    ended = run("demo", "--folder", str(tmp_path / "demo"), "--images", "14", "--size", "64", "--cycles", "1")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "demo" / "run" / "report.html").is_file()
    assert (tmp_path / "demo" / "predictions").is_dir() and "held-out phantoms" in ended.stdout
    ended = run("plan", "quickstart/phantom", "--data-root", str(tmp_path / "demo" / "phantoms"))
    assert ended.returncode == 0 and "phantom_boxes/detection" in ended.stdout, ended.stderr
    ended = run("plan", "quickstart/phantm", "--data-root", str(tmp_path))
    assert ended.returncode == 2 and "did you mean 'quickstart/phantom'" in ended.stderr
