"""Every shell block of README and the pages is executed as it is printed, in the order of the page, in a copy.

README comes first: what it makes (phantoms, a run) is there for the pages, each of which gets a copy of its own. A
block that cannot run here has a comment ``<!-- not run: REASON -->`` above it; the test skips it with the reason.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\s*\n)?^(?P<indent> *)```(?P<language>\S*).*\n(?P<text>(?:.*\n)*?)^ *```$",
    re.M,
)
SHELL = ("bash", "sh", "shell", "console")
COPIED = ("configs", "data_registry", "docs", "tools", "benchmarks", "README.md", "Makefile")
SECONDS = 1800
"""Longest time of a block."""


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: Line of the page that it begins in.
        reason: Why it is not run; empty if it is.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str = ""


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        inner = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.M)
        yield Block(page, line, found["language"], inner, " ".join((found["reason"] or "").split()))


def shell_blocks(page):
    return [block for block in blocks_of(page) if block.language in SHELL]


def make_sandbox(folder):
    """A folder like a fresh clone after `make setup`."""
    folder.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def execute(block, folder):
    """Runs a block by bash; a failing line ends it."""
    beside_torch = (
        Path(torch.__file__).parents[4] / "bin"
    )  # the scripts of packages, if this environment lies over another
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOUNDATIONX_REG")}
    environment |= {"PATH": f"{sys.prefix}/bin:{beside_torch}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    where = f"{block.page.relative_to(ROOT)}:{block.line}"
    assert ended.returncode == 0, f"{where}\n{block.text}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"


@pytest.fixture(scope="module")
def after_readme(tmp_path_factory):
    """A copy of the clone in which the blocks of README have run."""
    folder = make_sandbox(tmp_path_factory.mktemp("docs") / "clone")
    for block in shell_blocks(README):
        if not block.reason:
            execute(block, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shell_blocks_run_as_printed(page, after_readme, tmp_path):
    blocks = shell_blocks(page)
    if page == README or not any(not block.reason for block in blocks):
        skipped = "; ".join(f"line {block.line}: {block.reason}" for block in blocks if block.reason)
        if page != README:
            pytest.skip(skipped or "no shell block")
        return
    folder = tmp_path / "clone"
    shutil.copytree(after_readme, folder, symlinks=True)
    for block in blocks:
        if not block.reason:
            execute(block, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_its_language(page):
    """A block without a language could be a command that nobody runs."""
    bare = [f"line {block.line}" for block in blocks_of(page) if not block.language]
    assert not bare, f"{page.name}: {', '.join(bare)}: write ```bash, or ```text for what is only shown"


def test_what_is_not_run_is_little_and_has_a_reason():
    everything = [block for page in PAGES for block in shell_blocks(page)]
    left_out = [block for block in everything if block.reason]
    for block in left_out:
        print(f"{block.page.relative_to(ROOT)}:{block.line}: not run: {block.reason}")
    assert len(everything) > 15 and len(left_out) <= len(everything) / 2
    assert all(len(block.reason) > 20 for block in left_out)


def test_the_check_itself_finds_blocks_and_their_faults(tmp_path):
    page = tmp_path / "page.md"
    inner = "- b\n  <!-- not run: needs a\n  cluster of machines -->\n  ```bash\n  srun x\n  ```\n"
    page.write_text("a\n```bash\ntrue\n```\n" + inner + "```\nbare\n```\n")
    blocks = list(blocks_of(page))
    assert [(block.line, block.language, block.text) for block in blocks] == [
        (3, "bash", "true\n"),
        (9, "bash", "srun x\n"),
        (12, "", "bare\n"),
    ]
    assert [block.reason for block in blocks] == ["", "needs a cluster of machines", ""]
    with pytest.raises(AssertionError, match="no-such-command"):
        execute(Block(README, 1, "bash", "no-such-command\ntrue\n"), tmp_path)
