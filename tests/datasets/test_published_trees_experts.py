"""Sets with labels by experts, as their publishers pack them: no fault, and what the tables say is read."""

from __future__ import annotations

import math
import re

import pytest

from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, Split
from tests.helpers.published_tree import PublishedTree


@pytest.fixture
def tree(tmp_path):
    return lambda card, top="": PublishedTree(tmp_path, card, top)


def known(table: Annotations) -> list[dict[str, float]]:
    """Labels of each image by class, without the unknown ones."""
    return [
        {n: v for n, v in zip(table.classes, row, strict=True) if not math.isnan(v)} for row in table.labels.tolist()
    ]


def present(table: Annotations) -> list[set[str]]:
    return [{name for name, value in row.items() if value == 1} for row in known(table)]


RADIOLOGIST = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Airspace Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)


def mimic(data: PublishedTree, count: int = 6) -> list[tuple[str, int, int, str]]:
    """Images of MIMIC-CXR-JPG: two per study, all of the test split but the first study."""
    images = [
        (f"02aa804e-bde0afdd-{k:08x}", 50414267 + k // 2, 10000032 + k // 2, "test" if k > 1 else "train")
        for k in range(count)
    ]
    data.images(f"files/p{str(p)[:2]}/p{p}/s{s}/{d}.jpg" for d, s, p, _ in images)
    data.table("mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], images)
    return images


def test_mimic_labels_of_the_test_split_by_a_radiologist(tree):
    data = tree("mimic_cxr_jpg_test")
    images = mimic(data)
    rows = [(images[2][1], *[""] * 3, "1.0", "-1.0", *[""] * 9), (images[4][1], "1.0", *[""] * 12, "0.0")]
    data.table("mimic-cxr-2.1.0-test-set-labeled.csv", ["study_id", *RADIOLOGIST], rows)
    report = data.check()
    assert (report.images, report.patients) == (4, 2)
    labels = data.read("classification")
    assert present(labels) == [{"Lung Opacity"}, {"Lung Opacity"}, {"No Finding"}, {"No Finding"}]
    assert [set(labels.classes) - set(row) for row in known(labels)] == [{"Lung Lesion"}] * 2 + [set()] * 2
    assert labels.splits == [Split.TEST] * 4 and labels.patients[0] == "mimic:10000033"


def test_ms_cxr_marks_some_findings_of_mimic_and_leaves_the_others_unknown(tree):
    data = tree("ms_cxr")
    images = mimic(data)
    paths = [f"files/p{str(p)[:2]}/p{p}/s{s}/{d}.jpg" for d, s, p, _ in images]
    header = [
        "dicom_id",
        "category_name",
        "label_text",
        "path",
        "x",
        "y",
        "w",
        "h",
        "image_width",
        "image_height",
        "split",
    ]
    boxes = [(0, "Edema", "train"), (0, "Pneumonia", "train"), (3, "Pleural Effusion", "test"), (5, "Edema", "val")]
    rows = [
        (images[k][0], name, "a phrase, quoted", paths[k], 2 + n, 3, 10, 12, 32, 24, side)
        for n, (k, name, side) in enumerate(boxes)
    ]
    data.table("../ms_cxr/MS_CXR_Local_Alignment_v1.1.0.csv", header, rows)
    data.check({"images": 3, "patients": 3}, {"detection": {"images": 3, "boxes": 4}})
    found = data.read("detection")
    assert known(found) == [{"Edema": 1, "Pneumonia": 1}, {"Pleural Effusion": 1}, {"Edema": 1}]
    assert found.targets[0].boxes.tolist() == [[2, 3, 12, 15], [3, 3, 13, 15]]
    assert found.splits == [Split.TRAIN, Split.TEST, Split.VAL]


def test_four_findings_of_nih_adjudicated(tree):
    data = tree("nih_adjudicated")
    names = [f"0000000{k}_000.png" for k in range(1, 5)]
    data.images(f"images_00{1 + k % 2}/images/{name}" for k, name in enumerate(names))
    data.stray("images_001/images")
    header = ["Image Index", "Follow-up #", "Patient ID", "Patient Age", "View Position"]
    header += ["Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass"]
    cells = [("YES", "NO", "NO", "YES"), ("NO", "NO", "YES", ""), ("NO", "YES", "NO", "NO"), ("NO", "NO", "NO", "NO")]
    rows = [(name, 0, k + 1, 50, "PA", *cells[k]) for k, name in enumerate(names)]
    folder = "../nih_adjudicated/four_findings_expert_labels"
    data.table(f"{folder}/validation_labels.csv", header, rows[:2])
    data.table(f"{folder}/test_labels.csv", header, rows[2:])
    data.table(f"{folder}/individual_readers.csv", ["Image ID", "Reader ID"], [(names[0], 1)])
    assert data.check().images == 4
    labels = data.read("classification")
    assert present(labels) == [{"Fracture", "Nodule or mass"}, {"Airspace opacity"}, {"Pneumothorax"}, set()]
    assert set(labels.classes) - set(known(labels)[1]) == {"Nodule or mass"}
    assert labels.splits == [None, None, Split.TEST, Split.TEST] and labels.patients[3] == "nih:4"


def test_grades_of_taix_ray(tree):
    data = tree("taix_ray", "TAIX-Ray")
    uids = [f"{k:064x}" for k in range(1, 5)]
    data.images(f"data/{uid}.png" for uid in uids)
    data.stray("data", "metadata")
    columns = ["HeartSize", "PulmonaryCongestion", "PleuralEffusion_Right", "PleuralEffusion_Left"]
    columns += ["PulmonaryOpacities_Right", "PulmonaryOpacities_Left", "Atelectasis_Right", "Atelectasis_Left"]
    grades = [(0, 1, 2, 0, 0, 4, 0, 3), (1, 0, 0, 0, 0, 0, 0, 0), (3, 0, 0, 1, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 1, 2)]
    header = ["UID", "PatientID", "PhysicianID", "StudyDate", "Age", "Sex", *columns]
    rows = [(uid, f"p{k // 2}", "d1", "2012-01-01", 25000, "M", *grades[k]) for k, uid in enumerate(uids)]
    data.table("metadata/annotation.csv", header, rows)
    data.table("metadata/split.csv", ["UID", "Split"], zip(uids, ["train", "train", "val", "test"], strict=True))
    data.check({"images": 4, "patients": 2})
    labels = data.read("classification")
    assert present(labels)[0] == {"PleuralEffusion_Right", "PulmonaryOpacities_Left", "Atelectasis_Left"}
    unknown = [set(labels.classes) - set(row) for row in known(labels)]
    assert unknown == [{"PulmonaryCongestion"}, {"HeartSize"}, {"PleuralEffusion_Left"}, {"Atelectasis_Right"}]
    assert labels.splits == [Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST]
    assert labels.patients[0] == labels.patients[1] == "taix_ray:p0"


def test_chexlocalize_beside_the_test_split_of_chexpert(tree):
    data = tree("chexlocalize", "chexlocalize")
    test = [f"test/patient{64741 + k // 2}/study1/view{1 + k % 2}_frontal.jpg" for k in range(4)]
    val = [f"val/patient{64541 + k}/study1/view1_frontal.jpg" for k in range(2)]
    data.images(f"CheXpert/{name}" for name in (*test, *val))
    data.stray("CheXpert/test", "CheXlocalize")
    labels = ["Lung Opacity" if name == "Airspace Opacity" else name for name in RADIOLOGIST]
    data.table("CheXpert/test_labels.csv", ["Path", *labels], [(name, *["0.0", "1.0"] * 7) for name in test])
    data.table("CheXpert/val_labels.csv", ["Path", *labels], [(name, *["0.0"] * 14) for name in val])
    outline = [[2.0, 3.0], [20.0, 3.0], [20.0, 15.0]]
    for side, names in (("test", test[:3]), ("val", val)):
        keys = [name.partition("/")[2].replace("/", "_").removesuffix(".jpg") for name in names]
        content = {key: {"img_size": [24, 32], "Airspace Opacity": [outline, outline]} for key in keys}
        content[keys[0]]["Pleural Effusion"] = [outline]
        data.json(f"CheXlocalize/gt_annotations_{side}.json", content)
        data.json(f"CheXlocalize/hb_annotations_{side}.json", {})
    images = {"images": 5}
    data.check({}, {"classification": {"images": 4}, "detection": images, "segmentation": images})
    masks = data.read("segmentation")
    assert masks.splits == [None] * 2 + [Split.TEST] * 3 and masks.patients[0] == "chexpert:patient64541"
    assert known(masks)[1] == dict.fromkeys(masks.classes, 0) | {"Lung Opacity": 1}
    assert [len(target) for target in data.read("detection").targets] == [3, 2, 3, 2, 2]
    assert data.read("classification").splits == [Split.TEST] * 4


def test_padchest_gr_with_its_master_table(tree):
    data = tree("padchest_gr", "BIMCV-Padchest-GR")
    names = [f"2168401113669640{k}-wigcpj.png" for k in range(4)]
    data.images(f"Padchest_GR_files/PadChest_GR/{name}" for name in names)
    data.stray("Padchest_GR_files/PadChest_GR")
    data.text("Padchest_GR_files/PadChest_GR.zip.001", "PK")
    effusion = {"sentence_en": "Effusion.", "abnormal": True, "boxes": [[0.1, 0.5, 0.4, 0.9]], "extra_boxes": []}
    effusion |= {"labels": ["pleural effusion"], "locations": ["left"], "progression": None}
    thick = effusion | {"labels": ["apical pleural thickening"], "boxes": [[0.1, 0.1, 0.2, 0.2], [0.8, 0.1, 0.9, 0.2]]}
    normal = {"sentence_en": "No pneumothorax.", "sentence_es": "", "abnormal": False}
    findings = [[effusion, normal], [thick], [normal], [effusion | {"boxes": []}]]
    records = [
        {"StudyID": f"25148803455{k}", "ImageID": name, "PreviousStudyID": None, "findings": findings[k]}
        for k, name in enumerate(names)
    ]
    data.json("grounded_reports_20240819.json", records)
    header = ["StudyID", "ImageID", "label", "boxes_count", "split", "PatientID", "PatientSex_DICOM", "label_group"]
    sides = ("train", "train", "validation", "test")
    rows = [
        (f"25148803455{k}", name, label, 1, sides[k], f"p{k // 2}", "F", "x")
        for k, name in enumerate(names)
        for label in ("pleural effusion", "normal")
    ]
    data.table("master_table.csv", header, rows)
    assert data.check({"images": 4}).patients == 2
    boxes = data.read("detection")
    assert present(boxes) == [{"Pleural effusion"}, {"Pleural thickening"}, set(), set()]
    assert "Pleural effusion" not in known(boxes)[3]  # present, but not marked
    assert present(data.read("classification"))[3] == {"Pleural effusion"}
    assert [len(target) for target in boxes.targets] == [1, 2, 0, 0]
    assert boxes.splits == [Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST]
    assert boxes.patients[0] == "padchest:p0"


UID = "1.2.826.0.1.{}.2023.{:05d}"


@pytest.mark.parametrize(
    ("card", "file"),
    [
        ("candid_chest_tubes", "chest_tube.csv"),
        ("candid_rib_fractures", "acute_rib_fracture.csv"),
        ("candid_rib_fractures", "Rib_fracture_mask_rle.csv"),
    ],
)
def test_tubes_and_ribs_of_candid_have_the_patients_of_its_reports(tree, card, file):
    data = tree(card)
    uids = [UID.format(k, k) for k in range(5)]
    data.images([f"dataset/{uid}" for uid in uids], 1024, 1024)
    data.stray("dataset")
    reports = [(f"P{k // 2 + 7}_{k}.dcm", "Text", f"1.{k}", uid, "-1") for k, uid in enumerate(uids[:4])]
    reports.append(("P0031_1.dcm", "Text", "1.3", uids[3], "-1"))  # one image of two patients
    header = ["filename", "Report", "StudyInstanceUID", "SOPInstanceUID", "EncodedPixels"]
    data.table("Pneumothorax_reports.csv", header, reports)
    rows = [
        (uids[k], f"a{n}", runs) for n, (k, runs) in enumerate([(0, "5000 4"), (0, "2053 3 1020 2"), (3, "9000 5")])
    ]
    if card == "candid_chest_tubes":
        rows += [(uids[1], "a3", "-1"), (uids[4], "a4", "5000 4")]  # no tube; an image without a report
    data.table(file, ["anon_SOPUID", "annotation ref", "mask_rle"], rows)
    data.check()
    masks = data.read("segmentation")
    assert masks.images[:2] == [f"dataset/{uids[0]}", f"dataset/{uids[3]}"] and (masks.labels == 1).all()
    assert masks.patients[:2] == ["candid_ptx:7", "candid_ptx:8"]
    assert [len(target) for target in masks.targets][:2] == [2, 1]
    assert data.read("detection").targets[0].boxes.tolist()[0] == [4, 904, 5, 908]
    if card == "candid_chest_tubes":
        assert masks.patients[2:] == [f"candid_ptx:{uids[4]}"]


def test_brixia_has_semicolons_and_a_consensus_set(tree):
    data = tree("brixia", "osfstorage-archive/data")
    names = [f"{10213400131544083 + k}.dcm" for k in range(5)]
    data.images(f"dicom_clean/{name}" for name in names)
    data.stray("dicom_clean")
    header = ["Filename", "Subject", "Sex", "AgeAtStudyDateFiveYear", "Modality", "Manufacturer"]
    header += ["PhotometricInterpretation", "StudyId", "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset"]
    scores = ["000000", "012333", "000001", "000000", "333333"]
    rows = [
        (name, f"s{k // 2}", "MF"[k % 2], 55, "CR", "X", "MONOCHROME2", k, digits, sum(map(int, digits)), int(k == 4))
        for k, (name, digits) in enumerate(zip(names, scores, strict=True))
    ]
    data.table("metadata_global_v2.csv", header, rows, delimiter=";")
    data.table("metadata_consensus_v1.csv", ["Filename", "ModeA"], [(names[4], 3)])
    assert data.check({"images": 5}).patients == 3
    labels = data.read("classification")
    assert labels.labels[:, 0].tolist() == [0, 1, 1, 0, 1]
    assert labels.splits == [None] * 4 + [Split.TEST] and labels.patients[1] == "brixia:s0"


def test_zones_of_brixia_are_digits_without_leading_zeros(tree):
    data = tree("brixia_zones", "osfstorage-archive/data")
    data.images(f"dicom_clean/{k}.dcm" for k in range(4))
    data.stray("dicom_clean")
    header = ["Filename", "Subject", "Sex", "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset"]
    scores = ("0", "12333", "1", "300000")
    rows = [(f"{k}.dcm", f"s{k}", "M", score, 1, int(k == 3)) for k, score in enumerate(scores)]
    data.table("metadata_global_v2.csv", header, rows, delimiter=";")
    assert data.check({"images": 4}).patients == 4
    labels = data.read("classification")
    assert labels.classes[0] == "Right upper zone" and labels.classes[5] == "Left lower zone"
    assert labels.labels.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
    assert ("Right upper zone", "Left upper zone") in labels.mirror_pairs


@pytest.mark.parametrize("score", ["1234567", "12x", "-1", "1.5"])
def test_zones_that_are_no_digits_are_named(tree, score):
    data = tree("brixia_zones")
    data.images(["dicom_clean/a.dcm"])
    header = ["Filename", "Subject", "Sex", "BrixiaScore", "ConsensusTestset"]
    data.table("metadata_global_v2.csv", header, [("a.dcm", "s", "M", score, 0)], delimiter=";")
    with pytest.raises(DataError, match=re.escape(score)):
        data.read("classification")


def test_ralo_names_images_by_their_row_and_has_two_readers(tree):
    data = tree("ralo")
    data.images(f"CXR_images_scored/{k}.jpg" for k in range(4))
    data.stray("CXR_images_scored")
    header = ["Subject_ID", "Exam_DateTime", "Right GEOGRAPHIC", "Total GEOGRAPHIC", "Total OPACITY"]
    header += ["Right GEOGRAPHIC", "Total GEOGRAPHIC", "Total OPACITY"]
    scores = ((0, 0, 0, 0), (1, 0, 2, 3), (8, 7, 8, 8), (0, 1, 1, 1))
    rows = [(f"A{k // 2}", "20200401_1", 1, a, c, 1, b, d) for k, (a, b, c, d) in enumerate(scores)]
    above = ["", "", "Reader 1", "", "", "Reader 2", "", ""]
    data.table("ralo-dataset-metadata.csv", above, [header, *rows])
    assert data.check({"images": 4}).patients == 2
    labels = data.read("classification")
    assert labels.images == [f"CXR_images_scored/{k}.jpg" for k in range(4)]
    assert known(labels) == [
        {"Geographic extent": 0, "Lung opacity": 0},
        {"Lung opacity": 1},
        {"Geographic extent": 1, "Lung opacity": 1},
        {"Lung opacity": 1},
    ]


def test_certainties_of_reflacx(tree):
    data = tree("reflacx")
    images = mimic(data)
    classes = [item.name for item in data.card.tasks["classification"].classes]
    header = ["id", "split", "eye_tracking_data_discarded", "image", "dicom_id", "subject_id", "image_size_x"]
    header += ["image_size_y", *classes[:-1], "Other", classes[-1]]
    rows = []
    for k, certainty in ((2, 5), (3, 3), (5, 1)):
        dicom, study, patient, split = images[k]
        path = f"physionet.org/files/mimic-cxr/2.0.0/files/p{str(patient)[:2]}/p{patient}/s{study}/{dicom}.dcm"
        first = (f"P300R{k:06d}", split, "False", path, dicom, patient, 32, 24)
        rows.append((*first, certainty, *[0] * 13, "scoliosis|nipple" if k == 2 else "", k == 3))
    data.table("../reflacx/main_data/metadata_phase_3.csv", header, rows)
    data.table("../reflacx/main_data/metadata_phase_1.csv", header[:8], [])
    ellipses = ["xmin", "ymin", "xmax", "ymax", "certainty", "Groundglass opacity", classes[0], "Other"]
    marks = {2: [(2, 3, 12, 15, 5, "False", "True", ""), (8, 3, 30, 9, 2, "False", "True", "")], 3: []}
    marks[5] = [(1, 2, 30, 20, 1, "False", "True", "")]
    for k, drawn in marks.items():
        data.table(f"../reflacx/main_data/P300R{k:06d}/anomaly_location_ellipses.csv", ellipses, drawn)
    assert data.check({"images": 3}).patients == 2
    boxes = data.read("detection")
    assert boxes.targets[0].boxes.tolist() == [[2, 3, 12, 15]] and boxes.targets[0].ignored.tolist() == [[8, 3, 30, 9]]
    assert [len(target) for target in boxes.targets] == [1, 0, 0]
    assert [set(boxes.classes) - set(row) for row in known(boxes)] == [set(), {classes[0]}, {classes[0]}]
    assert "Support devices" not in boxes.classes and present(boxes) == [{classes[0]}, set(), set()]
    labels = data.read("classification")
    assert present(labels) == [{classes[0]}, {classes[0], "Support devices"}, set()]
    assert [set(classes) - set(row) for row in known(labels)] == [set(), set(), {classes[0]}]
    assert labels.splits == [Split.TEST] * 3 and labels.patients[0] == "mimic:10000033"


@pytest.mark.parametrize("top", ["", "images/", "mdai_rsna_project_x9N20BZa_images_2018-07-20-153330/"])
def test_rsna_as_its_own_page_offers_it(tree, top):
    data = tree("rsna_pneumonia_full")
    uids = [tuple(f"1.2.276.0.7230010.3.1.{level}.8323329.{k}.1517874291.9" for level in (2, 3, 4)) for k in range(4)]
    data.images((f"{top}{'/'.join(uid)}.dcm" for uid in uids), height=32)
    data.stray(*([top.rstrip("/")] if top else []))
    groups = {"Team 1": ["Lung Opacity", "Exclude"], "Calculated": ["Lung Opacity ", "Normal"]}
    groups["Calculated"].append("No Lung Opacity / Not Normal")
    labels = {group: [{"id": f"L_{group}_{n}", "name": n.strip()} for n in names] for group, names in groups.items()}
    box = {"x": 2.5, "y": 3, "width": 10, "height": 8.25}

    def annotation(k: int, name: str, data=None, group: str = "Calculated") -> dict:
        keys = dict(zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), uids[k], strict=True))
        return keys | {"labelId": f"L_{group}_{name}", "data": data, "height": 32, "width": 32, "note": None}

    marks = [
        annotation(0, "Lung Opacity ", box),
        annotation(0, "Lung Opacity ", box | {"x": 14}),
        annotation(1, "Normal"),
    ]
    marks += [annotation(2, "No Lung Opacity / Not Normal"), annotation(2, "Lung Opacity", box, "Team 1")]
    marks += [annotation(3, "Exclude", None, "Team 1")]
    marks += [{"StudyInstanceUID": uids[3][0], "labelId": "L_Team 1_Exclude", "data": None}]
    project = {"labelGroups": [{"id": g, "name": g, "labels": labels[g]} for g in groups]}
    project |= {"datasets": [{"id": "D", "studies": [], "annotations": marks}]}
    data.json("pneumonia-challenge-annotations-adjudicated-kaggle_2018.json", project)
    keys = {"subset_group": "train", "orig_labels": []}
    rows = [{"SOPInstanceUID": uid[2], "img_id": f"{7 + k // 2:08d}_00{k}.png"} for k, uid in enumerate(uids)]
    data.json("pneumonia-challenge-dataset-mappings_2018.json", [row | keys for row in rows])
    positives = {"Normal": 1, "No Lung Opacity / Not Normal": 1, "Lung Opacity": 1}
    counts = {"classification": {"images": 3, "positives": positives}}
    counts["detection"] = {"images": 3, "boxes": 2, "positives": {"Lung Opacity": 1}}
    data.check({"images": 3}, counts)
    read = data.read("classification")
    assert present(read) == [{"Lung Opacity"}, {"Normal"}, {"No Lung Opacity / Not Normal"}]
    assert not any(math.isnan(value) for value in read.labels.ravel().tolist())
    boxes = data.read("detection")
    assert boxes.targets[0].boxes.tolist() == [[2.5, 3, 12.5, 11.25], [14, 3, 24, 11.25]]
    assert boxes.labels.tolist() == [[1], [0], [0]] and boxes.patients == ["nih:7", "nih:7", "nih:8"]
