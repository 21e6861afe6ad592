"""axe-core (Deque's engine of WCAG checks, in axe_playwright_python) and the widths of a real browser, in headless Chromium."""

import shutil
from pathlib import Path

import pytest

from trialml.report.html import write

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def page_at(tmp_path_factory, crowded, crowded_layout):
    """Open the crowded report in a window of some width."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra [dev]")
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(crowded, path, crowded_layout)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(width):
            # The page's own policy forbids every script, the checker's too.
            page = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 900}).new_page()
            page.goto(path.as_uri())
            return page

        yield opened
        browser.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_against_wcag_2_2_aa(page_at, width):
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python, of the extra [dev]")
    page = page_at(width)
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    # The shadows that say that a table goes on are drawn as backgrounds, behind which axe cannot judge contrast.
    page.add_style_tag(content=".scroll { background: none !important; }")
    found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]] == []
    assert "color-contrast" in {one["id"] for one in found["passes"]}
    assert "color-contrast" not in {one["id"] for one in found["incomplete"]}


@pytest.mark.parametrize("width", [1440, 390, 320])
def test_the_page_never_scrolls_sideways(page_at, width):
    page = page_at(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_on_a_small_screen_pictures_and_tables_of_many_columns_fit_their_frame(page_at):
    page = page_at(390)
    wide = "[...document.querySelectorAll('.stack .scroll, .picture')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert page.evaluate(wide) == 0
    assert page.evaluate("document.querySelectorAll('.stack').length") > 0


def test_the_first_page_on_paper_is_the_whole_summary_and_nothing_else(page_at, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext")
    import subprocess

    page_at(1440).pdf(path=tmp_path / "paper.pdf", prefer_css_page_size=True)
    text = subprocess.run(
        ["pdftotext", "-f", "1", "-l", "1", tmp_path / "paper.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "How sure this is" in text
    assert "Contents" not in text


def test_every_place_of_the_contents_can_be_reached_by_keyboard_and_exists(page_at):
    page = page_at(1440)
    dead = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash)"
    assert page.evaluate(dead) == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
