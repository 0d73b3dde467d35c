"""The download of every card as a small tree with all its kinds of files, and the tree's counts.

Names, columns and forms are those of the published files; the counts of a tree stand beside what it writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from foundationx.core.types import Task
from tests.helpers.downloads import Download

Counts = tuple[dict[str, Any], dict[str, dict[str, Any]]]


def nih(data: Download, table: str = "Data_Entry_2017_v2020.csv", folders: tuple[str, ...] = ("", "")) -> None:
    """Three images of two patients in two of the twelve folders, with the boxes of one image."""
    first, second = folders if any(folders) else ("images_001/images", "images_002/images")
    data.images(f"{first}/00000001_000.png", f"{first}/00000001_001.png", f"{second}/00000013_005.png")
    size = "2682,2749,0.143,0.143"
    data.table(
        table,
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]",
        ["00000001_000.png", "Cardiomegaly|Emphysema", 0, 1, 57, "M", "PA", *size.split(",")],
        ["00000001_001.png", "No Finding", 1, 1, 58, "M", "PA", *size.split(",")],
        ["00000013_005.png", "Infiltration", 5, 13, 60, "F", "AP", *size.split(",")],
    )
    data.table(
        "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,",
        ["00000013_005.png", "Infiltrate", 10.5, 12.25, 20, 30, "", "", ""],
        ["00000013_005.png", "Atelectasis", 1, 2, 30.5, 40, "", "", ""],
    )
    data.text("train_val_list.txt", "00000001_000.png", "00000001_001.png")
    data.text("test_list.txt", "00000013_005.png")


def nih_chestxray14(data: Download) -> Counts:
    nih(data)
    positives = {"Cardiomegaly": 1, "Emphysema": 1, "Infiltration": 1}
    return {"images": 3, "patients": 2, "splits": {"test": 1}}, {
        "classification": {"images": 3, "positives": positives}
    }


def nih_bbox(data: Download) -> Counts:
    nih(data)
    return {}, {"detection": {"images": 1, "boxes": 2, "positives": {"Infiltration": 1, "Atelectasis": 1}}}


def rsna_pneumonia(data: Download) -> Counts:
    """One row per box in both tables; RSNA's own map to NIH; test images without labels beside."""
    images = [f"{k:08d}-1aa6-4fcf-b7be-4bf04fc8628b" for k in range(4)]
    kinds = ("Lung Opacity", "Lung Opacity", "No Lung Opacity / Not Normal", "Normal", "Normal")
    boxes = (["3.0", "4.0", "20.0", "30.0", 1], ["30.0", "4.0", "20.0", "33.0", 1], *(["", "", "", "", 0],) * 3)
    listed = [images[0], *images]
    rows = [[name, kind] for name, kind in zip(listed, kinds, strict=True)]
    data.table("stage_2_detailed_class_info.csv", "patientId,class", *rows)
    rows = [[name, *box] for name, box in zip(listed, boxes, strict=True)]
    data.table("stage_2_train_labels.csv", "patientId,x,y,width,height,Target", *rows)
    data.table("stage_2_sample_submission.csv", "patientId,PredictionString", ["0000a175", "0.5 0 0 100 100"])
    data.images(*(f"stage_2_train_images/{name}.dcm" for name in images), "stage_2_test_images/0000a175.dcm")
    records = [
        {
            "img_id": f"0000001{k // 2}_00{k}.png",
            "subset_img_id": name,
            "subset_group": "train",
            "orig_labels": ["Mass"],
        }
        for k, name in enumerate(images)
    ]
    data.text("pneumonia-challenge-dataset-mappings_2018.json", json.dumps(records))
    positives = {"Lung Opacity": 1, "No Lung Opacity / Not Normal": 1, "Normal": 2}
    return {"images": 4, "patients": 2}, {
        "classification": {"images": 4, "positives": positives},
        "detection": {"images": 4, "boxes": 2, "positives": {"Lung Opacity": 1}},
    }


