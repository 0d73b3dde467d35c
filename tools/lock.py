"""Writes requirements/lock.txt: every package that the distribution needs, with the hashes of its files.

python tools/lock.py    (needs uv: pip install uv)

For Linux and every Python that setup.cfg declares; it is an error if they need different versions. Installed from by
``pip install --require-hashes -r requirements/lock.txt``, then ``pip install --no-deps .``.
"""

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "lock.txt"
HEADER = "# Versions and hashes for Linux and Python {}. Written by: python tools/lock.py\n"


def pythons() -> list[str]:
    """Versions of Python that setup.cfg declares."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    said = [line.rpartition(" :: ")[2] for line in config["metadata"]["classifiers"].splitlines() if "Python" in line]
    return [version for version in said if "." in version]


def resolve(version: str) -> str:
    """The pinned packages of one Python."""
    command = ["uv", "pip", "compile", "-q", "--no-header", "--no-annotate", "--generate-hashes"]
    command += ["--python-platform", "linux", "--python-version", version, "-c", "requirements/constraints.txt"]
    ended = subprocess.run([*command, "setup.cfg"], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"Python {version}: {ended.stderr}")
    return ended.stdout


def main() -> None:
    """Resolves for every Python and writes the file."""
    found = {version: resolve(version) for version in pythons()}
    if len(set(found.values())) > 1:
        sys.exit(f"{', '.join(found)} need different versions: see requirements/constraints.txt")
    LOCK.write_text(HEADER.format(", ".join(found)) + next(iter(found.values())), encoding="utf-8")
    print(f"{LOCK}: {LOCK.read_text().count('==')} packages")


if __name__ == "__main__":
    main()
