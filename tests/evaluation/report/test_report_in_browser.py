"""The report in Chromium: keyboard, contrast, narrow screens, hostile names, no request."""

import pytest
from report_run import TASKS, write_run

from foundationx.core.types import TaskKey
from foundationx.evaluation.report import write_report

pytestmark = pytest.mark.slow

HOSTILE = (
    "</script><script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    '" onmouseover="window.hit=1" x="',
    "'><svg onload='window.hit=1'>",
)
HEADS = tuple(TaskKey(f"set_{n}", task) for n, task in enumerate(TASKS))
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
CONTRAST = {"runOnly": ["color-contrast"]}
LOOKS = {"light": ({}, None), "dark": ({"color_scheme": "dark"}, CONTRAST), "phone": (PHONE, None)}
"""Options of the window, and which rules depend on them."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, HEADS, images=60, classes=9, pictures=8)
    return write_report(folder).as_uri()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_run(folder, HEADS, images=20, classes=4, pictures=3, names=HOSTILE)
    text = (folder / "run.json").read_text().replace('"made up"', '"</title><script>window.hit=1</script>"')
    (folder / "run.json").write_text(text)
    return write_report(folder).as_uri()


def opened(visit, home, **options):
    window = visit(home, **options)
    window.page.goto(home)
    window.page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    return window.page


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation_and_nothing_scrolls_sideways(look, visit, home):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core-python (the extra `test`)")
    options, rules = LOOKS[look]
    page = opened(visit, home, **options)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    answer = axe.Axe().run(page, options=rules)
    assert [(found["id"], found["nodes"][0]["target"]) for found in answer["violations"]] == []
    assert "color-contrast" in [found["id"] for found in answer["passes"]]


def test_lines_and_swatches_stand_out_from_the_ground(visit, home):
    """WCAG 1.4.11: 3 to 1, for every colour of a head, in light and dark."""
    for scheme in ("light", "dark"):
        page = opened(visit, home, color_scheme=scheme)
        contrasts = page.evaluate(
            """() => {
              const light = (text) => {
                const parts = text.match(/[\\d.]+/g).map((value) => value / 255);
                const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const ground = light(getComputedStyle(document.querySelector("section")).backgroundColor);
              return [...Array(10).keys()].map((number) => {
                const probe = document.createElement("i");
                probe.className = "c" + number;
                document.body.append(probe);
                const [low, high] = [ground, light(getComputedStyle(probe).backgroundColor)].sort((a, b) => a - b);
                return (high + 0.05) / (low + 0.05);
              });
            }"""
        )
        assert min(contrasts) >= 3, scheme


def column(page, table, index):
    return page.evaluate(
        "([table, index]) => [...document.querySelectorAll(table)[0].tBodies[0].rows]"
        ".filter((row) => !row.hidden).map((row) => row.cells[index].textContent.trim())",
        [table, index],
    )


CLASSES = "#head-set-0-classification table.sort"


def test_a_table_is_sorted_and_searched_by_keyboard(visit, home):
    page = opened(visit, home)
    before = column(page, CLASSES, 0)
    head = page.locator(f"{CLASSES} >> nth=0").locator("th").nth(2)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    values = [float(value) for value in column(page, CLASSES, 2)]
    assert values == sorted(values) and head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    values = [float(value) for value in column(page, CLASSES, 2)]
    assert values == sorted(values, reverse=True) and head.get_attribute("aria-sort") == "descending"
    assert page.evaluate("document.activeElement.closest('th').textContent") == head.text_content(), "focus stays"
    page.locator("#head-set-0-classification input[type=search]").first.focus()
    page.keyboard.type("PNEUMO")
    assert set(column(page, CLASSES, 0)) == {name for name in before if "pneumo" in name.lower()} != set()
    assert page.locator("#head-set-0-classification [role=status]").first.text_content() == "2 of 10 rows"


def test_undefined_values_stand_last_in_both_orders(visit, home):
    page = opened(visit, home)
    table = "table.sort:has-text('untrained') >> nth=1"
    button = page.locator(table).locator("th").last.locator("button")
    for _ in range(2):
        button.click()
        shown = page.locator(table).locator("tbody tr td:last-child").all_text_contents()
        defined = [value for value in shown if value != "-"]
        assert shown == defined + ["-"] * (len(shown) - len(defined))


def test_a_picture_is_enlarged_and_closed_by_keyboard(visit, home):
    page = opened(visit, home)
    button = page.locator("button.enlarge").first
    small = button.locator("img").bounding_box()["width"]
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    assert page.locator("dialog img").bounding_box()["width"] > 1.5 * small
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert button.evaluate("element => element === document.activeElement"), "focus is where it was"


def test_a_link_of_the_contents_opens_a_folded_head(visit, home):
    window = visit(home)
    window.page.goto(home)
    window.page.evaluate("document.querySelectorAll('details.head').forEach((part) => (part.open = false))")
    window.page.locator("nav a[href='#head-set-2-segmentation']").click()
    assert window.page.locator("#head-set-2-segmentation h4").first.is_visible()
    assert window.page.locator("#head-set-2-segmentation").evaluate("part => part.getBoundingClientRect().top") < 400


def test_names_from_outside_execute_nothing(visit, hostile):
    page = opened(visit, hostile)
    page.locator("button.enlarge").first.click()
    page.keyboard.press("Escape")
    for button in page.locator("th button").all()[:12]:
        button.click()
    for name in HOSTILE:
        assert page.get_by_text(name).count() > 0, "it is shown as text"
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.scripts.length") == 1


def test_the_policy_would_stop_a_script_that_slipped_in(visit, home):
    window = visit(home)
    window.page.goto(home)
    window.page.evaluate("document.body.setAttribute('onclick', 'window.hit=1')")
    window.page.locator("h1").click()
    assert window.page.evaluate("window.hit") is None
    assert window.faults, "the browser said so"
    window.faults.clear()


def test_without_a_script_all_is_there(visit, home):
    window = visit(home, java_script_enabled=False)
    window.page.goto(home)
    assert window.page.locator("table.sort tbody tr").count() > 50
    assert window.page.locator("figure.pic img").count() >= 3 * 5
    assert window.page.locator("th button, dialog").count() == 0


def test_printed_it_keeps_its_colours_light_and_has_no_controls(visit, home):
    page = opened(visit, home, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator(".search").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = page.evaluate("getComputedStyle(document.querySelector('td')).color")
    assert max(map(int, ink[4:-1].split(", "))) < 100, "dark letters on white paper"
