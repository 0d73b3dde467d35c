"""The page for everyone: by keyboard, read aloud, in both colour schemes, on a phone; and hostile text stays text."""

import pytest
import yaml

from foundationx.apps.portal.page import portal_page
from foundationx.datasets.cards.catalog import Catalog, default_folders
from tests.helpers.reader_cards import card_values

pytestmark = pytest.mark.slow

VIEWS = [
    "",
    "q=pnuemonia&task=detection&min_year=2015",
    "pick=rsna_pneumonia&pick=siim_acr&notes=open&open=licence&open=concept&task=detection&task=segmentation",
    "view=dataset&name=chexpert&pick=chexpert",
    "view=dataset&name=nobody",
    "view=labels&task=detection",
    "view=charts&task=detection",
    "view=tables",
    "view=compare",
    "view=fuse",
    "view=runs",
    "view=compare&pick=rsna_pneumonia&pick=siim_acr&pick=chestx_det&concepts=all",
]
HEADER = "section,name,url,year,dim,modality,samples,task,diseases,label\n"
ROWS = (
    "X-ray,CheXpert,https://example.org/x,2021,2D,X-Ray,224.3k,Cls,Diabetic retinopathy,True\n"
    "X-ray,Else,https://example.org/else,2020,2D,X-Ray,70,Cls,COVID-19,False\n"
)
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portal")
    (folder / "table.csv").write_text(HEADER + ROWS, encoding="utf-8")
    page = portal_page(Catalog(default_folders()[:1]), [folder / "table.csv"])
    (folder / "portal.html").write_text(page, encoding="utf-8")
    return (folder / "portal.html").as_uri()


LOOKS = {
    "light": ({}, None, VIEWS),
    "dark": ({"color_scheme": "dark"}, {"runOnly": ["color-contrast"]}, VIEWS),  # the rule that depends on colours
    "phone": (PHONE, None, VIEWS[2:4]),
}


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation(look, visit, home):
    axe = pytest.importorskip(
        "axe_core_python.sync_playwright", reason="needs axe-core-python (the extra `test`)"
    ).Axe()
    options, rules, views = LOOKS[look]
    window = visit(home, **options)
    for query in views:
        answer = axe.run(window.open(query), options=rules)
        assert [(found["id"], found["nodes"][0]["target"]) for found in answer["violations"]] == [], f"?{query}"
        assert "color-contrast" in [found["id"] for found in answer["passes"]]


def test_axe_itself_finds_a_violation(visit, home):
    axe = pytest.importorskip(
        "axe_core_python.sync_playwright", reason="needs axe-core-python (the extra `test`)"
    ).Axe()
    page = visit(home).open()
    page.evaluate("document.querySelector('#search').parentElement.replaceWith(document.createElement('input'))")
    assert "label" in [found["id"] for found in axe.run(page)["violations"]]


def test_a_phone_never_scrolls_sideways(visit, home):
    window = visit(home, **PHONE)
    for query in VIEWS:
        page = window.open(query)
        if page.query_selector("#show-filters"):
            page.click("#show-filters")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"?{query}"


def focus(page) -> str:
    return page.evaluate(
        "document.activeElement.dataset.key || document.activeElement.id || document.activeElement.tagName"
    )