def node21(data: Download) -> Counts:
    """The archive's two folders, its unnamed first column and its odd order, and both maps to the sources."""
    done, original = "cxr_images/proccessed_data", "cxr_images/original_data"
    data.images(*(f"{done}/images/{name}.mha" for name in ("c0001", "c0002", "n0001", "n0002")))
    rows = [
        [0, 0, "c0001.mha", 0, 0, 0, 0],
        [1, 0, "c0002.mha", 0, 0, 0, 0],
        [2, 20, "n0001.mha", 1, 21, 5, 6],
        [3, 10, "n0001.mha", 1, 11, 40, 30],
        [4, 30, "n0002.mha", 1, 31, 3, 4],
    ]
    data.table(f"{done}/metadata.csv", ",height,img_name,label,width,x,y", *rows)
    header = "original_image_name,orig_dataset,node21_img_id"
    found = [["JPCLN007", "jsrt", "n0001"], ["00000009_003", "chestxray14", "n0002"]]
    data.table(f"{original}/filenames_orig_and_new.csv", header, *found)
    none = [["00000009_004", "chestxray14", "c0001"], ["2168_ab", "padchest", "c0002"]]
    data.table(f"{original}/non_nodule_filenames_orig_and_new.csv", header, *none)
    nodule = {"images": 4, "positives": {"Nodule": 2}}
    return {"images": 4, "patients": 3}, {"classification": nodule, "detection": nodule | {"boxes": 3}}


