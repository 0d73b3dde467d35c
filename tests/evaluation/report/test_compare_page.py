"""The page of a comparison: its numbers are the comparison's, pictures stand where they should, nothing executes."""

import re

import pytest

from foundationx.apps.cli.main import main
from foundationx.core.errors import DataError
from foundationx.evaluation.compare.compare import compare
from foundationx.evaluation.compare.table import difference, value
from foundationx.evaluation.report.compare_page import render
from tests.evaluation.report.test_report import Page
from tests.evaluation.test_compare import draw

NASTY = "<script>alert(1)<script>'\""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("base", NASTY)]
    for folder, noise in zip(folders, (1.2, 0.3), strict=True):
        draw(noise).write(folder)
    return folders


@pytest.fixture(scope="module")
def comparison(runs):
    return compare(runs, repeats=50)


def test_every_value_and_difference_stands_there_escaped(comparison):
    html = render(comparison)
    page = Page(html)
    assert page.tags.count("script") == 1 and NASTY in "".join(page.texts)
    for row in comparison.rows:
        assert row.class_name in page.shown and row.metric in page.shown
        for cell in row.cells:
            assert value(cell) in page.shown and difference(cell) in page.shown
    assert page.titles == ["Contents", "Headline of every head", "Differences from base", "Every class and metric"]


def test_points_stand_where_the_difference_is(comparison):
    (row,) = [row for row in comparison.rows if (row.metric, row.class_name) == ("AUROC", "mean")]
    cell = row.cells[1]
    widest = max(abs(cell.difference_low), abs(cell.difference_high))
    place = float(re.search(r"<b class='c1[^']*' style='left:([\d.]+)%", render(comparison)).group(1))
    assert (place - 50) / 50 * widest == pytest.approx(cell.difference, abs=0.002 * widest)
    widths = [float(width) for width in re.findall(r"<i class='c\d' style='width:([\d.]+)%", render(comparison))]
    assert widths == pytest.approx([100 * cell.value for cell in row.cells], abs=0.06)


def test_one_run_has_no_differences(runs):
    page = Page(render(compare(runs[:1], repeats=0)))
    assert page.titles == ["Contents", "Headline of every head", "Every class and metric"]


def test_the_command_writes_the_page_with_every_class(runs, tmp_path, capsys):
    path = tmp_path / "compare.html"
    assert main(["compare", *map(str, runs), "--repeats", "10", "--out", str(path)]) == 0
    assert " a " in Page(path.read_text()).shown, "a class"
    assert str(runs[0]) not in path.read_text(), "no path of this machine"


def test_a_folder_that_is_not_there_or_holds_no_run_is_told_apart(tmp_path, capsys):
    for folder, words in ((tmp_path / "nope", "there is no such folder"), (tmp_path, "holds no predictions")):
        with pytest.raises(DataError, match=words) as caught:
            compare([folder])
        assert f"eval {folder}" not in str(caught.value), "a command that could not work"
        assert main(["report", str(folder)]) == 2
        assert not (folder / "report.html").exists()
    assert not (tmp_path / "nope").exists()
