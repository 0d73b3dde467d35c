"""The lock file covers what setup.cfg asks for, and the release script builds wheel, sdist and bill of materials."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("foundationx", "configs", "data_registry", "tools", "requirements")
FILES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path):
    """Version of each package that a file pins; lines without a version are passed over."""
    found = (re.match(r"([\w.-]+)==([\w.+!-]+)", line) for line in path.read_text().splitlines())
    return {normal(match[1]): match[2] for match in found if match}


def test_the_lock_file_has_every_need_with_hashes_and_the_tested_versions():
    text = (ROOT / "requirements" / "lock.txt").read_text()
    entries = re.split(r"\n(?=\w)", text.partition("\n")[2])
    assert len(entries) > 60 and all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    locked, tested = pins(ROOT / "requirements" / "lock.txt"), pins(ROOT / "requirements" / "constraints.txt")
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = [line.strip() for line in parser["options"]["install_requires"].splitlines()]
    needed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for need in needed:
        assert need.specifier.contains(locked[normal(need.name)], prereleases=True), need
    assert {name: locked[name] for name in locked if name in tested} == {
        name: tested[name] for name in locked if name in tested
    }
    assert "3.11, 3.12, 3.13" in text.partition("\n")[0]


def test_every_extra_that_is_set_up_is_pinned():
    """The set-up installs from requirements/constraints.txt: what is not in it could be any version."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = re.search(r"^EXTRAS := (\S+)$", (ROOT / "Makefile").read_text(), re.M)[1].split(",")
    tested = pins(ROOT / "requirements" / "constraints.txt")
    for extra in extras:
        lines = [line.strip() for line in parser["options.extras_require"][extra].splitlines()]
        names = {normal(Requirement(line).name) for line in lines if line and not line.startswith("#")}
        assert names <= set(tested), f"{extra}: {names - set(tested)}"


@pytest.mark.slow
def test_a_release_is_wheel_sdist_and_bill_of_materials(tmp_path):
    for package in ("build", "cyclonedx_py"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e .[release]")
    clone, dist = tmp_path / "clone", tmp_path / "dist"
    clone.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, clone / name)
    for name in FILES:
        shutil.copy(ROOT / name, clone / name)
    command = [sys.executable, "tools/build_release.py", str(dist)]
    ended = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    (wheel,), (source,), (bill,) = (sorted(dist.glob(end)) for end in ("*.whl", "*.tar.gz", "*.cdx.json"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    assert "\nName: foundationx-cxr\n" in text and "\nRequires-Python: <3.14,>=3.11\n" in text
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(source) as archive:
        assert {"LICENSE", "setup.py"} <= {Path(name).name for name in archive.getnames()}
    parts = json.loads(bill.read_text())
    assert parts["bomFormat"] == "CycloneDX" and parts["metadata"]["component"]["name"] == "foundationx-cxr"
    listed = {normal(part["name"]): part["version"] for part in parts["components"]}
    assert listed == pins(ROOT / "requirements" / "lock.txt")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None