def siim_acr(data: Download) -> Counts:
    """One image without pneumothorax, one with two outlines in two rows; -1 and a blank before the second column."""
    folder = "dicom-images-train/1.2.276.0.7230010.3.1.2.1/1.2.276.0.7230010.3.1.3.1"
    one, two = (f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875197.1" for number in (1, 2))
    data.images(f"{folder}.1/{one}.dcm", f"{folder}.2/{two}.dcm", size=(1024, 1024))
    data.text("train-rle.csv", "ImageId, EncodedPixels", f"{one}, -1", f"{two}, 2053 3 1020 2", f"{two}, 9000 5")
    pneumothorax = {"images": 2, "positives": {"Pneumothorax": 1}}
    counts = {"classification": pneumothorax, "detection": pneumothorax | {"boxes": 2}, "segmentation": pneumothorax}
    return {"images": 2}, counts


def ranzcr_clip(data: Download) -> Counts:
    """Columns in the published order; the competition's other files and its test images beside."""
    columns = (
        "ETT - Abnormal,ETT - Borderline,ETT - Normal,NGT - Abnormal,NGT - Borderline,NGT - Incompletely Imaged,"
        "NGT - Normal,CVC - Abnormal,CVC - Borderline,CVC - Normal,Swan Ganz Catheter Present"
    )
    stem = "1.2.826.0.1.3680043.8.498."
    rows = [
        [f"{stem}1", *[0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0], "ec89415d1"],
        [f"{stem}2", *[0] * 11, "ec89415d1"],
        [f"{stem}3", *[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1], "bf4c6da3c"],
    ]
    data.table("train.csv", f"StudyInstanceUID,{columns},PatientID", *rows)
    data.table("train_annotations.csv", "StudyInstanceUID,label,data", [f"{stem}1", "CVC - Normal", "[[1, 2], [3, 4]]"])
    data.table("sample_submission.csv", f"StudyInstanceUID,{columns}", [f"{stem}9", *[0] * 11])
    data.images(*(f"train/{row[0]}.jpg" for row in rows), f"test/{stem}9.jpg")
    positives = {"ETT - Normal": 1, "CVC - Abnormal": 1, "CVC - Normal": 1, "Swan Ganz Catheter Present": 1}
    return {"images": 3, "patients": 2}, {"classification": {"images": 3, "positives": positives}}


def object_cxr(data: Download) -> Counts:
    data.images("train/00001.jpg", "train/00002.jpg", "dev/08001.jpg")
    data.table(
        "train.csv",
        "image_name,annotation",
        ["00001.jpg", "0 10 20 30 60;2 5 5 9 5 9 9 ;1 40 40 50 60"],
        ["00002.jpg", ""],
    )
    data.table("dev.csv", "image_name,annotation", ["08001.jpg", "1 0 0 8 4"])
    return {"images": 3, "splits": {"train": 2, "val": 1}}, {
        "classification": {"positives": {"Foreign object": 2}},
        "detection": {"boxes": 4},
        "segmentation": {"positives": {"Foreign object": 2}},
    }


def padchest(data: Download) -> Counts:
    """Unnamed first column, ImageDir as a number; lists as text with blanks and line breaks, empty or missing."""
    labels = [
        "['pleural effusion', 'loculated fissural effusion']",
        "['normal']",
        "[' pneumonia', 'unchanged']",
        "[]",
        "",
        "['COPD signs',\n 'aortic elongation ', '']",
    ]
    names = [f"2168404{k}_8a.png" for k in range(len(labels))]
    data.images(*(f"{(0, 50, 54)[k % 3]}/{name}" for k, name in enumerate(names)))
    rows = [
        [k, name, (0, 50, 54)[k % 3], 20140915, f"s{k}", 839860488694292331637988235681460987 + k // 2, "PA",
         "Physician" if k else "RNN_model", "informe", cell]
        for k, (name, cell) in enumerate(zip(names, labels, strict=True))
    ]  # fmt: skip
    data.table(
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,Projection,MethodLabel,Report,Labels",
        *rows,
    )
    for name in ("LICENSE.md", "README.md"):
        data.text(name, "terms")
    positives = {"Pleural effusion": 1, "Pneumonia": 0, "COPD signs": 1, "Aortic elongation": 1}
    return {"images": 6, "patients": 3}, {
        "classification": {"positives": {name: count for name, count in positives.items() if count}}
    }


def shenzhen_files(data: Download) -> None:
    names = ("CHNCXR_0001_0", "CHNCXR_0327_1", "CHNCXR_0330_1")
    data.images(*(f"CXR_png/{name}.png" for name in names))
    for name in names:
        data.text(f"ClinicalReadings/{name}.txt", "male 45yrs", "normal")
    data.text("NLM-ChinaCXRSet-ReadMe.docx", "description")


def shenzhen(data: Download) -> Counts:
    shenzhen_files(data)
    return {"images": 3, "patients": 3}, {"classification": {"images": 3, "positives": {"Tuberculosis": 2}}}


def shenzhen_masks(data: Download) -> Counts:
    """The archive of the masks unpacks to mask/mask."""
    shenzhen_files(data)
    data.masks("mask/mask/CHNCXR_0001_0_mask.png", "mask/mask/CHNCXR_0327_1_mask.png")
    return {}, {"segmentation": {"images": 2}}


def tbx11k(data: Download) -> Counts:
    """Unlabelled test images and images of other sets beside; tb1199 has no box; a category without boxes."""
    images = [
        "health/h0001.png",
        "sick/s0001.png",
        "tb/tb0005.png",
        "tb/tb1199.png",
        "health/h0002.png",
        "tb/tb0003.png",
    ]
    data.images(*(f"imgs/{name}" for name in images))
    data.images("imgs/test/test_0000000001.png", "imgs/extra/shenzhen/CHNCXR_0001_0.png")
    kinds = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
    categories = [{"id": k, "name": name, "supercategory": name} for k, name in enumerate(kinds, start=1)]
    licence = {"id": 1, "name": "Attribution-NonCommercial-ShareAlike License"}
    for side, listed in (("train", images[:4]), ("val", images[4:])):
        content = {
            "info": {},
            "licenses": [licence],
            "categories": categories,
            "images": [{"id": k, "file_name": name, "width": 64, "height": 64} for k, name in enumerate(listed)],
            "annotations": [
                {"id": number, "image_id": k, "category_id": number, "bbox": [3, 4, 20, 30], "area": 600, "iscrowd": 0}
                for k, name in enumerate(listed)
                for number in (1, 2)
                if name in ("tb/tb0005.png", "tb/tb0003.png")[: 3 - number]
            ],
        }
        for record in content["annotations"]:
            record["id"] += 10 * record["image_id"]
        data.text(f"annotations/json/TBX11K_{side}.json", json.dumps(content))
        data.text(f"lists/TBX11K_{side}.txt", *listed)
    data.text("README.md", "terms")
    counts = {
        "classification": {"images": 6, "positives": {"Healthy": 2, "Sick without tuberculosis": 1, "Tuberculosis": 3}},
        "detection": {
            "images": 5,
            "boxes": 3,
            "positives": {"ActiveTuberculosis": 2, "ObsoletePulmonaryTuberculosis": 1},
        },
    }
    return {"splits": {"train": 4, "val": 2}}, counts


VINDR_COLUMNS = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,"
    "Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,"
    "Tuberculosis"
)
VINDR = VINDR_COLUMNS.split(",")
PCXR_COLUMNS = (
    "No finding,Bronchitis,Brocho-pneumonia,Other disease,Bronchiolitis,Situs inversus,Pneumonia,Pleuro-pneumonia,"
    "Diagphramatic hernia,Tuberculosis,Congenital emphysema,CPAM,Hyaline membrane disease,Mediastinal tumor,Lung tumor"
)


