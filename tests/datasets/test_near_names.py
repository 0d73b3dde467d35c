"""Names of files that are almost right: the near name, the line to write, and one summary of faults that are alike."""

from __future__ import annotations

import pytest

from foundationx.apps.cli.main import main
from foundationx.curation.check.run import check_card
from foundationx.curation.issues import Issue, IssueKind, Severity, group_alike, report_lines
from tests.helpers.reader_cards import Folder, fault, make_card


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def label_card(**source):
    options = {"image_column": "Image"}
    return make_card(
        "label_columns_csv", ["Nodule"], **{"file": "l.csv", "images": "images", "options": options} | source
    )


@pytest.mark.parametrize(
    ("names", "near", "line", "change"),
    [
        (["film_01.jpg", "film_02.jpg"], "film_01.png", "| .png", {"image_suffix": "| .png"}),
        (["film_01", "film_02"], "film_01.png", 'image_suffix: ".png"', {"image_suffix": ".png"}),
        (["images/film_01.png", "images/film_02.png"], "film_01.png", 'images: ""', {"images": ""}),
    ],
    ids=["other suffix", "no suffix", "folder in front"],
)
@pytest.mark.parametrize("folders", ["images", ["images", "more"]], ids=["one folder", "two folders"])
def test_the_near_name_and_the_line_to_write_are_named(folder, names, near, line, change, folders):
    folder.files("images/film_01.png", "images/film_02.png", "more/other.png")
    folder.write("l.csv", "Image,Nodule\n" + "".join(f"{name},{index}\n" for index, name in enumerate(names)))
    error = fault(folder, label_card(images=folders))
    assert near in error.expected and "did you mean" in error.expected
    assert line in error.fix
    assert folder.read(label_card(**{"images": folders} | change)).images == [
        "images/film_01.png",
        "images/film_02.png",
    ]


@pytest.mark.parametrize(
    ("images", "line"), [("images", '`images: "images/**"`'), ("", '`images: "**"`')], ids=["one level", "two levels"]
)
def test_a_file_in_a_folder_below_is_found_by_the_line_that_is_named(folder, images, line):
    folder.files("images/part/film_01.png", "images/other/film_02.png")
    folder.write("l.csv", "Image,Nodule\nfilm_01.png,1\nfilm_02.png,0\n")
    error = fault(folder, label_card(images=images))
    assert error.expected == "did you mean 'film_01.png' in 'images/part'?"
    assert line in error.fix
    found = folder.read(label_card(images=line.split('"')[1])).images
    assert found == ["images/part/film_01.png", "images/other/film_02.png"]


def test_a_misspelt_name_has_its_nearest_file(folder):
    folder.files("images/film_01.png", "images/film_02.png")
    folder.write("l.csv", "Image,Nodule\nfilm_1.png,1\n")
    assert "did you mean 'film_01.png'?" in fault(folder, label_card()).expected
    folder.write("l.csv", "Image,Nodule\nFilm_2.png,1\n")
    assert "did you mean 'film_02.png'?" in fault(folder, label_card()).expected


@pytest.mark.parametrize("folders", ["images", ["images", "more"]], ids=["one folder", "two folders"])
def test_other_capitals_are_the_same_name(folder, folders):
    folder.files("images/film_01.png", "images/film_02.png", "more/other.png")
    folder.write("l.csv", "Image,Nodule\nfilm_01.PNG,1\nFILM_02.png,0\n")
    assert folder.read(label_card(images=folders)).images == ["images/film_01.png", "images/film_02.png"]


def test_faults_that_are_alike_are_one_line_of_the_check(folder):
    folder.files(*(f"images/{number:04d}.png" for number in range(300)))
    folder.write("l.csv", "Image,Nodule\n" + "".join(f"{number:04d}.dcm,1\n" for number in range(300)))
    report = check_card(label_card(), folder.data_root)
    (absent,) = [group for group in group_alike(report.issues) if group.first.kind is IssueKind.ABSENT]
    assert len(absent.members) == 300
    line, *_ = [
        line for line in report_lines(report.issues, "x") if "[and 299 more alike: " in line and "0000.dcm" in line
    ]
    assert "did you mean '0000.png'?" in line and "| .png" in line and "[and 299 more alike: " in line
    assert report.as_json()["groups"][0]["count"] >= 1


def test_values_that_the_card_does_not_name_are_counted_each(folder):
    found = ["Pneumocystis"] * 10 + ["Streptococcus"] * 6 + ["Mass"]
    folder.files(*(f"images/{index}.png" for index in range(len(found))))
    folder.write("f.csv", "file,found\n" + "".join(f"{index}.png,{name}\n" for index, name in enumerate(found)))
    options = {"image_column": "file", "findings_column": "found"}
    card = make_card("findings_csv", ["Mass"], file="f.csv", images="images", options=options)
    groups = [
        group for group in group_alike(check_card(card, folder.data_root).issues) if group.first.kind is IssueKind.ROWS
    ]
    assert [len(group.members) for group in groups] == [10, 6]
    assert "'Pneumocystis' is not a class" in groups[0].line() and "[and 9 more alike: 1.png" in groups[0].line()
    assert "`ignore`" in groups[0].first.fix and "`sources`" in groups[0].first.fix


def test_what_differs_in_more_than_names_and_numbers_stays_apart():
    def issue(found, file="a.png", kind=IssueKind.IMAGES, severity=Severity.FAULT):
        return Issue(kind, severity, file, "", found)

    issues = [issue("is 5 px", "a.png"), issue("is 6 px", "b.png"), issue("is torn", "c.png")]
    issues += [issue("is torn", "d.png", severity=Severity.NOTE), issue("is torn", "e.png", IssueKind.TARGETS)]
    assert [len(group.members) for group in group_alike(issues)] == [2, 1, 1, 1]
    assert sum(len(group.members) for group in group_alike(issues)) == len(issues)


def test_the_command_names_the_option(folder, monkeypatch, capsys):
    import yaml

    folder.files("images/a.png")
    folder.write("l.csv", "Image,Nodule\na,1\n")
    card = label_card().model_dump(mode="json", exclude_none=True)
    (folder.data_root / "cards").mkdir()
    (folder.data_root / "cards" / "tiny.yaml").write_text(yaml.safe_dump(card))
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(folder.data_root / "cards"))
    assert main(["data", "check", "tiny", "--data-root", str(folder.data_root)]) == 1
    assert 'image_suffix: ".png"' in capsys.readouterr().out
