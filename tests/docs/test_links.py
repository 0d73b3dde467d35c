"""Links, anchors, images, cited headings and paths in documents, docstrings and comments lead somewhere.

Nothing is fetched: addresses on the web are not looked at. Every fault names file and line.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path, PurePosixPath

import pytest

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
FOLDERS = ("foundationx", "docs", "configs", "tests", "benchmarks", "tools", "data_registry")
WRITTEN = ("licences.md", "table.md", "config.py")
"""What commands and benchmarks write: these names stand in texts, the files do not."""

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.M | re.S)
SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|<img[^>]*?src=\"([^\"]+)\"")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+(\S+)", re.M)
HEADING = re.compile(r"^#{1,6} +(.+?) *#* *$", re.M)
PATH = re.compile(rf"(?<![\w./*-])(?:{'|'.join(FOLDERS)})/[\w./*?{{}},-]*")
MODULE = re.compile(r"(?<![\w./*{}-])[\w.-]+(?:/[\w*.{},-]+)*\.py\b")
PAGE = re.compile(r"(?<![\w./*{}-])[\w./-]*\w\.md\b")
CITED = re.compile(r"`{0,2}(?P<page>docs/[\w./-]+\.md)`{0,2}(?P<titles>(?:(?:,|,? and)\s+\"[^\"]+\")+)")


def blanked(text: str, pattern: re.Pattern[str]) -> str:
    """The text with what the pattern matches as spaces; line numbers stay."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def plain(title: str) -> str:
    """A heading or a cited title as it is read: one line, links and code by their text."""
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return " ".join(title.replace("`", "").replace("*", "").split())


def slugs(titles: list[str]) -> set[str]:
    """GitHub's anchors of these headings, in their order."""
    result: dict[str, int] = {}
    for title in titles:
        slug = re.sub(r"[^\w\- ]", "", plain(title).lower()).replace(" ", "-")
        result[slug] = result.get(slug, -1) + 1
        if result[slug]:
            result[f"{slug}-{result[slug]}"] = 0
    return set(result)


@cache
def headings(page: Path) -> list[str]:
    """Headings of a page."""
    return [match[1] for match in HEADING.finditer(blanked(page.read_text(encoding="utf-8"), FENCE))]


def alternatives(path: str) -> list[str]:
    """What a path with braces stands for: a/{b,c} is a/b and a/c."""
    parts = [part.split(",") for part in re.split(r"\{([^{}]*,[^{}]*)\}", path)]
    parts = [[",".join(part)] if number % 2 == 0 else part for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*parts)]


def exists(root: Path, path: str) -> bool:
    """Whether a path of the repository, or each of its alternatives, names something."""
    return all(_one_exists(root, one) for one in alternatives(path))


def _one_exists(root: Path, path: str) -> bool:
    if (root / path).exists() or _is_made_up(path):
        return True
    pattern = with_stars(path).rstrip("/")
    return any(letter in pattern for letter in "*?") and next(root.glob(pattern), None) is not None


def with_stars(path: str) -> str:
    """The path as a pattern: dots, words in capitals (command_NAME) and names in braces stand for anything."""
    return re.sub(r"\.\.\.|[A-Z]{2,}|\{\w+\}", "*", path)


def _is_made_up(path: str) -> bool:
    """Whether it is a file of the reader's own, such as my_set.yaml."""
    return PurePosixPath(path).name.startswith("my_")


class Block:
    """A stretch of text of one file: a document, a docstring or some lines of comment.

    Args:
        file: where it stands, relative to the repository.
        text: with newlines as in the file.
        line: number of its first line.
    """

    def __init__(self, file: Path, text: str, line: int = 1):
        self.file, self.text, self.line = file, text, line

    def at(self, offset: int) -> str:
        """``file:line`` of a place in the text."""
        return f"{self.file}:{self.line + self.text[:offset].count(chr(10))}"


def path_faults(root: Path, block: Block) -> Iterator[str]:
    """Paths in backticks that do not exist."""
    for span in SPAN.finditer(blanked(block.text, FENCE)):
        for match in PATH.finditer(span[2]):
            path = match[0].rstrip(".,")
            if not exists(root, path):
                yield f"{block.at(span.start(2) + match.start())}: no such path: {path}"


