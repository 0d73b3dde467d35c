"""Fusing, launching and watching in a real browser: by mouse, by keyboard alone, for everyone, with hostile text."""

import json
import urllib.parse

import cv2
import numpy as np
import pytest
import yaml

from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.copy import write_copies
from tests.apps.portal.test_for_everyone import PAYLOADS, PHONE, focus, tab_to
from tests.helpers.portal_process import PortalProcess, wait_until
from tests.helpers.reader_cards import card_values
from tests.helpers.run_folders import log_row, metric_row, write_run
from tests.helpers.tiny_recipe import OPTIONS, tiny_recipe

pytestmark = pytest.mark.slow

TRAINING = 240_000
"""Milliseconds that a tiny training may take on a machine that is busy otherwise."""


class Mouse:
    """Uses elements as somebody with a mouse does."""

    def __init__(self, page):
        self.page = page

    def use(self, key):
        """Clicks an element by its key."""
        self.page.click(f'[data-key="{key}"]')

    def write(self, key, text):
        """Replaces the text of a field."""
        self.page.fill(f'[data-key="{key}"]', text)

    def unfold(self, selector):
        """Opens a folded part."""
        self.page.click(f"{selector} summary")

    def follow(self):
        """Opens the report."""
        self.use("run report")


class Keyboard(Mouse):
    """Uses elements with keys alone."""

    def use(self, key):
        self.page.wait_for_selector(f'[data-key="{key}"]:not([disabled])')
        self.reach(key)
        is_tick = self.page.evaluate("document.activeElement.type === 'checkbox'")
        self.page.keyboard.press("Space" if is_tick else "Enter")

    def reach(self, key):
        if focus(self.page) != key:
            tab_to(self.page, key, 400)

    def write(self, key, text):
        self.reach(key)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def unfold(self, selector):
        for _ in range(400):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(f"document.activeElement.matches('{selector} summary')"):
                self.page.keyboard.press("Enter")
                return
        raise AssertionError(f"{selector} is not reached")


@pytest.mark.parametrize("hand", [Mouse, Keyboard])
def test_from_an_empty_start_to_a_trained_run_and_its_report(hand, visit, tmp_path):
    with PortalProcess(tmp_path / "data", tmp_path / "work") as portal:
        window = visit(f"http://{portal.host}/")
        page = window.page
        page.goto(portal.url)
        page.wait_for_selector("main h1")
        assert "token" not in page.url
        person = hand(page)
        person.write("search", "shenzhen")
        person.use("pick shenzhen")
        person.use("tab fuse")
        page.wait_for_selector("#fuse-preview table")
        person.write("fuse as", "browser")
        person.write("fuse side", "64")
        person.write("fuse cycles", "1")
        person.unfold("#fuse-more")
        person.write("fuse options", json.dumps(OPTIONS))
        page.wait_for_selector("text=1 dataset kept, 0 of them to train on")
        person.use("fuse phantoms")
        page.wait_for_selector("text=1 dataset kept, 1 of them to train on", timeout=TRAINING)
        person.use("fuse write")
        page.wait_for_selector("text=Written: browser")
        address = page.url
        person.use("fuse launch")
        page.wait_for_selector("#run-page")
        assert page.inner_text("h1") == "browser"
        page.wait_for_selector('#run-status:text-matches("^(finished|failed)")', timeout=TRAINING)
        assert page.inner_text("#run-status") == "finished", page.inner_text("#run-output")
        assert page.query_selector("svg[role=img][aria-label^='task loss of shenzhen/classification']")
        assert page.query_selector("#run-metrics table") and page.query_selector("#run-faults p") is None
        with window.context.expect_page() as opened:
            person.follow()
        report = opened.value
        report.wait_for_selector("h1")
        assert "/api/run/report?run=browser" in report.url
        assert report.evaluate("window.origin") == "null"  # it reads nothing of the portal
        assert report.evaluate("fetch('/api/runs').then(() => 'answered', () => 'refused')") == "refused"
        window.faults.clear()  # what the browser says of the refusal
        report.close()
        values = yaml.safe_load((tmp_path / "work/.portal/fusions/browser/recipe.yaml").read_text())
        assert values["cards"] == {"allow": ["shenzhen"]} and values["run"]["options"] == OPTIONS
        page.goto(address)  # a copied address shows the same fusion
        page.wait_for_selector("text=Written: browser")
        assert page.input_value("#fuse-as") == "browser" and page.input_value("#fuse-side") == "64"
        page.goto("about:blank")  # it asks nothing of a portal that has gone


def watched(portal):
    """The run of the test below; fails at once if it has failed."""
    run = portal.get("/api/run?run=long")
    assert run["state"] != "failed", run["output"]
    return run


