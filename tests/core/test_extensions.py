"""The scan of extension folders: what counts, what is refused, and how outside packages join."""

import itertools
import subprocess
import sys

import pytest

from foundationx.core.errors import CardError, ConfigError, ExtensionError
from foundationx.core.extensions import Extensions, module_with, one_class, one_function, one_value
from tests.helpers.outside_package import install_distribution

NUMBER = itertools.count()


class Shape:
    """Base class of the tests' extensions."""


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A function: file name -> text, written as a package's folder, gives the Extensions of that folder."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(files, rule=None, **options):
        package = f"shapes_{next(NUMBER)}"
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PACKAGE", package))
        return Extensions("shape", package, rule or one_class(Shape), **options)

    return make


HEADER = "from tests.core.test_extensions import Shape\n"
CIRCLE = HEADER + "class Circle(Shape):\n    pass\n"


def test_a_class_counts_where_it_is_defined(shapes):
    result = shapes(
        {"circle.py": CIRCLE, "disc.py": "from PACKAGE.circle import Circle\nclass Disc(Circle):\n    pass\n"}
    )
    assert {name: value.__name__ for name, value in result.all().items()} == {"circle": "Circle", "disc": "Disc"}
    assert result.names() == ("circle", "disc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "Imported = Shape\n", "square.py: defines no class derived from Shape"),
        (
            CIRCLE + "class Square(Shape):\n    pass\n",
            "square.py: defines 2 classes derived from Shape: Circle, Square",
        ),
    ],
)
def test_none_or_two_in_a_file_name_the_file(shapes, text, message):
    result = shapes({"square.py": text})
    with pytest.raises(ExtensionError) as caught:
        result.get("square")
    assert message in str(caught.value) and "fix:" in str(caught.value)
    with pytest.raises(ExtensionError):
        result.all()


def test_helpers_and_abstract_bases_do_not_count(shapes):
    text = CIRCLE + (
        "class _Helper(Shape):\n    pass\n"
        "import abc\n"
        "class Base(Shape, abc.ABC):\n    @abc.abstractmethod\n    def area(self): ...\n"
    )
    files = {"circle.py": text, "_tools.py": "raise RuntimeError", "common.py": "raise RuntimeError"}
    assert list(shapes(files, shared=("common",)).all()) == ["circle"]


def test_other_rules(shapes):
    text = "from pathlib import Path\nSIZE = Path('4')\ndef draw():\n    return 1\nfrom os import remove\n"
    assert shapes({"a.py": text}, module_with("SIZE", "draw")).get("a").draw() == 1
    assert shapes({"a.py": text}, one_function("draw")).get("a")() == 1
    from pathlib import Path

    assert shapes({"a.py": text}, one_value("SIZE", Path)).get("a") == Path("4")
    for rule, missing in [(module_with("remove", "SIZE"), "remove"), (one_function("paint"), "paint")]:
        with pytest.raises(ExtensionError, match=rf"a.py: defines no {missing}"):
            shapes({"a.py": text}, rule).get("a")
    with pytest.raises(ExtensionError, match=r"a.py: defines no SIZE"):
        shapes({"a.py": "SIZE = 4"}, one_value("SIZE", Path)).get("a")


def test_an_unknown_name_gives_the_nearest(shapes):
    result = shapes({"circle.py": CIRCLE})
    with pytest.raises(ConfigError, match=r"model.shape: no shape is called 'cirle'\n.*did you mean 'circle'"):
        result.get("cirle", "model.shape")
    with pytest.raises(CardError):
        result.get("x", error=CardError)


def test_two_files_of_one_name_are_an_error_that_names_both(shapes):
    result = shapes(
        {"a/shape.py": CIRCLE, "b/shape.py": CIRCLE, "a/__init__.py": "", "b/__init__.py": ""}, pattern="*/shape.py"
    )
    with pytest.raises(ExtensionError, match=r"a/shape.py and .*b/shape.py: two shapes are called 'shape'"):
        result.get("shape")
    named = shapes({"a/shape.py": CIRCLE}, pattern="*/shape.py", name_of=lambda path: path.parent.name)
    assert named.names() == ("a",)


def test_an_outside_package_joins_by_entry_point(shapes, tmp_path):
    result = shapes({"circle.py": CIRCLE})
    points = {"foundationx.shapes": {"ring": "outside_a", "oval": "outside_a:Ring"}}
    install_distribution(tmp_path, "more-shapes", points, {"outside_a": HEADER + "class Ring(Shape):\n    pass\n"})
    sys.path.append(str(tmp_path / "another"))  # the search path changed: entry points are read anew
    try:
        assert result.names() == ("circle", "oval", "ring")
        assert result.get("ring") is result.get("oval")
        source = {row.name: row.source for row in result.listing()}["ring"]
        assert source == "more-shapes 1.0 (entry point foundationx.shapes: ring = outside_a)"
    finally:
        sys.path.remove(str(tmp_path / "another"))


def test_ours_and_an_outside_one_of_the_same_name(shapes, tmp_path, monkeypatch):
    result = shapes({"circle.py": CIRCLE})
    install_distribution(tmp_path, "twin", {"foundationx.shapes": {"circle": "outside_b"}}, {"outside_b": CIRCLE})
    monkeypatch.syspath_prepend(str(tmp_path / "another"))
    with pytest.raises(ExtensionError, match=r"circle.py and twin 1.0 .*two shapes are called 'circle'"):
        result.get("circle")


def test_a_broken_plug_in_is_an_error_only_when_it_is_asked_for(shapes, tmp_path, monkeypatch):
    result = shapes({"circle.py": CIRCLE})
    points = {"foundationx.shapes": {"bad": "outside_c", "gone": "no_such_module_at_all", "wrong": "outside_d:Number"}}
    modules = {"outside_c": "raise RuntimeError('no luck')", "outside_d": "class Number:\n    pass\n"}
    install_distribution(tmp_path, "broken-shapes", points, modules)
    monkeypatch.syspath_prepend(str(tmp_path / "another"))
    assert list(result.all()) == ["circle"]
    rows = {row.name: row for row in result.listing()}
    assert rows["circle"].error is None and all(rows[name].value is None for name in ("bad", "gone", "wrong"))
    with pytest.raises(ExtensionError, match=r"broken-shapes 1.0 .*RuntimeError: no luck"):
        result.get("bad")
    with pytest.raises(ExtensionError, match=r"broken-shapes 1.0 .*derived from Shape"):
        result.get("wrong")


def test_the_scan_needs_no_torch():
    code = (
        "import sys; from foundationx.core.extensions import Extensions, module_with;"
        "Extensions('reader', 'foundationx.datasets.readers', module_with('read')).names();"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