def module_faults(root: Path, block: Block) -> Iterator[str]:
    """Python files in backticks, such as ``schedule/plan.py``, with which no file's path ends."""
    for span in SPAN.finditer(blanked(block.text, FENCE)):
        for match in MODULE.finditer(span[2]):
            if not is_module(root, match[0]):
                yield f"{block.at(span.start(2) + match.start())}: no such Python file: {match[0]}"


@cache
def is_module(root: Path, path: str) -> bool:
    """Whether the path of a Python file of the repository ends so."""
    ends = [with_stars(one) for one in alternatives(path)]
    return (
        path in WRITTEN or _is_made_up(path) or all(any(file.match(end) for file in python_files(root)) for end in ends)
    )


def heading_faults(root: Path, block: Block) -> Iterator[str]:
    """Cited headings, as in `docs/methods/ark.md`, "2.1 Algorithm", that the page does not have."""
    for match in CITED.finditer(block.text):
        page = root / match["page"]
        if not page.exists():
            continue  # a missing page is a fault of its own
        known = {plain(title) for title in headings(page)}
        for title in re.finditer(r"\"([^\"]+)\"", match["titles"]):
            if plain(title[1]) not in known:
                where = block.at(match.start("titles") + title.start())
                yield f'{where}: {match["page"]} has no heading "{plain(title[1])}"'


def link_faults(root: Path, block: Block) -> Iterator[str]:
    """Links, images and anchors of a document that lead nowhere."""
    text = blanked(blanked(block.text, FENCE), SPAN)
    for match in [*LINK.finditer(text), *REFERENCE.finditer(text)]:
        target = next(group for group in match.groups() if group)
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (root / block.file).parent / name if name else root / block.file
        if not file.exists():
            yield f"{block.at(match.start())}: broken link: {target}"
        elif anchor and (file.suffix != ".md" or anchor not in slugs(headings(file))):
            yield f"{block.at(match.start())}: no such anchor: {target}"


def page_faults(root: Path, block: Block) -> Iterator[str]:
    """Documents named in code otherwise than by their path from the root of the repository."""
    for match in PAGE.finditer(block.text):
        if match[0] not in WRITTEN and not exists(root, match[0]):
            yield f"{block.at(match.start())}: no such document: {match[0]} (name it as docs/PAGE.md)"


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, without the expressions in them: ten times fewer than ``ast.walk`` goes through."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for below in getattr(node, part, ()):
            yield below
            yield from statements(below)


def texts_of_code(file: Path, source: str) -> Iterator[Block]:
    """Docstrings, and comments that stand on lines that follow each other, without their marks."""
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Block(file, node.value.value, node.lineno)
    lines: dict[int, str] = {}
    if "#" not in source:
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0]] = token.string.lstrip("#")
    yield from _joined(file, lines)


def texts_of_yaml(file: Path, source: str) -> Iterator[Block]:
    """Comments that have a line of their own."""
    lines = {number: line.strip() for number, line in enumerate(source.splitlines(), start=1)}
    yield from _joined(file, {number: line.lstrip("#") for number, line in lines.items() if line.startswith("#")})


def _joined(file: Path, lines: dict[int, str]) -> Iterator[Block]:
    """Blocks of lines that follow each other."""
    starts = [number for number in lines if number - 1 not in lines]
    for first in starts:
        last = first
        while last + 1 in lines:
            last += 1
        yield Block(file, "\n".join(lines[number] for number in range(first, last + 1)), first)


def files(root: Path, suffix: str) -> list[Path]:
    """Files of the repository, relative to it: those at its root and in its own folders."""
    result = [*root.glob(f"*{suffix}"), *(file for name in FOLDERS for file in (root / name).rglob(f"*{suffix}"))]
    return sorted(file.relative_to(root) for file in result)


@cache
def python_files(root: Path) -> list[PurePosixPath]:
    """Python files of the repository, relative to it."""
    return [PurePosixPath(file.as_posix()) for file in files(root, ".py")]


@cache
def blocks(root: Path, file: Path) -> list[Block]:
    """What a person reads in a file."""
    source = (root / file).read_text(encoding="utf-8")
    if file.suffix == ".py":
        return list(texts_of_code(file, source))
    return list(texts_of_yaml(file, source)) if file.suffix == ".yaml" else [Block(file, source)]


