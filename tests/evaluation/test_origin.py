"""The probe for origins: against a plain loop over scikit-learn, chance, and real images of three sources."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from foundationx.evaluation.origin import cross_predicted, recognise, thumbnails
from foundationx.evaluation.report import origin_page

SHARED = Path(os.environ.get("FOUNDATIONX_SHARED", Path(__file__).parents[3] / "shared"))
MULTI = (SHARED / "data" if (SHARED / "data").is_dir() else SHARED) / "cxr_multi"
SOURCES = {"A_nih_cls": "nih", "C_chestxdet_det": "nih", "H_nih_bbox": "nih", "G_kermany_cls": "kermany"}
SOURCES |= {"B_v7_lungseg": "v7"}


def drawn(shift, count=160):
    rng = np.random.default_rng(0)
    origins = rng.choice(["a", "b"], count, p=[0.8, 0.2])
    patients = np.array([f"{origin}{index // 2}" for index, origin in enumerate(origins)])
    return rng.normal(size=(count, 5)) + shift * (origins == "b")[:, None], origins, patients


def test_accuracy_is_balanced_and_that_of_a_plain_loop():
    features, origins, patients = drawn(0.8)
    found = recognise(features, origins, patients, repeats=200)
    predicted = cross_predicted(features, origins, patients)
    assert found.accuracy == pytest.approx(balanced_accuracy_score(origins, predicted))
    assert found.low < found.accuracy < found.high and 0.75 < found.accuracy < 1
    assert np.mean(list(found.recalls.values())) == pytest.approx(found.accuracy)
    plain = np.empty_like(origins)
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(features, origins, patients):
        mean, std = features[train].mean(0), features[train].std(0)
        best = None
        for strength in (1e-4, 1e-2, 1.0):
            right = np.zeros(len(train), bool)
            inner = StratifiedGroupKFold(3, shuffle=True, random_state=0)
            for fit, check in inner.split(features[train], origins[train], patients[train]):
                x, y = features[train][fit], origins[train][fit]
                model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
                model.fit((x - x.mean(0)) / x.std(0), y)
                right[check] = model.predict((features[train][check] - x.mean(0)) / x.std(0)) == origins[train][check]
            score = np.mean([right[origins[train] == name].mean() for name in ("a", "b")])
            if best is None or score > best[0]:
                best = (score, strength)
        model = LogisticRegression(C=best[1], class_weight="balanced", max_iter=1000)
        model.fit((features[train] - mean) / std, origins[train])
        plain[test] = model.predict((features[test] - mean) / std)
    np.testing.assert_array_equal(plain, predicted)


def test_features_without_a_trace_of_the_origin_are_at_chance():
    features, origins, patients = drawn(0.0, 400)
    found = recognise(features, origins, patients, repeats=200)
    assert found.low < 0.5 < found.high


def test_a_patient_is_never_predicted_by_a_probe_that_saw_the_patient():
    """Each patient has a mark of its own and several images; only memory of the patient could tell the origin."""
    rng = np.random.default_rng(1)
    patients = np.repeat([f"p{index}" for index in range(60)], 4)
    origins = np.repeat(rng.choice(["a", "b"], 60), 4)
    features = np.eye(60)[np.repeat(np.arange(60), 4)] * 5
    assert recognise(features, origins, patients, repeats=100).accuracy < 0.65


@pytest.mark.skipif(not MULTI.is_dir(), reason=f"no real images in {MULTI}")
def test_a_thumbnail_tells_three_real_sources_as_measured_elsewhere():
    lines = (MULTI / "index.csv").read_text(encoding="utf-8").splitlines()
    rows = [row for row in csv.DictReader(lines) if row["set"] in SOURCES]
    files = [MULTI / row["file"].partition("/")[2] for row in rows]
    images = [cv2.resize(cv2.imread(str(file), 0), (64, 64), interpolation=cv2.INTER_AREA) for file in files]
    origins = np.array([SOURCES[row["set"]] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    found = recognise(thumbnails(np.stack(images)), origins, patients, repeats=100)
    assert found.accuracy == pytest.approx(0.645, abs=0.04)


def test_without_a_file_there_is_no_section(tmp_path):
    assert origin_page.section(tmp_path) == ""