def test_a_killed_portal_stops_no_training_and_the_next_one_shows_and_stops_it(tmp_path):
    data, work = tmp_path / "data", tmp_path / "work"
    first = PortalProcess(data, work)  # it is killed below
    job = first.post("/api/jobs", {"kind": "phantoms", "cards": ["shenzhen"], "images": 24, "size": 64})
    wait_until(lambda: not first.get(f"/api/jobs/{job['id']}")["running"], 120)
    assert first.post("/api/fuse", {"recipe": tiny_recipe("long", "shenzhen", cycles=20_000)})["ready"]
    launched = first.post("/api/runs/launch", {"name": "long"})["job"]
    assert launched["command"].startswith("foundationx train ") and launched["command"].endswith("--resume auto")
    step = wait_until(lambda: watched(first)["step"], 240)
    first.kill()
    with PortalProcess(data, work) as second:
        now = wait_until(lambda: (run := watched(second))["step"] > step and run, 120)
        assert now["state"] == "running" and now["command"] == launched["command"] and now["output"]
        status, body, _ = second.ask(
            "POST", "/api/runs/launch", {"name": "long"}, Cookie=second.cookie, Origin=f"http://{second.host}"
        )
        assert status == 409 and b"already" in body
        second.post("/api/runs/stop", {"name": "long"})
        stopped = wait_until(lambda: (run := second.get("/api/run?run=long"))["state"] == "stopped" and run, 120)
        assert "go on with: foundationx train" in stopped["output"]
        assert list((work / "long" / "checkpoints").iterdir())
        second.post("/api/runs/launch", {"name": "long"})
        wait_until(lambda: watched(second)["step"] > stopped["step"], 240)
        second.post("/api/runs/stop", {"name": "long"})
        last = wait_until(lambda: (run := second.get("/api/run?run=long"))["state"] == "stopped" and run, 120)
        assert last["code"] == 130


HEADS = ("phantom_labels/classification", "phantom_boxes/detection")


