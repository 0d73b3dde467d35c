"""The report page of a made-up run: complete, escaped, self-contained, and there from the first training_progress."""

import base64
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from foundationx.core.types import BadSample, MetricRow, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.report import write_report
from foundationx.evaluation.report.data import MOST_SKIPPED
from foundationx.evaluation.report.facts import own_step, read_facts
from foundationx.evaluation.report.pictures import drawn_over, picture
from foundationx.tasks.classification.prediction import ClassificationExample
from foundationx.tasks.definition import task_of
from foundationx.tasks.detection.prediction import DetectionExample
from foundationx.tasks.detection.record import SHOWN_SCORE
from foundationx.tasks.drawing import SIDE
from foundationx.tasks.segmentation.prediction import SegmentationExample

LABELS = TaskKey("labels_set", Task.CLASSIFICATION)
BOXES = TaskKey("boxes_set", Task.DETECTION)
MASKS = TaskKey("masks_set", Task.SEGMENTATION)
HEADS = (LABELS, BOXES, MASKS)
NASTY = "<script>alert('x')</script> & $5 \"_q"
FILES = ("metrics.json", "log.jsonl", "plan.json", "run.json", "curves.json", "datasets.json", "splits.json")
VOID = {"meta", "img", "path", "rect"}
NAN = float("nan")


