"""Studies: fused probabilities and labels against a loop, and what a study is."""

import numpy as np
import pytest

from foundationx.apps.protocols.studies import fuse, studies_of
from tests.helpers.predicted import labelled


@pytest.mark.parametrize("how", ["mean", "max"])
def test_probabilities_and_labels_are_fused_study_by_study(how):
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, np.nan], size=(30, 2))
    images = labelled(labels, rng.random((30, 2)), patients=[f"p{index // 5}" for index in range(30)])
    studies = np.array([f"p{index // 5} s{index % 2}" for index in range(30)])
    fused = fuse(images, studies, how)
    assert fused.images.tolist() == sorted(set(studies))
    for row, name in enumerate(fused.images):
        own = studies == name
        assert fused.patients[row] == name.split()[0]
        expected = getattr(images.array("probabilities")[own].astype(float), how)(axis=0)
        np.testing.assert_allclose(fused.array("probabilities")[row], expected, rtol=1e-6)
        for k in range(2):
            known = [value for value in images.labels[own, k] if not np.isnan(value)]
            assert fused.labels[row, k] == max(known) if known else np.isnan(fused.labels[row, k])


def test_a_study_is_what_the_card_names_or_a_patient_s_folder():
    from dataclasses import replace

    images = labelled(np.zeros((3, 1)), np.zeros((3, 1)), patients=["p", "p", "q"])
    images = replace(images, images=np.array(["p/study1/a.png", "p/study1/b.png", "p/study1/c.png"]))
    assert len(set(studies_of(images, None))) == 2
    assert len(set(studies_of(images, ["s", "t", ""]))) == 3