def vindr(data: Download) -> None:
    """Three readers on each training image; the test table spells one class another way."""
    train, test = (
        ("000434271f63a053c4128a0ba6352c7f", "00053190460d56c53cc3e57321387478"),
        "002a34c58c5b758217ed1f584ccbcfe9",
    )
    data.images(*(f"train/{name}.dicom" for name in train), f"test/{test}.dicom")

    def cells(*present: str) -> list[int]:
        return [int(name in present) for name in (*VINDR, "Other diseases", "No finding")]

    readers = [
        [name, f"R{reader}", *cells(*(("Pleural effusion", "Pneumonia")[: 3 - reader] if k == 0 else ("No finding",)))]
        for k, name in enumerate(train)
        for reader in (1, 2, 3)
    ]
    header = f"{VINDR_COLUMNS},Other diseases,No finding"
    data.table("annotations/image_labels_train.csv", f"image_id,rad_id,{header}", *readers)
    data.table(
        "annotations/image_labels_test.csv", f"image_id,{VINDR_COLUMNS},Other disease,No finding", [test, *cells("ILD")]
    )
    data.table(
        "annotations/annotations_train.csv",
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
        [train[0], "R1", "Pleural effusion", 10, 10.5, 40, 50],
        [train[0], "R2", "Pleural effusion", 12, 10.5, 42, 50],
        [train[0], "R3", "No finding", "", "", "", ""],
        *([train[1], f"R{reader}", "No finding", "", "", "", ""] for reader in (1, 2, 3)),
    )
    data.table(
        "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max", [test, "ILD", 1, 2, 30, 40]
    )
    data.text("LICENSE.txt", "terms")
    data.text("SHA256SUMS.txt", "sums")


def vindr_cxr(data: Download) -> Counts:
    vindr(data)
    return {"images": 3, "splits": {"train": 2, "test": 1}}, {
        "classification": {"images": 3, "positives": {"Pleural effusion": 1, "No finding": 1, "ILD": 1}},
        "detection": {"images": 3, "boxes": 2, "positives": {"Pleural effusion": 1, "ILD": 1}},
    }


def vindr_cxr_global(data: Download) -> Counts:
    vindr(data)
    positives = {"PE": 1, "Pneumonia": 1, "No finding": 1}
    return {"images": 3, "splits": {"train": 2, "test": 1}}, {"classification": {"positives": positives}}


def vindr_pcxr(data: Download) -> Counts:
    """Misspelt names as published, one reader on each image, rows without a box."""
    names = PCXR_COLUMNS.split(",")
    images = {"train": ("6cb53aff85c71b98ad13d67a131708c6", "aa53"), "test": ("d7e71a052a753c3f2f3e317d60177bec",)}
    for side, stems in images.items():
        data.images(*(f"{side}/{stem}.dicom" for stem in stems))
        present = {stem: "Brocho-pneumonia" if k == 0 else "No finding" for k, stem in enumerate(stems)}
        rows = [[stem, "R1", *(int(name == present[stem]) for name in names)] for stem in stems]
        data.table(f"image_labels_{side}.csv", f"image_id,rad_ID,{PCXR_COLUMNS}", *rows)
        found = [
            [stems[0], "R1", "Diffuse aveolar opacity", 5, 6, 30, 40],
            [stems[0], "R1", "Bronchectasis", 7, 6, 40, 40],
        ]
        nothing = [[stem, "R1", "No finding", "", "", "", ""] for stem in stems[1:]]
        header = "image_id,rad_ID,class_name,x_min,y_min,x_max,y_max"
        data.table(f"annotations_{side}.csv", header, *found, *nothing)
    return {"images": 3, "splits": {"train": 2, "test": 1}}, {
        "classification": {"images": 3, "positives": {"Bronchopneumonia": 2, "No finding": 1}},
        "detection": {"boxes": 4, "positives": {"Diffuse alveolar opacity": 2, "Bronchiectasis": 2}},
    }


def ribs(data: Download, annotations: str = "data") -> Counts:
    """Rows keyed by number, ribs of points, and the text None for a rib that nobody drew."""
    names = [f"{side}{k}" for side in "RL" for k in range(1, 11)]
    for side in ("train", "val"):
        image = f"data/{side}/img/VinDr_RibCXR_{side}_000.png"
        data.images(image)
        outline = [{"x": 10.5, "y": 20.25}, {"x": 30, "y": 20}, {"x": 30, "y": 50}, {"x": 10, "y": 50}]
        content: dict[str, Any] = {name: {"0": outline} for name in names}
        content["R1"]["0"] = content["L10"]["0"] = "None"
        data.text(f"{annotations}/{side}/Vindr_RibCXR_{side}_mask.json", json.dumps({"img": {"0": image}} | content))
    found = {"positives": {"R2": 2, "L9": 2}}
    return {"images": 2, "splits": {"train": 1, "val": 1}}, {"detection": found | {"boxes": 36}, "segmentation": found}


