"""The audit finds planted copies and reports no false pairs: the small form of ``benchmarks/audit_recall.py``."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.curation.audit.fingerprint import SIDE, shrink, without_margins
from foundationx.curation.audit.search import (
    FLOOR,
    GRID,
    NEIGHBOURS,
    ORIENTATIONS,
    VARIANTS,
    candidates,
    descriptor,
    middle_tones,
    turned,
    variants,
)
from foundationx.curation.audit.verify import SAME, similarity
from foundationx.phantoms.phantom import make_phantom

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "audit_recall.py"


def load_script():
    spec = importlib.util.spec_from_file_location("audit_recall", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images():
    return [make_phantom(7_000 + patient, size=SIDE).image for patient in range(12)]


@pytest.mark.slow
def test_copies_are_detected_and_different_images_are_not(tmp_path):
    script = load_script()
    items = script.write_images(tmp_path, 60, SIDE, processes=1)
    originals = [item for item in items if item.dataset == "a"]
    planted = script.plant(originals, tmp_path, "b", 5)
    pairs, _ = script.find_pairs(
        [*items, *(item for copies in planted.values() for item in copies)], tmp_path / "store"
    )
    recall, wrong = script.score(pairs, planted)
    assert not wrong
    assert len(recall) == 14
    hardest = {kind: recall.pop(kind) for kind in ("all at once", "framed 10 %", "figure", "window 60-140")}
    assert all(hits == number for hits, number in recall.values()), recall
    assert hardest.pop("figure")[0] >= 3, "of five; the letters are as large as the detail of so small an image"
    assert all(hits >= 0.8 * number for hits, number in hardest.values()), hardest


def test_a_copy_deformed_into_another_chest_is_not_the_same(images):
    assert similarity(images[0], images[0]) == pytest.approx(1.0)
    assert max(similarity(images[0], other) for other in images[1:]) < SAME


def test_similarity_does_not_depend_on_contrast_and_brightness(images):
    darker = (images[0] * 0.6 + 20).astype(np.uint8)
    assert similarity(images[0], darker) > 0.97


@pytest.mark.parametrize("degrees", [-2.0, -1.0, 1.0, 2.0])
def test_rotated_images_are_registered(images, degrees):
    turn = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), degrees, 1)
    turned = cv2.warpAffine(images[1], turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert similarity(images[1], turned) > SAME
    assert similarity(turned, images[1]) > SAME


def test_half_of_an_image_and_even_images_are_not_the_same(images):
    half = shrink(images[2][:, : SIDE // 2])
    assert similarity(images[2], half) < SAME
    even = np.full((SIDE, SIDE), 90, np.uint8)
    assert similarity(images[2], even) == -1.0
    assert similarity(even, even) == -1.0


def test_descriptors_have_length_one_and_the_first_variant_is_the_plain_one(images):
    plain, rotated = descriptor(images[0]), variants(images[0])
    assert plain.shape == (GRID * GRID,) and rotated.shape == (len(VARIANTS), GRID * GRID)
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(rotated[0], plain, atol=1e-5)


def test_candidates_are_those_of_a_slow_loop(images):
    thumbnails = [*images, *(cv2.GaussianBlur(image, (0, 0), 1) for image in images[:6])]
    halves = [cv2.resize(image, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) for image in thumbnails]
    plain = [descriptor(image) for image in halves]
    cosines = np.full((len(thumbnails), len(thumbnails)), -1.0)
    tones = [descriptor(middle_tones(image)) for image in halves]
    for i, image in enumerate(halves):
        queries = [*variants(image), *(descriptor(turned(image, number)) for number in range(1, ORIENTATIONS))]
        for j in range(len(thumbnails)):
            if i != j:
                cosines[i, j] = max(abs(float(query @ plain[j])) for query in queries)
                cosines[i, j] = max(cosines[i, j], abs(float(tones[i] @ tones[j])))
    expected = set()
    for i in range(len(thumbnails)):
        for j in np.argsort(-cosines[i])[:NEIGHBOURS]:
            if cosines[i, j] >= FLOOR:
                expected.add((min(i, int(j)), max(i, int(j))))
    found = candidates(thumbnails)
    assert sorted((min(c.first, c.second), max(c.first, c.second)) for c in found) == sorted(expected)
    assert {(i, 12 + i) for i in range(6)} <= expected
    assert not any(candidate.orientation or candidate.inverted for candidate in found[:3])


def test_two_thumbnails_of_one_image_are_not_compared(images):
    assert not any(candidate.second == 1 for candidate in candidates([images[0], images[0]], owners=[4, 4]))
    (pair,) = candidates([images[0], images[0]], owners=[4, 5])
    assert (pair.orientation, pair.inverted) == (0, False)


@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
@pytest.mark.parametrize("inverted", [False, True])
def test_a_turned_or_inverted_image_is_a_candidate_in_that_form(images, orientation, inverted):
    copy = turned(255 - images[3] if inverted else images[3], orientation)
    found = candidates([*images[:6], np.ascontiguousarray(copy)])
    (pair,) = [
        candidate
        for candidate in found
        if 6 in (candidate.first, candidate.second) and 3 in (candidate.first, candidate.second)
    ]
    thumbnails = [*images[:6], copy]
    first = turned(thumbnails[pair.first], pair.orientation)
    assert np.array_equal(255 - first if pair.inverted else first, thumbnails[pair.second])
    assert pair.inverted is inverted


@pytest.mark.parametrize("low", [40, 60, 100])
def test_middle_tones_outlast_a_window_and_any_curve(images, low):
    image = images[4]
    kept = np.clip((image.astype(float) - low) / 80, 0, 1)
    assert abs(descriptor(middle_tones((kept**0.5 * 255).astype(np.uint8))) @ descriptor(middle_tones(image))) > 0.8
    assert similarity((kept * 255).astype(np.uint8), image) > SAME


def test_margins_are_cut_and_images_without_are_whole(images):
    image = cv2.resize(images[5], (300, 200))
    assert without_margins(image) is None
    for value, text in ((0, False), (255, True), (128, False)):
        framed = cv2.copyMakeBorder(image, 40, 30, 35, 20, cv2.BORDER_CONSTANT, value=value)
        if text:
            cv2.putText(framed, "Figure 1", (20, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 1)
        inner = without_margins(framed)
        assert abs(inner.shape[0] - 200) <= 4 and abs(inner.shape[1] - 300) <= 4
    assert without_margins(np.full((50, 60), 7, np.uint8)) is not None


def test_few_or_no_images_give_no_candidates(images):
    assert candidates([]) == []
    assert candidates(images[:1]) == []