def tab_to(page, key, most=200):
    """Presses Tab until an element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if focus(page) == key:
            return
    raise AssertionError(f"{most} tabs do not reach {key}; the focus is on {focus(page)}")


def test_the_keyboard_alone_filters_chooses_opens_and_compares(visit, home):
    page = visit(home).open()
    tab_to(page, "search", 15)
    page.keyboard.type("opacity")
    assert focus(page) == "search" and "q=opacity" in page.url
    tab_to(page, "value task detection", 15)
    page.keyboard.press("Space")
    assert focus(page) == "value task detection" and page.is_checked('[data-key="value task detection"]')
    tab_to(page, "sort title")
    page.keyboard.press("Enter")
    assert focus(page) == "sort title" and page.get_attribute('th:has([data-key="sort title"])', "aria-sort")
    tab_to(page, "pick rsna_pneumonia")
    page.keyboard.press("Space")
    assert focus(page) == "pick rsna_pneumonia"
    tab_to(page, "pick siim_fisabio")
    page.keyboard.press("Space")
    tab_to(page, "chosen compare")
    page.keyboard.press("Enter")
    assert page.inner_text("h1") == "Compare" and focus(page) == "H1"
    tab_to(page, "compared rsna_pneumonia")
    page.keyboard.press("Enter")
    assert page.inner_text("h1") == "RSNA Pneumonia Detection Challenge"
    tab_to(page, "choice", 10)
    page.keyboard.press("Enter")
    assert focus(page) == "choice" and page.get_attribute('[data-key="choice"]', "aria-pressed") == "false"


def test_a_bar_of_a_chart_filters_by_key_and_by_click(visit, home):
    page = visit(home).open("view=charts")
    tab_to(page, "bar task detection", 30)
    page.keyboard.press("Enter")
    assert "task=detection" in page.url and focus(page) == "bar task detection"
    assert page.get_attribute('[data-key="bar task detection"]', "aria-pressed") == "true"
    page.click('[data-key="bar task detection"]')
    assert "task=detection" not in page.url


def test_colours_follow_the_system_until_somebody_switches(visit, home):
    page = visit(home, color_scheme="dark").open()
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(shade)
    page.click("#theme")
    light = page.evaluate(shade)
    page.reload()
    page.wait_for_selector("main h1")
    assert dark != light and page.evaluate(shade) == light
    assert visit(home).open().evaluate(shade) == light


PAYLOADS = [
    "</script><script>window.broken = 1</script>",
    '<img src=x onerror="window.broken = 1">',
    '" onmouseover="window.broken = 1" x="',
    "<svg onload=window.broken=1>",
    "{{constructor.constructor('window.broken = 1')()}} ${window.broken = 1}",
    "\u2028window.broken = 1\u2029<!--",
]


def test_hostile_text_executes_nothing(visit, tmp_path):
    for number, payload in enumerate(PAYLOADS):
        classes = [{"name": f"{payload} a", "canonical": "covid_19"}, {"name": f"{payload} b"}]
        values = card_values("findings_csv", classes) | {"name": f"card_{number}", "access": "open"}
        values |= {"title": payload, "notes": payload, "citation": payload, "root": f"x{number}"}
        values |= {"home": "javascript:window.broken = 1", "evidence": {"title": payload}}
        values["licence"] = {"name": payload, "redistribution": "unknown", "commercial": "no"}
        values["survey"] = {"organisations": [payload], "description": payload, "challenge": payload}
        task = values["tasks"][next(iter(values["tasks"]))]
        task["file"] = f"{number}<img src=x onerror=alert(1)>.csv"
        (tmp_path / f"card_{number}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    cell = PAYLOADS[1].replace('"', "'")
    (tmp_path / "t<img src=x>.csv").write_text(
        HEADER + f"X-ray,{cell},javascript:alert(1),2020,2D,{cell},9,{cell},{cell},True\n"
    )
    catalog = Catalog([tmp_path])
    assert catalog.faults() == {}
    page_file = tmp_path / "portal.html"
    page_file.write_text(portal_page(catalog, [tmp_path / "t<img src=x>.csv"]), encoding="utf-8")
    window = visit(page_file.as_uri())
    picks = "&".join(f"pick=card_{number}" for number in range(len(PAYLOADS)))
    hostile = "<img src=x onerror=window.broken=1>"
    queries = ["open=licence&open=organisation&notes=open&" + picks, "view=labels", "view=charts", "view=tables"]
    queries += [f"view=compare&concepts=all&{picks}", f"q={hostile}&task={hostile}&in_licence={hostile}"]
    queries += [f"view={hostile}", "view=constructor&sort=__proto__", f"view=dataset&name={hostile}"]
    queries += [f"view=dataset&name=card_{number}" for number in range(len(PAYLOADS))]
    for query in queries:
        page = window.open(query)
        page.hover("main h1")
        assert page.evaluate("window.broken") is None, query
        assert page.query_selector("main img, main script, main svg[onload]") is None, query
        links = page.eval_on_selector_all("a", "all => all.map((each) => each.protocol)")
        assert set(links) <= {"file:", "https:"}, query