def brax(data: Download) -> Counts:
    """The PNG images of the release; blank and -1 cells; the DICOM copies beside."""
    classes = [item.name for item in data.card.tasks[Task.CLASSIFICATION].classes]
    rows = []
    for k, (patient, edema) in enumerate((("id_0a", "1.0"), ("id_0a", "-1.0"), ("id_0b", ""))):
        path = f"{patient}/Study_1.{k}/Series_2.{k}/image-3.{k}"
        data.images(f"images/{path}.png", f"Anonymized_DICOMs/{path}.dcm")
        cells = [edema if name == "Edema" else "0.0" if name == "Fracture" else "" for name in classes]
        rows.append([f"Anonymized_DICOMs/{path}.dcm", f"images/{path}.png", patient, "F", "65", *cells, "PA"])
    header = f"DicomPath,PngPath,PatientID,PatientSex,PatientAge,{','.join(classes)},ViewPosition"
    data.table("master_spreadsheet_update.csv", header, *rows)
    data.text("LICENSE.txt", "terms")
    return {"images": 3, "patients": 2}, {"classification": {"images": 3, "positives": {"Edema": 1}}}


def openi(data: Download) -> Counts:
    """Two tables joined by report; findings that are no class, none at all, and images that nobody indexed."""
    problems = {"1": "normal", "2": "Cardiomegaly;Pulmonary Artery", "3": "Spondylosis", "4": "No Indexing"}
    names = [f"{uid}_IM-000{uid}-{view}001.dcm.png" for uid in problems for view in (1, 2)]
    data.images(*(f"images/images_normalized/{name}" for name in names))
    projections = [[name[0], name, ("Frontal", "Lateral")[k % 2]] for k, name in enumerate(names)]
    data.table("indiana_projections.csv", "uid,filename,projection", *projections)
    reports = [
        [uid, f"{text}/mild", text, "PA and lateral", "", "", "Clear, XXXX.", ""] for uid, text in problems.items()
    ]
    data.table("indiana_reports.csv", "uid,MeSH,Problems,image,indication,comparison,findings,impression", *reports)
    return {"images": 8, "patients": 4}, {"classification": {"images": 8, "positives": {"Cardiomegaly": 2}}}


def covidx_cxr4(data: Download) -> Counts:
    lists = {
        "train": ["3 a.jpg positive cohen", "9 b.png negative bimcv"],
        "val": ["9b c.png negative rsna"],
        "test": ["8 d.png positive bimcv"],
    }
    for side, lines in lists.items():
        data.text(f"{side}.txt", *lines)
        data.images(*(f"{side}/{line.split()[1]}" for line in lines))
    splits = {"train": 2, "val": 1, "test": 1}
    return {"images": 4, "patients": 4, "splits": splits}, {"classification": {"positives": {"COVID-19": 2}}}


def kermany_mendeley(data: Download) -> Counts:
    data.images(
        "train/NORMAL/NORMAL-28501-0001.jpeg",
        "train/NORMAL/NORMAL-28501-0002.jpeg",
        "train/PNEUMONIA/BACTERIA-7422-0001.jpeg",
        "train/PNEUMONIA/VIRUS-7423-0001.jpeg",
        "test/NORMAL/NORMAL-11419-0003.jpeg",
        "test/PNEUMONIA/BACTERIA-40699-0001.jpeg",
    )
    expected = {"images": 6, "patients": 5, "splits": {"train": 4, "test": 2}}
    return expected, {"classification": {"images": 6, "positives": {"Pneumonia": 3}}}


def covid_qu_ex_files(data: Download) -> None:
    """Both parts, each in a folder of its own name; the second repeats images of the first."""
    for part, sides in (("Lung", ("Train", "Val", "Test")), ("Infection", ("Train", "Val"))):
        for k, side in enumerate(sides):
            for kind, name in (
                ("COVID-19", f"covid_{k}"),
                ("Non-COVID", f"non_COVID ({k})"),
                ("Normal", f"Normal ({k})"),
            ):
                top = f"{part} Segmentation Data/{part} Segmentation Data/{side}/{kind}"
                data.images(f"{top}/images/{name}.png")
                data.masks(f"{top}/lung masks/{name}.png")
                if part == "Infection":
                    data.masks(f"{top}/infection masks/{name}.png")