class Page(HTMLParser):
    """Checks that tags are balanced; collects tags, texts and addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.addresses, self.tags, self.texts, self.styles, self.titles = [], [], [], [], [], []
        self.elements = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.shown = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.elements.append((tag, dict(attributes)))
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]
        self.styles += [value for name, value in attributes if name == "style"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def write_run(folder):
    work = WorkDir(folder)
    run = {"name": NASTY, "started": "2026-01-01T10:00:00", "finished": "2026-01-01T12:30:00", "version": "9.8"}
    work.write_json("run.json", run | {"device": "cpu", "parameters": {"backbone": 2_000_000, "head": 600_000}})
    write_training(work)
    counts = {"positive": 3, "negative": 1004, "unknown": 5}
    sizes = [("train", 700, 400), ("val", 40, 21), ("test", 45, 22)]
    rows = [
        {"dataset": key.dataset, "task": key.task, "split": split, "images": images, "patients": patients}
        | {"classes": [{"name": NASTY} | counts]}
        for key in (*HEADS, TaskKey("masks_set", Task.CLASSIFICATION))
        for split, images, patients in sizes
    ]
    work.write_json("datasets.json", rows)
    work.write_json("splits.json", {"a:1": "train", "a:2": "train", "b:1": "val", "b:2": "test"})
    write_metrics(work)
    line = {"fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1], "auroc": 0.7}
    work.write_json("curves.json", {str(LABELS): {"model": "teacher", "split": "test", "classes": {NASTY: line}}})
    bad = BadSample("labels_set", "classification", "images/x.png", f"table.csv row 3 {NASTY}", "is torn")
    work.write_json("bad_samples.json", [asdict(bad)])
    work.write_json("config.json", {"name": NASTY, "batch_size": 16})
    write_examples(work)


def write_training(work):
    visits, log = [], []
    for index in range(6):
        key, first = HEADS[index % 3], 10 * index
        phases = [
            {"name": "lock", "first_step": first, "steps": 4},
            {"name": "release", "first_step": first + 4, "steps": 6},
        ]
        visits.append(
            {"index": index + 1, "cycle": 1 + index // 3, "dataset": key.dataset, "task": key.task, "phases": phases}
        )
        for step in range(first + 1, first + 11) if index < 5 else ():
            row = {"step": step, "visit": index + 1, "dataset": key.dataset, "task": key.task, "phase": "lock"}
            log.append(row | {"losses": {"task": 9 / step, "consistency": 0.1, "total": 9 / step}})
    work.write_json("plan.json", {"visits": visits, "total_steps": 60})
    work.log.write_text("".join(json.dumps(row) + "\n" for row in log))


def write_metrics(work):
    rows = []
    for key, metric, before, after in (
        (LABELS, "AUROC", 0.4, 0.81),
        (BOXES, "AP40", 0.0, 0.52),
        (MASKS, "Dice", 0.1, 0.93),
    ):
        name = (key.dataset, key.task.value)
        for split in ("val", "test"):
            rows.append(MetricRow(*name, metric, "mean", before, 9, "student", 0, split))
            for model, value in (("student", after), ("teacher", after + 0.0123)):
                rows.append(MetricRow(*name, metric, "mean", value, 9, model, 6, split))
                rows.append(MetricRow(*name, metric, NASTY, None, 9, model, 6, split))
    for answer, value in (("trivial", 0.2), ("empty", 0.256)):
        rows.append(MetricRow(MASKS.dataset, "segmentation", "Dice", "mean", value, 9, answer, 6, "test"))
    work.add_metrics(rows)


def write_examples(work):
    image = np.full((64, 48), 100, np.uint8)
    labels = np.array([0, 1, NAN], np.float32)
    seen = ClassificationExample(image, NASTY, labels, probabilities=np.array([0.9, 0.25, 0.5], np.float32))
    work.write_examples(LABELS, ("Mass", NASTY, "Edema"), "teacher", [seen])
    box, label = np.array([[10, 10, 30, 30]], np.float32), np.zeros(1, np.int64)
    boxes = DetectionExample(
        image, "b.png", np.array([1, 0], np.float32), boxes=box, box_classes=label,
        pred_boxes=box + 8, pred_scores=np.array([0.6], np.float32), pred_classes=label + 1,
    )  # fmt: skip
    work.write_examples(BOXES, ("Nodule", "Mass"), "teacher", [boxes])
    truth = np.zeros((3, 64, 48), np.uint8)
    truth[0, 10:30, 10:30], truth[0, 50:], truth[1] = 1, 255, 255
    predicted = np.zeros_like(truth)
    predicted[0, 10:30, 20:40], predicted[0, 50:] = 1, 1
    masks = SegmentationExample(image, "c.png", np.array([1, NAN, 0], np.float32), masks=truth, pred_masks=predicted)
    work.write_examples(MASKS, ("Lung", "Heart", "Spine"), "teacher", [masks])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return folder


@pytest.fixture(scope="module")
def html(run):
    return write_report(run).read_text()


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_section_and_head_is_there(page):
    assert page.titles == [
        "Contents", "What was learned", "Heads", "Training", "By visit", "Data", "Skipped samples: 1", "How it was made"
    ]  # fmt: skip
    learned, _, rest = page.shown.partition("lock: the head alone is trained")
    assert all(key.dataset in learned and key.dataset in rest for key in HEADS)
    charts = [attributes["aria-label"] for tag, attributes in page.elements if attributes.get("role") == "img"]
    for key in HEADS:
        assert sum(name.startswith("task loss") and str(key) in name for name in charts) == 1
        assert sum(name.startswith("consistency loss") and str(key) in name for name in charts) == 1
        assert sum("by visit" in name and str(key) in name for name in charts) == 1
    assert f"ROC curves of {LABELS}" in charts and len(charts) == 3 * len(HEADS) + 1
    assert page.tags.count("img") == 3
    assert "table.csv row 3" in page.shown and "is torn" in page.shown
    assert '"batch_size": 16' in page.shown


def test_header_counts_an_image_of_two_tasks_and_a_patient_of_two_datasets_once(page):
    header = page.shown[: page.shown.index("Contents")]
    assert "2,355 images (train 2,100, val 120, test 135)" in header
    assert "4 patients (train 2, val 1, test 1)" in header
    assert "5 of 6 visits" in header and "50 of 60 steps" in header
    assert "2.6 M parameters" in header and "2:30:00, cpu" in header


def test_headline_compares_with_the_untrained_and_the_trivial_on_the_test_split(page):
    learned = page.shown[page.shown.index("Mean over classes") : page.shown.index("Every class and metric")]
    assert "on the test split" in learned
    for line in (
        "labels_set classification AUROC 45 0.500 0.400 0.810 0.822",
        "boxes_set detection AP40 45 0.000 0.000 0.520 0.532",
        "masks_set segmentation Dice 45 0.256 0.100 0.930 0.942",
    ):
        assert line in learned
    assert {"width:40.0%", "width:81.0%", "left:25.6%"} <= set(page.styles)


def test_a_further_model_has_its_column_and_bar(tmp_path, page):
    write_run(tmp_path)
    name = (LABELS.dataset, LABELS.task.value)
    WorkDir(tmp_path).add_metrics([MetricRow(*name, "AUROC", "mean", 0.777, 9, "local", 6, "test")])
    learned = Page(write_report(tmp_path).read_text())
    assert "labels_set classification AUROC 45 0.500 0.400 0.810 0.822 0.777" in learned.shown
    assert "masks_set segmentation Dice 45 0.256 0.100 0.930 0.942 -" in learned.shown
    assert "student teacher local" in learned.shown and "student teacher local" not in page.shown
    assert "width:77.7%" in learned.styles


def test_images_excluded_from_training_are_counted_beside_the_others(tmp_path, page):
    assert "labels_set classification 700 (400) 40 (21) 45 (22) 0" in page.shown
    write_run(tmp_path)
    rows = json.loads((tmp_path / "datasets.json").read_text())
    counted = [row | {"excluded": 7 if row["split"] == "train" else 0} for row in rows]
    WorkDir(tmp_path).write_json("datasets.json", counted)
    shown = Page(write_report(tmp_path).read_text()).shown
    assert "labels_set classification 700 (400) 40 (21) 45 (22) 7" in shown


def test_what_comes_from_outside_is_escaped(html, page):
    assert page.tags.count("script") == html.count("<script") == 1, "the page's own"
    assert "".join(page.texts).count(NASTY) >= 6, "it is shown as text, though"


def test_it_needs_nothing_from_elsewhere(html, page):
    assert page.addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in page.addresses)
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


@pytest.mark.parametrize("missing", FILES)
def test_any_file_may_be_missing(tmp_path, missing):
    write_run(tmp_path)
    (tmp_path / missing).unlink()
    page = Page(write_report(tmp_path).read_text())
    assert all(key.dataset in page.shown for key in HEADS)


@pytest.mark.parametrize("present", ["nothing", *FILES])
def test_a_run_that_has_just_begun_has_a_report(tmp_path, present):
    write_run(tmp_path / "run")
    (tmp_path / "begun").mkdir()
    if present != "nothing":
        (tmp_path / "run" / present).rename(tmp_path / "begun" / present)
    page = Page(write_report(tmp_path / "begun").read_text())
    assert ("No evaluation yet" in page.shown) == (present != "metrics.json")


def test_a_long_list_of_skipped_samples_is_cut_and_counted(tmp_path):
    bad = [asdict(BadSample("d", "detection", f"file_{n}_", "row", "torn")) for n in range(MOST_SKIPPED + 7)]
    WorkDir(tmp_path).write_json("bad_samples.json", bad)
    shown = Page(write_report(tmp_path).read_text()).shown
    assert f"Skipped samples: {len(bad)}" in shown and "and 7 more" in shown
    assert f"file_{MOST_SKIPPED - 1}_" in shown and f"file_{MOST_SKIPPED}_" not in shown


def test_incidents_are_listed_with_head_and_images(tmp_path):
    rows = [
        {"step": 1234, "kind": "nonfinite", "message": f"left out {NASTY}", "dataset": "d", "task": "detection"}
        | {"images": ["first.png", "second.png"]},
        {"step": 1300, "kind": "file", "message": "disk is full", "dataset": "", "task": "", "images": []},
    ]
    WorkDir(tmp_path).incidents.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = Page(write_report(tmp_path).read_text()).shown
    assert "Incidents: 2" in shown and "1,234" in shown and "first.png, second.png" in shown
    assert NASTY in shown and "disk is full" in shown


def findings(key, shown, classes):
    return task_of(key.task).findings(shown, classes)


def example(run, key):
    classes, _, (only,) = WorkDir(run).read_examples()[key]
    return only, classes


def drawn(run, key):
    """The picture as (H, W) saturation, and its scale: the image itself is grey."""
    only, _ = example(run, key)
    pixels = drawn_over(key.task, only).astype(int)
    return pixels.max(axis=2) - pixels.min(axis=2), SIDE / 64


@pytest.mark.parametrize("side", [SIDE, 176])
def test_a_picture_is_as_large_as_wanted_and_looks_like_what_was_drawn(run, side):
    only, _ = example(run, BOXES)
    content = np.frombuffer(base64.b64decode(picture(BOXES.task, only, side).split(",")[1]), np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1].astype(float)
    assert max(pixels.shape) == side
    drawn = cv2.resize(drawn_over(BOXES.task, only), pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert abs(pixels - drawn).mean() < 6


def test_small_images_are_enlarged_and_keep_their_shape(run):
    seen, _ = drawn(run, LABELS)
    assert seen.shape == (SIDE, SIDE * 48 // 64)
    assert seen.max() == 0, "nothing is drawn over a classified image"


def test_true_boxes_are_solid_and_predicted_ones_dashed_where_they_are(run):
    seen, scale = drawn(run, BOXES)
    top = slice(round(12 * scale), round(17 * scale))  # of the true box's left edge, clear of the other box
    edge = round(10 * scale)
    assert (seen[top, edge - 1 : edge + 2].max(axis=1) > 50).all()
    other = round(38 * scale)  # right edge of the predicted box, below the true one
    dashes = seen[round(31 * scale) : round(37 * scale), other] > 50
    assert 0.2 < dashes.mean() < 0.8
    assert seen[: round(8 * scale)].max() == 0


def test_true_masks_are_tinted_predicted_ones_outlined_and_unknown_pixels_striped(run):
    seen, scale = drawn(run, MASKS)

    def patch(x, y):
        return seen[round(y * scale) : round((y + 3) * scale), round(x * scale) : round((x + 3) * scale)]

    assert (patch(14, 18) > 5).all(), "true"
    assert patch(33, 18).max() == 0, "inside of what was predicted alone"
    edge = seen[round(12 * scale) : round(28 * scale), round(39.5 * scale) - 2 : round(39.5 * scale) + 4].max(axis=1)
    assert 0.2 < (edge > 50).mean() < 0.8, "its edge is dashed"
    assert 0.1 < (patch(20, 56) > 50).mean() < 0.5, "unknown"
    assert patch(3, 40).max() == 0, "a class that was not annotated paints nothing"


def test_findings_of_labels_put_true_ones_first_and_separate_unknown_from_absent(run):
    rows = findings(LABELS, *example(run, LABELS))
    assert [(row.name, row.true, row.words) for row in rows] == [
        (NASTY, True, "0.25"), ("Mass", False, "0.90"), ("Edema", None, "0.50")
    ]  # fmt: skip
    assert rows[0].share == pytest.approx(0.25)


def test_findings_of_boxes_count_true_and_predicted_by_class(run):
    rows = findings(BOXES, *example(run, BOXES))
    assert [(row.name, row.words) for row in rows] == [
        ("Nodule", "1 true, 0 drawn"),
        ("Mass", "0 true, 1 drawn (0.60)"),
    ]
    assert rows[0].colour != rows[1].colour


def test_findings_of_masks_leave_unknown_pixels_out(run):
    rows = findings(MASKS, *example(run, MASKS))
    assert [(row.name, row.true, row.words) for row in rows] == [
        ("Lung", True, "Dice 0.50"), ("1 class", False, "neither true nor found"), ("1 class", None, "unknown")
    ]  # fmt: skip


def test_a_prediction_for_a_class_that_was_not_annotated_is_named_since_it_is_drawn(run):
    masks, classes = example(run, MASKS)
    masks.pred_masks[1, :5] = 1
    heart = findings(MASKS, masks, classes)[1]
    assert (heart.name, heart.true, heart.words, heart.share) == ("Heart", None, "unknown", None)
    assert heart.colour is not None


def test_a_dozen_classes_have_a_colour_each():
    count = 12
    image, boxes = np.zeros((64, 64), np.uint8), np.tile(np.float32([[5, 5, 9, 9]]), (count, 1))
    many = DetectionExample(
        image, "m", np.ones(count, np.float32), boxes=boxes, box_classes=np.arange(count),
        pred_boxes=boxes[:0], pred_scores=np.zeros(0), pred_classes=np.zeros(0, int),
    )  # fmt: skip
    rows = findings(BOXES, many, [f"class {k}" for k in range(count)])
    assert len({row.colour for row in rows}) == count


def test_steps_of_a_head_leave_out_what_others_were_trained_for(run):
    phases = read_facts(run).phases(BOXES)  # its visits take steps 11 to 20 and 41 to 50 of the run
    assert [(p.name, p.own_first, p.steps) for p in phases] == [
        ("lock", 0, 4), ("release", 4, 6), ("lock", 10, 4), ("release", 14, 6)
    ]  # fmt: skip
    assert [own_step(phases, step) for step in (11, 14, 15, 20, 41, 50)] == [1, 4, 5, 10, 11, 20]
    assert own_step([], 41) == 41, "no plan, no other count"


@pytest.mark.parametrize(("value", "low"), [(0.4, True), (0.50049, True), (0.502, False)])
def test_a_head_that_beats_nothing_is_marked(tmp_path, value, low):
    """0.50049 is shown as 0.500, like guessing."""
    work = WorkDir(tmp_path)
    work.add_metrics([MetricRow(LABELS.dataset, "classification", "AUROC", "mean", value, 9, "teacher", 6, "val")])
    html = write_report(tmp_path).read_text()
    assert (f"<span class='low'>{value:.3f}</span>" in html) == low
    assert html.count("class='low'") == 1 + low, "and the word in the note"


def test_boxes_below_the_drawn_score_are_not_passed_over_in_silence(page):
    assert f"Drawn from a score of {SHOWN_SCORE:g} on; AP counts the lower ones too." in page.shown
