"""Unknown is not negative: what published strings say of the classes, and what they leave open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from foundationx.apps.cli.main import main
from foundationx.core.errors import CardError
from foundationx.core.types import Task
from foundationx.datasets.annotations import read_source
from foundationx.datasets.cards.card import load_card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.label_tree import LabelTree, TreeLabel
from tests.helpers.reader_cards import Folder, card_values, fault, make_card

NAN = math.nan
FINDINGS = {"image_column": "file", "findings_column": "found", "separator": ","}


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def findings(folder: Folder, cells: dict[str, str]) -> None:
    """Writes one row per image; several findings are separated by semicolons."""
    folder.files(*cells)
    folder.write("f.csv", "file,found\n" + "".join(f'{name},"{cell}"\n' for name, cell in cells.items()))


def labels_of(folder: Folder, card) -> dict[str, list[float]]:
    table = folder.read(card)
    return dict(zip(table.images, table.labels.tolist(), strict=True))


def assert_rows(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert list(found) == list(expected)
    np.testing.assert_array_equal(np.array(list(found.values())), np.array(list(expected.values())))


def test_a_row_with_nothing_but_ignored_findings_is_unknown(folder):
    cells = {
        "a": "ARDS",
        "b": "ARDS,COVID",
        "c": "No Finding",
        "d": "Tuberculosis",
        "e": "Tuberculosis,ARDS",
        "f": "todo",
    }
    findings(folder, cells)
    options = FINDINGS | {
        "ignore": ["ARDS"],
        "negative": ["No Finding"],
        "other": ["Tuberculosis"],
        "unknown": ["todo"],
    }
    card = make_card("findings_csv", ["COVID", "Pneumonia"], file="f.csv", options=options)
    unknown, absent = [NAN, NAN], [0, 0]
    expected = {"a": unknown, "b": [1, 0], "c": absent, "d": absent, "e": absent, "f": unknown}
    assert_rows(labels_of(folder, card), expected)
    strings = read_source(card, Task.CLASSIFICATION, folder.data_root, None, skip=False).strings
    assert strings.absent == {"No Finding": 1, "Tuberculosis": 2}
    assert strings.ignored == {"ARDS": 3}
    assert strings.unknown == {"todo": 1}


def test_an_unlisted_finding_is_a_fault_with_the_near_name_and_never_a_negative(folder):
    findings(folder, {"a": "Klebsiela"})
    card = make_card("findings_csv", ["Pneumonia"], file="f.csv", options=FINDINGS | {"other": ["Klebsiella"]})
    error = fault(folder, card)
    assert error.found == "'Klebsiela' is not a class of tiny" and "'Klebsiella'" in error.expected
    card = make_card("findings_csv", ["Pneumonia"], file="f.csv", options=FINDINGS | {"unlisted": "ignore"})
    assert_rows(labels_of(folder, card), {"a": [NAN]})
    strings = read_source(card, Task.CLASSIFICATION, folder.data_root, None, skip=False).strings
    assert strings.ignored == {"Klebsiela": 1} and not strings.absent


def test_a_finding_may_leave_some_classes_undecided(folder):
    findings(folder, {"a": "Pneumonia", "b": "COVID", "c": "Pneumonia,COVID", "d": "Normal"})
    options = FINDINGS | {"undecided": {"Pneumonia": ["COVID"]}, "negative": ["Normal"]}
    card = make_card("findings_csv", ["COVID", "Pneumonia"], file="f.csv", options=options)
    assert_rows(labels_of(folder, card), {"a": [NAN, 1], "b": [1, 0], "c": [1, 1], "d": [0, 0]})
    options |= {"undecided": {"Pneumonia": ["Covid"]}}
    with pytest.raises(CardError, match="'Covid' unknown, which is not a class"):
        folder.read(make_card("findings_csv", ["COVID"], file="f.csv", options=options))


AIR_AND_FLUID = [
    {"name": "Air", "sources": ["pneumothorax", "hydropneumothorax"]},
    {"name": "Fluid", "sources": ["effusion", "hydropneumothorax"]},
]


def test_one_published_name_may_stand_for_several_classes(folder):
    findings(folder, {"a": "hydropneumothorax", "b": "effusion"})
    card = make_card("findings_csv", AIR_AND_FLUID, file="f.csv", options=FINDINGS, shared=["hydropneumothorax"])
    assert_rows(labels_of(folder, card), {"a": [1, 1], "b": [0, 1]})


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ([], "belongs to two classes; if it stands for both"),
        (["effusion", "hydropneumothorax"], "'effusion' is listed"),
    ],
)
def test_a_name_is_shared_only_on_purpose(shared, message):
    with pytest.raises(ValidationError, match=message):
        make_card("findings_csv", AIR_AND_FLUID, file="f.csv", options=FINDINGS, shared=shared)


def test_a_shared_name_holds_in_every_reader(folder):
    folder.files("a.png", "b.png")
    folder.write("b.csv", "file,kind,x,y,w,h\na.png,hydropneumothorax,1,2,3,4\nb.png,effusion,1,2,3,4\n")
    options = {
        "image_column": "file",
        "class_column": "kind",
        "box_columns": ["x", "y", "w", "h"],
        "box_layout": "xywh",
    }
    common = {"file": "b.csv", "shared": ["hydropneumothorax"]}
    boxes = folder.read(make_card("bbox_csv", AIR_AND_FLUID, "detection", options=options, **common))
    assert [target.box_classes.tolist() for target in boxes.targets] == [[0, 1], [1]]
    np.testing.assert_array_equal(boxes.labels, [[1, 1], [NAN, 1]])


TREE = {"hydro": ["air", "fluid"], "loculated": "fluid", "lobar": ["patch"], "patch": [], "round": "patch"}


def test_a_child_makes_its_parents_present_and_a_parent_alone_leaves_its_children_unknown(folder):
    cells = {"a": "hydro", "b": "loculated", "c": "patch", "d": "patch,lobar", "e": "round", "f": "air"}
    findings(folder, cells)
    classes = ["air", "fluid", "patch", "lobar"]
    card = make_card("findings_csv", classes, file="f.csv", options=FINDINGS, tree=TREE)
    expected = {"a": [1, 1, 0, 0], "b": [0, 1, 0, 0], "c": [0, 0, 1, NAN], "d": [0, 0, 1, 1], "e": [0, 0, 1, 0]}
    assert_rows(labels_of(folder, card), expected | {"f": [1, 0, 0, 0]})


def test_a_label_of_the_tree_without_a_class_says_that_the_classes_are_absent(folder):
    findings(folder, {"a": "scoliosis"})
    card = make_card("findings_csv", ["air"], file="f.csv", options=FINDINGS, tree={"scoliosis": []})
    assert_rows(labels_of(folder, card), {"a": [0]})
    assert read_source(card, Task.CLASSIFICATION, folder.data_root, None, skip=False).strings.absent == {"scoliosis": 1}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "its own ancestor"),
        ({"hydro": ["airr"]}, "'airr' of 'hydro' is neither in the tree nor a class; .*'air'"),
        ({"hydro": {"parents": ["air"], "codes": {"umls": "123"}}}, "'123' is no code of umls"),
    ],
)
def test_faults_of_a_tree(tree, message):
    with pytest.raises(ValidationError, match=message):
        make_card("findings_csv", ["air"], file="f.csv", options=FINDINGS, tree=tree)


def test_a_tree_as_deep_as_a_file_may_be_is_no_stack_overflow():
    tree = LabelTree({str(n): TreeLabel(parents=(str(n + 1),)) for n in range(3000)})
    assert len(tree.above("0")) == 3000 and tree.below("3000") >= {"0", "2999"}


def test_a_tree_may_be_a_file_beside_the_card(tmp_path):
    import yaml

    values = card_values("findings_csv", ["air"], file="f.csv", options=FINDINGS, tree="trees/t.yaml")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "t.yaml").write_text("hydro: {parents: [air], codes: {umls: C0020303}}\n")
    spec = load_card(tmp_path / "tiny.yaml").tasks[Task.CLASSIFICATION]
    assert spec.tree["hydro"] == TreeLabel(parents=("air",), codes={"umls": ("C0020303",)})
    (tmp_path.parent / "t.yaml").write_text("hydro: {parents: [air]}\n")
    for name in ("../t.yaml", "(", "trees", "trees/u.yaml"):
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values | {"tasks": _with_tree(values["tasks"], name)}))
        with pytest.raises(CardError, match=r"tiny\.yaml: tasks\.classification\.tree: .* is no file in"):
            load_card(tmp_path / "tiny.yaml")


def _with_tree(tasks, name):
    return {task: source | {"tree": name} for task, source in tasks.items()}


@pytest.fixture(scope="module")
def padchest(tmp_path_factory):
    card = Catalog().card("padchest")
    data_root = tmp_path_factory.mktemp("padchest")
    folder = data_root / card.root
    (folder / "0").mkdir(parents=True)

    def read(*cells: str) -> list[dict[str, float]]:
        lines = [f'{n}.png,0,{n},"{cell}",Physician' for n, cell in enumerate(cells)]
        for number in range(len(cells)):
            (folder / "0" / f"{number}.png").touch()
        text = "\n".join(["ImageID,ImageDir,PatientID,Labels,MethodLabel", *lines, ""])
        import gzip

        (folder / card.tasks[Task.CLASSIFICATION].file).write_bytes(gzip.compress(text.encode()))
        table = read_source(card, Task.CLASSIFICATION, data_root, None, skip=False).finish()
        return [dict(zip(table.classes, row, strict=True)) for row in table.labels.tolist()]

    return read


def test_padchest_includes_the_children(padchest):
    hydro, empyema, button, calcified, bronchogram = padchest(
        "['hydropneumothorax']",
        "['empyema', '']",
        "['aortic button enlargement', ' mass ']",
        "['calcified pleural thickening']",
        "['air bronchogram']",
    )
    assert hydro["Pneumothorax"] == hydro["Pleural effusion"] == 1 and hydro["Pneumonia"] == 0
    assert empyema["Pleural effusion"] == 1 and empyema["Pneumothorax"] == 0
    assert button["Aortic elongation"] == 1 and math.isnan(button["Pulmonary mass"])
    assert calcified["Pleural thickening"] == 1
    assert [name for name, value in bronchogram.items() if value == 1] == [
        "Infiltrates",
        "Consolidation",
        "Alveolar pattern",
    ]


def test_padchest_knows_what_a_label_leaves_open(padchest):
    infiltrates, normal, gynecomastia, unchanged, empty = padchest(
        "['infiltrates']", "['normal']", "['gynecomastia']", "['unchanged']", "[]"
    )
    open_classes = {"Consolidation", "Alveolar pattern", "Ground glass pattern", "Interstitial pattern"}
    assert {name for name, value in infiltrates.items() if math.isnan(value)} == open_classes
    assert set(normal.values()) == set(gynecomastia.values()) == {0.0}
    assert all(math.isnan(value) for row in (unchanged, empty) for value in row.values())


COCO = {"images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)], "categories": [{"id": 1, "name": "Mass"}]}
COCO["categories"] += [{"id": 2, "name": "Doubtful"}, {"id": 3, "name": "Rib"}]


@pytest.mark.parametrize(("option", "label"), [("ignore", NAN), ("other", 0.0)])
def test_an_image_with_nothing_but_ignored_objects_is_unknown(folder, option, label):
    folder.files("0.png", "1.png", "2.png")
    objects = [{"id": 1, "image_id": 0, "category_id": 2, "bbox": [1, 1, 2, 2]}]
    objects += [{"id": n + 1, "image_id": 1, "category_id": n, "bbox": [1, 1, 2, 2]} for n in (1, 2)]
    folder.write("f.json", COCO | {"annotations": objects})
    options = {"ignore": ["Rib"], option: ["Doubtful", "Rib"]}
    card = make_card("coco", ["Mass"], "detection", file="f.json", options=options)
    assert_rows(labels_of(folder, card), {"0.png": [label], "1.png": [1], "2.png": [0]})

    folder.write("f.csv", "file,kind,x,y,w,h\n0.png,Doubtful,1,2,3,4\n1.png,Doubtful,1,2,3,4\n1.png,Mass,1,2,3,4\n")
    columns = {
        "image_column": "file",
        "class_column": "kind",
        "box_columns": ["x", "y", "w", "h"],
        "box_layout": "xywh",
    }
    card = make_card(
        "bbox_csv", ["Mass"], "detection", file="f.csv", options=columns | options | {"absent": "negative"}
    )
    assert_rows(labels_of(folder, card), {"0.png": [label], "1.png": [1]})


def test_a_row_without_any_label_was_not_labelled(folder):
    folder.files("a", "b", "c")
    folder.write("f.csv", "file,Mass,No Finding\na,1.0,\nb,,\nc,,1.0\n")
    for blank_row, expected in (("unknown", [NAN, NAN]), ("blank", [0, 0])):
        options = {"image_column": "file", "blank": "negative", "blank_row": blank_row}
        card = make_card("label_columns_csv", ["Mass", "No Finding"], file="f.csv", options=options)
        assert_rows(labels_of(folder, card), {"a": [1, 0], "b": expected, "c": [0, 1]})


@pytest.mark.parametrize("name", ["chexpert", "chexpert_small", "mimic_cxr_jpg"])
def test_unlabelled_studies_of_the_report_labeller_are_unknown(name):
    assert Catalog().card(name).tasks[Task.CLASSIFICATION].options["blank_row"] == "unknown"


def test_data_check_prints_a_line_per_class_and_the_strings_that_are_none(tmp_path, monkeypatch, capsys):
    import json

    import yaml

    from tests.helpers.reader_cards import Folder

    folder = Folder(tmp_path)
    findings(folder, {"a": "ARDS", "b": "COVID", "c": "No Finding", "d": "Tuberculosis", "e": "Tuberculosis"})
    options = FINDINGS | {"ignore": ["ARDS"], "negative": ["No Finding"], "other": ["Tuberculosis"]}
    registry = tmp_path / "cards"
    registry.mkdir()
    values = card_values("findings_csv", ["COVID"], file="f.csv", options=options)
    (registry / "tiny.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(registry))
    report = tmp_path / "report.json"
    main(["data", "check", "tiny", "--data-root", str(tmp_path), "--report", str(report)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["classification", "present", "absent", "unknown"] in lines
    assert ["COVID", "1", "3", "1"] in lines
    assert ["counted", "as", "absent:", "Tuberculosis", "2,", "No", "Finding", "1"] in lines
    assert ["ignored:", "ARDS", "1"] in lines
    (written,) = json.loads(report.read_text())
    assert written["strings"]["classification"] == {
        "absent": {"Tuberculosis": 2, "No Finding": 1},
        "unknown": {},
        "ignored": {"ARDS": 1},
    }


def test_a_pneumonia_without_a_cause_may_be_covid(tmp_path):
    card = Catalog().card("ieee8023_covid")
    spec = card.tasks[Task.CLASSIFICATION]
    folder = tmp_path / card.root
    (folder / "images").mkdir(parents=True)
    names = ["Pneumonia", "Pneumonia/Viral", "Pneumonia/Viral/COVID-19", "Pneumonia/Bacterial", "No Finding"]
    for number in range(len(names)):
        (folder / "images" / f"{number}.png").touch()
    rows = [f"{number},{name},X-ray,{number}.png,,PA" for number, name in enumerate(names)]
    header = "patientid,finding,modality,filename,license,view"
    (folder / "metadata.csv").write_text("\n".join([header, *rows, ""]))
    table = read_source(card, Task.CLASSIFICATION, tmp_path, None, skip=False).finish()
    assert [item.name for item in spec.classes] == ["COVID-19", "Other pneumonia"]
    np.testing.assert_array_equal(table.labels, [[NAN, 1], [NAN, 1], [1, 0], [0, 1], [0, 0]])


def test_data_check_counts_the_regions_that_readers_dispute(tmp_path, monkeypatch, capsys):
    import yaml

    folder = Folder(tmp_path)
    folder.files("x.png")
    rows = ["x.png,R1,Mass,10,10,20,20", "x.png,R2,Mass,60,60,80,80", "x.png,R3,none,,,,"]
    folder.write("b.csv", "\n".join(["file,who,kind,a,b,c,d", *rows, ""]))
    options = {
        "image_column": "file",
        "class_column": "kind",
        "box_columns": ["a", "b", "c", "d"],
        "box_layout": "xyxy",
    }
    options |= {"reader_column": "who", "empty_column": "kind", "empty_values": ["none"]}
    registry = tmp_path / "cards"
    registry.mkdir()
    values = card_values("bbox_csv", ["Mass"], "detection", file="b.csv", options=options)
    (registry / "tiny.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(registry))
    main(["data", "check", "tiny", "--data-root", str(tmp_path)])
    assert "regions in which a class is unknown: 2 in 1 images" in capsys.readouterr().out