def covid_qu_ex(data: Download) -> Counts:
    covid_qu_ex_files(data)
    return {"images": 9, "splits": {"train": 3, "val": 3, "test": 3}}, {
        "classification": {"images": 9, "positives": {"COVID-19": 3, "Other pneumonia": 3, "Normal": 3}},
        "segmentation": {"images": 9, "positives": {"Lung": 9}},
    }


def covid_qu_ex_infection(data: Download) -> Counts:
    covid_qu_ex_files(data)
    return {"splits": {"train": 3, "val": 3}}, {"segmentation": {"images": 6}}


def chexmask_rows(data: Download, file: str, column: str, images: list[str]) -> None:
    """Organs of a few pixels as runs along the rows; the last image is below the quality that the card asks for."""
    header = f"{column},Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width"
    rows = [
        [name, 0.9 if name != images[-1] else 0.6, 0.95, "1,2,3,4", "105 10 169 10", "85 10", "93 8", 64, 64]
        for name in images
    ]
    data.table(f"../chexmask/OriginalResolution/{file}", header, *rows)


ORGANS = {"images": 2, "positives": {"Heart": 2, "Left Lung": 2, "Right Lung": 2}}


def chexmask_chexpert(data: Download) -> Counts:
    images = [
        f"{path}/study1/view1_frontal.jpg"
        for path in ("train/patient00001", "valid/patient64541", "train/patient00002")
    ]
    data.images(*(f"CheXpert-v1.0/{name}" for name in images))
    chexmask_rows(data, "CheXpert.csv", "Path", images)
    return {"splits": {"train": 1, "val": 1}}, {"segmentation": ORGANS, "detection": ORGANS | {"boxes": 6}}


def chexmask_mimic(data: Download) -> Counts:
    images = [f"02aa804e-bde0afdd-112c0b34-7bc16630-4e38401{k}" for k in range(3)]
    data.images(*(f"files/p10/p1000003{k}/s5041426{k}/{name}.jpg" for k, name in enumerate(images)))
    rows = [[name, f"5041426{k}", f"1000003{k}", ("train", "test", "train")[k]] for k, name in enumerate(images)]
    data.table("mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", *rows)
    chexmask_rows(data, "MIMIC-CXR-JPG.csv", "dicom_id", images)
    return {"splits": {"train": 1, "test": 1}}, {"segmentation": ORGANS, "detection": ORGANS | {"boxes": 6}}


def chexmask_padchest(data: Download) -> Counts:
    images = [f"2168404{k}_8a.png" for k in range(3)]
    data.images(*(f"{k}/{name}" for k, name in enumerate(images)))
    rows = [[k, name, k, f"p{k}", "['normal']"] for k, name in enumerate(images)]
    table = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    data.table(table, ",ImageID,ImageDir,PatientID,Labels", *rows)
    chexmask_rows(data, "Padchest.csv", "ImageID", images)
    return {"patients": 2}, {"segmentation": ORGANS, "detection": ORGANS | {"boxes": 6}}


LESIONS = (
    "Severe_Infiltrate_(Consolidation)_1",
    "Clustered_Nodule_(2mm-5mm_apart)_1",
    "Clustered_Nodule_(2mm-5mm_apart)_2",
    "Calcification_(other_than_nodule&lymphnod)_1",
    "Cavity_1",
)


def shenzhen_lesions(data: Download) -> Counts:
    """Five masks of four kinds on one image, none on another; a second set that no publication names beside."""
    shenzhen_files(data)
    data.masks(*(f"Annotations/masks/CHNCXR_0327_1_{name}.png" for name in LESIONS))
    data.masks("Annotations-2/masks/CHNCXR_0330_1_Pleural_Effusion_2.png")
    data.text("Annotations/Annotations_json/SeparateFiles/CHNCXR_0327_1.json", "{}")
    data.table("shenzhen_consensus_roi.csv", "patientId,x_dis,y_dis,width_dis,height_dis,Labels")
    found = {"images": 2, "positives": {"Severe infiltrate": 1, "Clustered nodules": 1, "Cavity": 1}}
    return {"images": 2, "patients": 2}, {"classification": found, "segmentation": found}