def faults(root: Path, checks: tuple, *suffixes: str) -> list[str]:
    """All that the checks find in files with these suffixes."""
    read = [block for suffix in suffixes for file in files(root, suffix) for block in blocks(root, file)]
    return [fault for block in read for check in checks for fault in check(root, block)]


def listed(found: list[str]) -> str:
    return f"{len(found)} faults:\n" + "\n".join(found)


def test_links_images_anchors_and_paths_of_documents():
    result = faults(ROOT, (link_faults, path_faults, module_faults, heading_faults), ".md")
    assert not result, listed(result)


@pytest.mark.slow
def test_paths_and_headings_named_in_code():
    result = faults(ROOT, (path_faults, module_faults, heading_faults), ".py", ".yaml")
    assert not result, listed(result)


def test_code_names_documents_by_their_path():
    result = faults(ROOT, (page_faults,), ".py", ".yaml")
    assert not result, listed(result)


PAGE_OF_THE_TEST = """# A page

## 1 `One` thing

[good](#1-one-thing) [self](page.md) [other](sub/other.md#again-1) ![there](images/there.png) <https://example.org/x>
[bad](missing.md) `[no link](in_code.md)`
[bad](#2-nothing) and [bad](sub/other.md#nowhere)
![bad](images/missing.png)

```
[no link](in_a_fence.md) `docs/in_a_fence.md`
```

`docs/page.md`, `docs/sub/*.md`, `docs/{page,sub/other}.md`, `docs/sub/NAME.md` and `python docs/page.md --flag`
`docs/gone.md`, `docs/*.txt` and `docs/{page,gone}.md`; `configs/my_run.py`; `code.py`, `gone/code.py`, `co*.py`
`docs/page.md`, "1 One thing" and "2 Nothing"; `docs/sub/other.md`,
"Again"
"""

CODE_OF_THE_TEST = '''"""Follows ``docs/page.md``, "1 One
thing", and ``docs/gone.md``."""

# In two lines: see `docs/page.md`,
# "3 Nothing". Not `work_dirs/gone`.
VALUE = "`docs/gone_in_a_string.md`"
"""As other.md says, and docs/page.md."""
'''


@pytest.fixture
def repository(tmp_path):
    """A small repository with faults in known lines."""
    for name, text in {
        "docs/page.md": PAGE_OF_THE_TEST,
        "docs/sub/other.md": "# Again\n\n# Again\n",
        "docs/images/there.png": "",
        "foundationx/code.py": CODE_OF_THE_TEST,
        "data_registry/card.yaml": "name: x # `docs/not_looked_at.md`\n# see `docs/gone.md`\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_check_finds_what_is_broken_in_a_document(repository):
    assert faults(repository, (link_faults,), ".md") == [
        "docs/page.md:6: broken link: missing.md",
        "docs/page.md:7: no such anchor: #2-nothing",
        "docs/page.md:7: no such anchor: sub/other.md#nowhere",
        "docs/page.md:8: broken link: images/missing.png",
    ]
    assert faults(repository, (path_faults,), ".md") == [
        "docs/page.md:15: no such path: docs/gone.md",
        "docs/page.md:15: no such path: docs/*.txt",
        "docs/page.md:15: no such path: docs/{page,gone}.md",
    ]
    assert faults(repository, (module_faults,), ".md") == ["docs/page.md:15: no such Python file: gone/code.py"]
    assert faults(repository, (heading_faults,), ".md") == ['docs/page.md:16: docs/page.md has no heading "2 Nothing"']


def test_the_check_finds_what_is_broken_in_code(repository):
    assert faults(repository, (path_faults,), ".py", ".yaml") == [
        "foundationx/code.py:2: no such path: docs/gone.md",
        "data_registry/card.yaml:2: no such path: docs/gone.md",
    ]
    assert faults(repository, (heading_faults,), ".py") == [
        'foundationx/code.py:5: docs/page.md has no heading "3 Nothing"'
    ]
    assert faults(repository, (page_faults,), ".py") == [
        "foundationx/code.py:2: no such document: docs/gone.md (name it as docs/PAGE.md)",
        "foundationx/code.py:7: no such document: other.md (name it as docs/PAGE.md)",
    ]
