"""The audit finds planted copies and makes no pairs up: the small form of ``benchmarks/audit_recall.py``."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.curation.audit.fingerprint import SIDE, shrink
from foundationx.curation.audit.search import FLOOR, FORMS, GRID, NEIGHBOURS, candidates, descriptor, forms
from foundationx.curation.audit.verify import SAME, similarity
from foundationx.phantoms.phantom import make_phantom

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "audit_recall.py"


def load_script():
    spec = importlib.util.spec_from_file_location("audit_recall", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def films():
    return [make_phantom(7_000 + patient, size=SIDE).image for patient in range(12)]


def test_copies_are_found_and_different_films_are_not(tmp_path):
    script = load_script()
    items = script.write_films(tmp_path, 100, SIDE, processes=1)
    originals = [item for item in items if item.dataset == "a"]
    planted = script.plant(originals, tmp_path, "b", 10)
    pairs, _ = script.find([*items, *(item for copies in planted.values() for item in copies)], tmp_path / "store")
    recall, wrong = script.judge(pairs, planted)
    assert not wrong
    hardest = recall.pop("all at once")
    assert all(found >= 0.95 * number for found, number in recall.values()), recall
    assert hardest[0] >= 0.8 * hardest[1]


def test_a_copy_that_is_bent_into_another_chest_is_not_the_same(films):
    assert similarity(films[0], films[0]) == pytest.approx(1.0)
    assert max(similarity(films[0], other) for other in films[1:]) < SAME


def test_similarity_does_not_depend_on_contrast_and_brightness(films):
    darker = (films[0] * 0.6 + 20).astype(np.uint8)
    assert similarity(films[0], darker) > 0.97


@pytest.mark.parametrize("degrees", [-2.0, -1.0, 1.0, 2.0])
def test_turned_films_are_registered(films, degrees):
    turn = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), degrees, 1)
    turned = cv2.warpAffine(films[1], turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert similarity(films[1], turned) > SAME
    assert similarity(turned, films[1]) > SAME


def test_half_of_a_film_and_even_images_are_not_the_same(films):
    half = shrink(films[2][:, : SIDE // 2])
    assert similarity(films[2], half) < SAME
    even = np.full((SIDE, SIDE), 90, np.uint8)
    assert similarity(films[2], even) == -1.0
    assert similarity(even, even) == -1.0


def test_descriptors_have_length_one_and_the_first_form_is_the_plain_one(films):
    plain, turned = descriptor(films[0]), forms(films[0])
    assert plain.shape == (GRID * GRID,) and turned.shape == (len(FORMS), GRID * GRID)
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(turned[0], plain, atol=1e-5)


def test_candidates_are_those_of_a_slow_loop(films):
    thumbnails = [*films, *(cv2.GaussianBlur(film, (0, 0), 1) for film in films[:6])]
    halves = [cv2.resize(image, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) for image in thumbnails]
    plain = [descriptor(image) for image in halves]
    alike = np.full((len(thumbnails), len(thumbnails)), -1.0)
    for i, image in enumerate(halves):
        asking = forms(image)
        for j in range(len(thumbnails)):
            if i != j:
                alike[i, j] = max(float(form @ plain[j]) for form in asking)
    expected = set()
    for i in range(len(thumbnails)):
        for j in np.argsort(-alike[i])[:NEIGHBOURS]:
            if alike[i, j] >= FLOOR:
                expected.add((min(i, int(j)), max(i, int(j))))
    assert candidates(thumbnails) == sorted(expected)
    assert {(i, 12 + i) for i in range(6)} <= expected


def test_few_or_no_images_give_no_candidates(films):
    assert candidates([]) == []
    assert candidates(films[:1]) == []