ROI = "patientId,x_dis,y_dis,width_dis,height_dis,Labels"
"""Columns of the boxes of the two sets on tuberculosis, in pixels of 1,024 x 1,024."""


def shenzhen_boxes(data: Download) -> Counts:
    """Two boxes of one image; the others have no row."""
    shenzhen_files(data)
    name = "CHNCXR_0327_1.png"
    rows = [[name, 100.5, 200, 300, 400, "TB"], [name, 600, 120, 424, 100, "TB"]]
    data.table("shenzhen_consensus_roi.csv", ROI, *rows)
    return {}, {"detection": {"images": 1, "boxes": 2, "positives": {"Tuberculosis": 1}}}


def montgomery_boxes(data: Download) -> Counts:
    """Images that are not square; one patient has two of them."""
    names = [f"MCUCXR_{number}.png" for number in ("0001_0", "0113_1", "0117_1")]
    data.images(*(f"CXR_png/{name}" for name in names), size=(96, 80))
    data.masks(*(f"ManualMask/leftMask/{name}" for name in names))
    rows = [[name, 512, 512, 512, 512, "TB"] for name in names[1:]]
    data.table("montgomery_consensus_roi.csv", ROI, *rows)
    return {"images": 2, "patients": 1}, {"detection": {"images": 2, "boxes": 2, "positives": {"Tuberculosis": 2}}}


def jsrt_nodules(data: Download) -> Counts:
    """Lines that end in carriage returns, an age that is not known, and a diagnosis in two cells."""
    rows = (
        ("JPCLN001.IMG", 5, 15, 53, "Female", 1634, 692, "malignant", "l.upper lobe", "lung cancer"),
        ("JPCLN002.IMG", 1, 35.5, "?", "Male", 600, 1100, "benign", "r.S3(Anterior segment)", "tuberculoma", "2 parts"),
    )
    (data.path / "Clinical_Information").mkdir(parents=True)
    lines = ["\t".join(map(str, row)) for row in rows]
    (data.path / "Clinical_Information/CLNDAT_EN.txt").write_bytes(("\r".join(lines) + "\r").encode())
    data.text("Clinical_Information/CNNDAT_EN.TXT", "JPCNN001.IMG\t50\tFemale\tnon-nodule")
    data.images(*(f"All247images/{name}.IMG" for name in ("JPCLN001", "JPCLN002", "JPCNN001")), size=(2048, 2048))
    return {"images": 2, "patients": 2}, {"detection": {"images": 2, "boxes": 2, "positives": {"Nodule": 2}}}


def jsrt_nodule_centres(data: Download) -> Counts:
    """The same download; a centre per image, and nothing of those without a nodule."""
    counts, _ = jsrt_nodules(data)
    return counts, {"keypoints": {"images": 2, "boxes": 2, "positives": {"Nodule": 2}}}


def ranzcr_clip_lines(data: Download) -> Counts:
    """Traced lines beside the table of labels; two lines of one kind in one image."""
    names = [f"1.2.826.0.1.3680043.8.498.{number}" for number in (26697628, 46302891)]
    labels = [[names[0], 1, "ec89415d1"], [names[1], 0, "bf4c6da3c"]]
    data.table("train.csv", "StudyInstanceUID,ETT - Normal,PatientID", *labels)
    data.table(
        "train_annotations.csv",
        "StudyInstanceUID,label,data",
        [names[0], "ETT - Normal", "[[30, 2], [31, 20], [30, 40]]"],
        [names[0], "CVC - Abnormal", "[[50, 40], [40, 10]]"],
        [names[1], "CVC - Normal", "[[10, 10], [20, 20]]"],
        [names[1], "CVC - Borderline", "[[50, 10], [40, 20]]"],
    )
    data.images(*(f"train/{name}.jpg" for name in names))
    return {"images": 2, "patients": 2}, {"keypoints": {"images": 2, "positives": {"ETT/1": 1, "CVC/8": 2}}}


