"""Size of what the package needs, package by package, as it is installed beside this Python.

    python benchmarks/bench_setup.py

Run it with the Python of a fresh `make demo`: packages that the set-up has taken out again are not counted.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from measuring import table
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from foundationx.core.distribution import DISTRIBUTION

MOST_NAMED = 12


def main() -> None:
    sizes = {name: size_of(package) for name, package in needed(DISTRIBUTION).items()}
    print("## Set-up\n")
    total = sum(sizes.values())
    print(f"{len(sizes)} packages of {total / 1e9:.2f} GB without extras, as their lists of files say; the largest:\n")
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:MOST_NAMED]
    rows = [[name, f"{size / 1e6:,.0f}"] for name, size in largest]
    table(["package", "MB"], [*rows, ["all others", f"{(total - sum(size for _, size in largest)) / 1e6:,.0f}"]])


def needed(name: str) -> dict[str, metadata.Distribution]:
    """A distribution and all that it needs without extras, as far as it is installed, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for line in found[name].requires or ():
            further = Requirement(line)
            extras = ("", *wanted.extras)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    return found


def size_of(package: metadata.Distribution) -> int:
    """Bytes of the files that a distribution lists."""
    paths = (Path(str(package.locate_file(file))) for file in package.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
