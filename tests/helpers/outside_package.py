"""An installed distribution outside foundationx that brings extensions, as Python's packaging would lay it down."""

from pathlib import Path


def install_distribution(
    folder: Path, name: str, entry_points: dict[str, dict[str, str]], modules: dict[str, str]
) -> None:
    """Writes modules and metadata into a folder of Python's search path.

    Args:
        folder: Folder to write into.
        name: Name of the distribution, version 1.0.
        entry_points: Group -> name -> value.
        modules: Module name -> source text.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