def write_shown(folder):
    """Runs, a fusion's jobs and their results, as a busy portal has them."""
    rows = [log_row(step, HEADS[step > 20], 2 / step, "lock" if step % 20 < 5 else "release") for step in range(1, 31)]
    metrics = [metric_row(HEADS[0], "AUROC", value, model, 1) for value, model in ((0.8, "teacher"), (0.5, "trivial"))]
    metrics += [metric_row(HEADS[1], "AP40", 0.1, "teacher", 1), metric_row(HEADS[1], "AP40", 0.2, "trivial", 1)]
    for name in ("first", "second"):
        run = write_run(folder / "work" / name, rows, metrics=metrics)
        incident = {
            "step": 3,
            "kind": "io",
            "message": "a file could not be read",
            "dataset": "",
            "task": "",
            "images": [],
        }
        (run / "incidents.jsonl").write_text(json.dumps(incident) + "\n" + "damaged\n")
    own = folder / "work" / ".portal"
    issue = {"severity": "fault", "kind": "rows", "image": "a.png", "where": "t.csv row 1", "found": "x", "fix": "y"}
    labels = {"classification": {"Nodule": {"present": 3, "absent": 4, "unknown": 5}}}
    check = {"dataset": "shenzhen", "images": 12, "patients": 12, "counts": {"fault": {"rows": 1}}, "issues": [issue]}
    (own / "checks").mkdir(parents=True)
    (own / "checks" / "shenzhen.json").write_text(json.dumps([check | {"labels": labels}]))
    audit = own / "fusions" / "shown" / "audit"
    audit.mkdir(parents=True)
    found = {"images": 12, "pairs": [{}], "excluded": 1, "issues": [issue], "datasets": ["shenzhen"]}
    (audit / "audit.json").write_text(json.dumps(found))
    columns = [f"{name}_{letter}" for letter in "ab" for name in ("dataset", "image", "patient", "split")]
    (audit / "audit.csv").write_text(",".join(["match", "score", *columns]) + "\nexact,1,s,a,1,train,s,b,2,test\n")
    (audit / "pairs.png").write_bytes(cv2.imencode(".png", np.full((40, 80), 90, np.uint8))[1].tobytes())
    outputs = {"doctor": "ok    disk      80 GB free\nwarn  devices   no CUDA\n1 ok, 1 warn, 0 fail\n"}
    for kind, about in (("check", "shenzhen"), ("audit", "shown"), ("doctor", "shown")):
        record = {"identifier": f"{kind}-1", "kind": kind, "about": about, "words": ["foundationx", kind]}
        record |= {"started": "2026-01-01T00:00:00+00:00", "process": 1, "created": 1.0, "code": 0, "ended": True}
        (own / "jobs" / f"{kind}-1").mkdir(parents=True)
        (own / "jobs" / f"{kind}-1" / "job.json").write_text(json.dumps(record))
        (own / "jobs" / f"{kind}-1" / "output.txt").write_text(outputs.get(kind, f"{kind}: 3 of 10\n"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    (folder / "work").mkdir()
    write_shown(folder)
    write_copies(folder / "data", ["shenzhen"], Catalog(), images=6, size=64, seed=0)
    with PortalProcess(folder / "data", folder / "work") as portal:
        assert portal.post("/api/fuse", {"recipe": tiny_recipe("shown", "shenzhen")})["trains"] == {
            "shenzhen": "classification"
        }
        yield portal


VIEWS = {
    "view=fuse&pick=shenzhen&pick=montgomery&task=classification&fusion=shown&as=shown": ".pairs img",
    "view=runs": "#runs-compared table",
    "view=runs&with=first": "#runs-compared table",
    "view=run&run=first": "#run-curves svg",
}
LOOKS = {
    "light": ({}, None),
    "dark": ({"color_scheme": "dark"}, {"runOnly": ["color-contrast"]}),  # the rule that depends on colours
    "phone": (PHONE, {"runOnly": ["scrollable-region-focusable"]}),
}


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation_and_a_phone_never_scrolls_sideways(look, visit, shown):
    axe = pytest.importorskip(
        "axe_core_python.sync_playwright", reason="needs axe-core-python (the extra `test`)"
    ).Axe()
    options, rules = LOOKS[look]
    window = visit(f"http://{shown.host}/", **options)
    window.page.goto(shown.url)
    for query, until in VIEWS.items():
        page = window.open(query)
        page.wait_for_selector(until)
        for folded in page.query_selector_all("main details:not([open]) summary"):
            folded.click()
        answer = axe.run(page, options=rules)
        found = [(each["id"], each["nodes"][0]["target"]) for each in answer["violations"]]
        assert found == [], f"?{query}"
        if look == "phone":
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"?{query}"


def test_two_people_see_the_same_run_and_its_faults_in_words(visit, shown):
    seen = []
    for _ in range(2):
        window = visit(f"http://{shown.host}/")
        window.page.goto(shown.url)
        page = window.open("view=run&run=first")
        page.wait_for_selector("#run-curves rect.band", state="attached")
        seen.append(page.inner_text("main"))
    assert seen[0] == seen[1]
    assert "incidents.jsonl: 1 of 2 lines make no sense" in seen[0]
    assert "shaded: lock phases" in seen[0] and "0.100 (no better than trivial)" in seen[0]
    bands = page.eval_on_selector_all(
        "#run-curves rect.band", "all => all.map((each) => Number(each.getAttribute('width')))"
    )
    assert len(bands) == 2 and min(bands) > 5


def test_hostile_names_and_texts_execute_nothing(visit, tmp_path, monkeypatch):
    classes = [{"name": f"{payload} {number}"} for number, payload in enumerate(PAYLOADS)]
    values = card_values("findings_csv", classes) | {"name": "hostile", "access": "open", "title": PAYLOADS[1]}
    values["licence"] = {"name": PAYLOADS[0], "redistribution": "unknown", "commercial": "no"}
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "hostile.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setenv("FOUNDATIONX_REGISTRY", str(tmp_path / "registry"))
    names = [payload.replace("/", "\u2215") for payload in PAYLOADS[:5]]
    for name in names:
        rows = [log_row(step, f"{name}/classification", phase=PAYLOADS[1]) for step in (1, 2)]
        metrics = [metric_row(f"{name}/classification", "AUROC", 0.4, "teacher", 1)]
        run = write_run(tmp_path / "work" / name, rows, metrics=metrics, run={"version": PAYLOADS[1], "started": None})
        incident = {"step": 1, "kind": name, "message": PAYLOADS[0], "dataset": name, "task": name, "images": [name]}
        (run / "incidents.jsonl").write_text(json.dumps(incident) + "\n")
        (run / "report.html").write_text(f"<h1>x</h1><script>top.opener.broken = 1; {PAYLOADS[1]}</script>")
    with PortalProcess(tmp_path / "data", tmp_path / "work") as portal:
        window = visit(f"http://{portal.host}/")
        window.page.goto(portal.url)
        places = {f"view=run&run={urllib.parse.quote(name)}": "#run-curves svg" for name in names}
        hostile = urllib.parse.quote(PAYLOADS[1])
        places |= {"view=runs": "#runs-list table", "view=fuse&pick=hostile": "#fuse-preview table"}
        places |= {f"view=fuse&as={hostile}&options={hostile}&base={hostile}&pick={hostile}": "#fuse-status .error"}
        for query, until in places.items():
            page = window.open(query)
            page.wait_for_selector(until)
            page.hover("main h1")
            assert page.evaluate("window.broken") is None, query
            assert page.query_selector("main img, main script, main [onmouseover]") is None, query
        page = window.open("view=runs")
        page.wait_for_selector("#runs-list table")
        listed = page.eval_on_selector_all("#runs-list a[data-route]", "all => all.map((each) => each.textContent)")
        assert sorted(listed) == sorted(names)
        page.goto("about:blank")  # it asks nothing of a portal that has gone