def chexmask_vindr_landmarks(data: Download) -> Counts:
    """The array as NumPy prints it, over several lines; the second row is below the publishers' threshold."""
    ids = ("000434271f63a053c4128a0ba6352c7f", "00053190460d56c53cc3e57321387478")
    places = np.stack([np.linspace(1, 60, 120), np.linspace(-3, 60, 120)], axis=1).round().astype(int)
    header = "image_id,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width"
    rows = [[name, mean, 0.9, str(places), "", "", "", 64, 64] for name, mean in zip(ids, (0.9, 0.6), strict=True)]
    (data.data_root / "chexmask" / "OriginalResolution").mkdir(parents=True)
    data.table("../chexmask/OriginalResolution/VinDr-CXR.csv", header, *rows)
    data.images(f"train/{ids[0]}.dicom", f"test/{ids[1]}.dicom")
    return {}, {"keypoints": {"images": 1, "positives": {"Right Lung/44": 1, "Heart/26": 1}}}


def imagenome_gold(data: Download) -> Counts:
    """Names of DICOM files in the table of boxes, and the images of MIMIC-CXR-JPG; files of the silver standard."""
    images = [f"02aa804e-bde0afdd-112c0b34-7bc16630-4e38401{k}" for k in range(2)]
    data.images(*(f"files/p10/p10000032/s5041426{k}/{name}.jpg" for k, name in enumerate(images)))
    rows = [[name, f"5041426{k}", "10000032", "train"] for k, name in enumerate([*images, "another"])]
    data.table("mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", *rows)
    boxes = [
        [f"{name}.dcm", region, "[1, 2, 3, 4]", *corners]
        for name in images
        for region, corners in (("right lung", (2, 3, 30, 50)), ("svc", (20, 5, 30.5, 25)))
    ]
    header = "image_id,bbox_name,coord224,original_x1,original_y1,original_x2,original_y2"
    gold = "../chest_imagenome/gold_dataset/gold_bbox_coordinate_annotations_1000images.csv"
    data.table(gold, header, *boxes)
    data.text("../chest_imagenome/silver_dataset/splits/train.csv", "dicom_id")
    expected = {"images": 2, "patients": 1, "splits": {"train": 2}}
    return expected, {"detection": {"images": 2, "boxes": 4, "positives": {"svc": 2, "right lung": 2}}}


def siim_fisabio(data: Download) -> Counts:
    """A study of two images; boxes as a Python list in one cell; _study and _image behind the names."""
    studies = {"5776db0cec75": ("000a312787f2", "000c3a3f293f"), "ff0879eb20ed": ("0012ff7358bc",)}
    images = [(study, image) for study, names in studies.items() for image in names]
    data.images(*(f"train/{study}/81456c9c5423/{image}.dcm" for study, image in images), "test/00188a671292/1/2.dcm")
    boxes = (
        "[{'x': 10.5, 'y': 12.25, 'width': 20.125, 'height': 30.0}, {'x': 40.0, 'y': 5.0, 'width': 11, 'height': 22}]"
    )
    label = "opacity 1 10.5 12.25 30.625 42.25 opacity 1 40.0 5.0 51.0 27.0"
    rows = [
        [f"{image}_image", boxes if k == 0 else "", label if k == 0 else "none 1 0 0 1 1", study]
        for k, (study, image) in enumerate(images)
    ]
    data.table("train_image_level.csv", "id,boxes,label,StudyInstanceUID", *rows)
    data.table(
        "train_study_level.csv",
        "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance",
        *([f"{study}_study", int(k == 1), int(k == 0), 0, 0] for k, study in enumerate(studies)),
    )
    data.table("sample_submission.csv", "id,PredictionString", ["00188a671292_study", "negative 1 0 0 1 1"])
    return {"images": 3, "patients": 2}, {
        "classification": {"positives": {"Negative for Pneumonia": 1, "Typical Appearance": 2}},
        "detection": {"images": 3, "boxes": 2, "positives": {"Opacity": 1}},
    }


TREES: dict[str, Callable[[Download], Counts]] = {
    tree.__name__: tree
    for tree in (
        nih_chestxray14, nih_bbox, rsna_pneumonia, node21, siim_acr, ranzcr_clip, object_cxr, padchest, shenzhen,
        shenzhen_masks, tbx11k, vindr_cxr, vindr_cxr_global, vindr_pcxr, brax, openi, covidx_cxr4, kermany_mendeley,
        covid_qu_ex, covid_qu_ex_infection, chexmask_chexpert, chexmask_mimic, chexmask_padchest, shenzhen_lesions,
        shenzhen_boxes, montgomery_boxes, jsrt_nodules, jsrt_nodule_centres,
        ranzcr_clip_lines, chexmask_vindr_landmarks, imagenome_gold, siim_fisabio,
    )
} | {"vindr_ribcxr": ribs}  # fmt: skip
