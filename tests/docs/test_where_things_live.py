"""Where a newcomer looks for a thing, from README and folder names alone: seven answers, each of them true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What, where it is, and what stands in the file (so that a file of the right name with another content does not count).
ANSWERS = {
    "a dataset card": ("data_registry/nih_chestxray14.yaml", r"^name: nih_chestxray14$"),
    "a reader": ("foundationx/datasets/readers/coco.py", r"^def read|^class \w+"),
    "the Hungarian matching": ("foundationx/tasks/detection/matching.py", r"linear_sum_assignment"),
    "the EMA teacher": ("foundationx/models/ema_teacher.py", r"^class Teacher\b"),
    "lock and release: what is trained": ("foundationx/models/parameter_groups.py", r"lock"),
    "lock and release: when": ("foundationx/engine/schedule/cyclic.py", r"PhaseName\.LOCK|lock"),
    "the AUROC": ("foundationx/evaluation/metrics/auroc.py", r"(?i)auroc"),
    "the timm export": ("foundationx/weights/exports/timm.py", r"^FORMATS?\b"),
}


@pytest.mark.parametrize("thing", ANSWERS)
def test_each_thing_is_where_it_is_looked_for(thing):
    name, content = ANSWERS[thing]
    assert (ROOT / name).is_file(), f"{thing} is no longer in {name}: correct README and this test"
    assert re.search(content, (ROOT / name).read_text(encoding="utf-8"), re.M), f"{name} is no longer {thing}"


@pytest.mark.parametrize("thing", ANSWERS)
def test_the_readme_names_the_folder(thing):
    """The file itself, or its folder (in the row of its top folder) together with a word of the file's name."""
    path = Path(ANSWERS[thing][0])
    if path.parts[0] == "data_registry":
        assert re.search(r"cards[^.|]*`data_registry/`|`data_registry/` \(one YAML", README)
        return
    row = next(line for line in README.splitlines() if line.startswith(f"| `foundationx/{path.parts[1]}/` |"))
    inner = "/".join(path.parts[2:-1])
    assert f"`{path.name}`" in row or (inner and f"`{inner}/`" in row), f"{thing}: {row}"


def test_the_table_of_folders_is_complete_and_in_the_order_of_imports():
    rows = re.findall(r"^\| `foundationx/(\w+)/` \|", README, re.M)
    folders = {path.parent.name for path in (ROOT / "foundationx").glob("*/__init__.py")}
    assert set(rows) == folders and len(rows) == len(folders) == 11
    for number, folder in enumerate(rows):
        below = "|".join(rows[number + 1 :]) or "nothing"
        for path in (ROOT / "foundationx" / folder).rglob("*.py"):
            upward = re.findall(rf"^ *from foundationx\.({below})\b", path.read_text(encoding="utf-8"), re.M)
            assert not upward, f"{path.relative_to(ROOT)} imports {upward}, which the README lists below {folder}"
