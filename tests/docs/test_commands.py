"""Every command in README, CONTRIBUTING and the pages exists: its sub-commands, its options and the files it names."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from foundationx.apps.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
SHELL = ("", "sh", "bash", "shell", "console")
SPAN = re.compile(r"(?<!`)`(foundationx [^`]+)`(?!`)", re.S)
OURS = ("configs/", "tools/", "docs/", "data_registry/", "benchmarks/")


def commands(page):
    """Lines of shell blocks and spans of text that call foundationx, make or one of the project's scripts."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for language, block in BLOCK.findall(text) if language in SHELL]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in SPAN.findall(text)]
    for line in lines:
        if not re.match(r" *(\w+=\S+ )*(foundationx|make|python|torchrun) ", line):
            continue
        words = shlex.split(line.replace("`", ""), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        yield words


def sub_parsers(parser):
    return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)


def fault(words):
    """What is wrong with a call of foundationx, for people; None: nothing."""
    parser, rest = build_parser(), list(words[1:])
    while (choices := sub_parsers(parser)) and rest and not rest[0].startswith("-"):
        names = re.split(r"[|,]", rest[0])
        if unknown := [name for name in names if name not in choices and name != "NAME"]:
            return f"no command {unknown}"
        if len(names) > 1 or names == ["NAME"]:  # `data list|show CARD`: only names
            return None
        parser, rest = choices[rest[0]], rest[1:]
    known = {option: action for action in parser._actions for option in action.option_strings}
    for word, following in zip(rest, [*rest[1:], "-"], strict=False):
        name = word.strip("[]").split("=")[0]
        if name.startswith("--") and name not in known:
            return f"no option {name}"
        action = known.get(name)
        values = re.split(r"[|]", following)
        choices = action.choices if action is not None and re.fullmatch(r"[a-z|-]+", following) else None
        if choices and (unknown := [value for value in values if value not in choices]):
            return f"{name} is never {unknown}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for words in commands(page):
        line = " ".join(words)
        if words[0] == "foundationx":
            assert fault(words) is None, f"{page.name}: {line}: {fault(words)}"
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), f"{page.name}: {line}"
        for word in words:
            if word.startswith(OURS) and "..." not in word and not re.search(r"[*<>A-Z{]", word):
                assert (ROOT / word).exists(), f"{page.name}: {line}: there is no {word}"


def test_the_check_itself_finds_what_does_not_exist():
    assert fault(["foundationx", "trane", "x"]) == "no command ['trane']"
    assert fault(["foundationx", "data", "chek"]) == "no command ['chek']"
    assert fault(["foundationx", "train", "CONFIG", "--resum"]) == "no option --resum"
    assert fault(["foundationx", "eval", "RUN", "--split", "tset"]) == "--split is never ['tset']"
    assert fault(["foundationx", "eval", "RUN", "--split", "test"]) is None
    assert len(list(commands(ROOT / "README.md"))) >= 18


def test_the_readme_names_no_path_that_is_not_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    inside = re.sub(r"```.*?```", "", text, flags=re.S)
    named = set(re.findall(r"`((?:foundationx|configs|tools|docs|tests|benchmarks|data_registry)/[\w./-]*)`", inside))
    assert len(named) >= 20
    missing = [name for name in sorted(named - {"data_registry/my_set.yaml"}) if not (ROOT / name).exists()]
    assert not missing
