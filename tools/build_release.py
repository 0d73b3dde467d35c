"""Builds what a release consists of, in dist: wheel, sdist, and the bill of materials of what they need (CycloneDX).

python tools/build_release.py [DIST]    (needs build and cyclonedx-bom: pip install -e '.[release]')

The bill of materials lists requirements/lock.txt; cyclonedx-bom writes it. Nothing is fetched.
"""

import configparser
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPEC_VERSION = "1.6"


def run(*words: str) -> None:
    """Runs a module of this Python. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)


def write_bill(path: Path, version: str) -> None:
    """The bill of materials of the locked packages, with the distribution as what it is of."""
    words = ["requirements", "requirements/lock.txt", "--output-reproducible", "--validate"]
    run("cyclonedx_py", *words, "--sv", SPEC_VERSION, "--of", "JSON", "-o", str(path))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, licence = config["metadata"]["name"], config["metadata"]["license"]
    bill = json.loads(path.read_text(encoding="utf-8"))
    reference = f"pkg:pypi/{name}@{version}"
    described = {"name": name, "version": version, "type": "library", "bom-ref": reference, "purl": reference}
    bill.setdefault("metadata", {})["component"] = described | {"licenses": [{"license": {"id": licence}}]}
    path.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Builds everything."""
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "dist"
    run("build", "--no-isolation", "--outdir", str(folder))
    (wheel,) = folder.glob("foundationx_cxr-*.whl")
    version = wheel.name.split("-")[1]
    write_bill(folder / f"foundationx_cxr-{version}.cdx.json", version)
    print("\n".join(str(path) for path in sorted(folder.iterdir())))


if __name__ == "__main__":
    main()
