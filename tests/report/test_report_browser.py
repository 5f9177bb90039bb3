"""The page in a browser that has no network: charts draw, a click shows a cell's samples, a hostile
name is text, nothing complains.
"""

import json
import shlex
import shutil
import time

import pytest

from otgan.report.command import read, write
from tests.support.reports import SUMMARY, end, line, renamed, run_folder, score, sweep_folder

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install 'otgan[dev]'"
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HOSTILE = "<script>document.title = 'stolen'</script>"
PATIENCE = 120_000  # milliseconds, for a machine that is busy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens the page of a target; afterwards nothing may have been said or asked for."""
    said, asked, contexts = [], [], []

    def opened(*folders, width=1200, dark=False):
        path = write(read(folders), tmp_path / "page.html")
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            offline=True,
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri(), timeout=PATIENCE)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def until(page, expression):
    """Wait until an expression is true. The page's policy forbids Playwright's own way to."""
    ending = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < ending, expression
        page.wait_for_timeout(50)


@pytest.fixture
def sweep(tmp_path):
    """Twelve cells that differ in W2, half of them at another loss.

    Their experiment's name is an attack.
    """
    axes = {
        "oracle.lam": [0.1, 1.0, 10.0],
        "oracle.epsilon": ["0.03x", "0.3x"],
        "oracle.loss": ["regot", "sinkhorn"],
    }
    for i, folder in enumerate(sweep_folder(tmp_path / "s", axes, [0]).values()):
        renamed(end(folder, summary={**SUMMARY, "w2": 1.0 + i}, scores=[score(9.0 - i)]), HOSTILE)
    told = json.loads((tmp_path / "s/sweep.json").read_text())
    (tmp_path / "s/sweep.json").write_text(json.dumps({**told, "experiment": HOSTILE}))
    return tmp_path / "s"


def test_a_click_in_the_heat_map_shows_the_cells_samples(open_page, sweep):
    page = open_page(sweep)
    heat = page.locator(".heat .heatmaplayer image")
    heat.wait_for()
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.title().startswith("sweep of <script>")
    # the best by the first number, the score
    assert page.locator("#panel h2").inner_text() == "lam 10, epsilon 0.3x, loss sinkhorn"
    page.select_option("#slice", "0")
    until(page, "document.querySelector('.heat').data[0].text[0][0].includes('9')")
    box = page.locator(".heat .nsewdrag").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 6, box["y"] + box["height"] * 3 / 4)
    until(
        page,
        "document.querySelector('#panel h2').innerText === 'lam 0.1, epsilon 0.03x, loss regot'",
    )
    assert page.locator("#panel .film img:visible").get_attribute("alt") == "samples after step 40"
    page.locator("#panel .chart .scatterlayer").first.wait_for()
    slider = page.locator("#panel input[type=range]")
    slider.fill("0")
    assert page.locator("#panel .film img:visible").get_attribute("alt") == "samples after step 20"
    assert page.locator("#panel .film output").inner_text() == "20"


def test_the_number_of_the_heat_map_can_be_chosen_and_rows_choose_too(open_page, sweep):
    page = open_page(sweep)
    page.locator(".heat .heatmaplayer image").wait_for()
    options = page.locator("#metric option").all_inner_texts()
    assert options[0].startswith("fid[x] (lower is better)")
    page.select_option(
        "#metric", str(next(i for i, option in enumerate(options) if option.startswith("w2 (")))
    )
    until(page, "document.querySelector('.heat').data[0].text[0][0].startsWith('<b>2</b>')")
    page.locator("button[data-choose]").nth(2).click()
    assert page.locator("#panel h2").inner_text() == "lam 0.1, epsilon 0.3x, loss regot"
    # the slice went along
    until(page, "document.querySelector('.heat').data[0].text[0][0].startsWith('<b>1</b>')")
    page.locator("#lines .chart").first.scroll_into_view_if_needed()
    page.locator("#lines .point").first.wait_for()
    # three for each epsilon
    assert page.locator("#lines .chart").first.locator(".point").count() == 6


def test_nothing_is_wider_than_a_phone(open_page, sweep, tmp_path):
    for target in (sweep, run_folder(tmp_path / "r", scores=[score(3.0)]).path):
        page = open_page(target, width=375)
        page.locator(".chart").first.scroll_into_view_if_needed()
        page.locator(".chart .main-svg").first.wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_run_draws_its_curves_in_the_theme(open_page, tmp_path):
    lines = [line(10 * i, dual_converged=0.5 if i in (3, 4, 9) else 1.0) for i in range(1, 20)]
    page = open_page(run_folder(tmp_path / "r", lines=lines).path, dark=True)
    gap = page.locator("[data-figure='run-0/dual_gap']")
    gap.scroll_into_view_if_needed()
    # a level line has no height to be visible by
    gap.locator(".scatterlayer .trace").first.wait_for(state="attached")
    assert gap.locator(".scatterlayer .trace").count() == 3
    assert gap.locator(".shapelayer path").count() == 2
    color = "document.querySelector('[data-figure=\"run-0/dual_gap\"]').data[0].line.color"
    assert page.evaluate(color) == "#74c7d4"
    page.locator("#theme").click()
    assert page.evaluate(color) == "#0b5c6b"


def test_a_run_among_several_opens(open_page, tmp_path):
    page = open_page(
        *(run_folder(tmp_path / f"r{i}", overrides={"oracle.lam": 0.1 + i}).path for i in range(3))
    )
    assert page.locator(".run-card strong").all_inner_texts() == ["lam 0.1", "lam 1.1", "lam 2.1"]
    page.locator(".run-card").nth(1).click()
    assert page.locator("#panel h3").first.inner_text() == "lam 1.1"
    page.locator("#panel .chart .scatterlayer").first.wait_for()


def test_the_gallery_chooses_a_cell(open_page, sweep):
    page = open_page(sweep)
    cards = page.locator("#gallery button")
    assert cards.count() == 12
    cards.nth(1).click()
    assert page.locator("#panel h2").inner_text() == "lam 0.1, epsilon 0.03x, loss sinkhorn"
    assert cards.nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator("#gallery button[aria-pressed=true]").count() == 1
    picture = page.locator("#panel .film img:visible")
    assert picture.get_attribute("src") == cards.nth(1).locator("img").get_attribute("src")
    assert picture.evaluate("img => img.complete && img.naturalWidth") == 40


def test_a_line_across_all_axes_chooses_its_combination(open_page, sweep):
    page = open_page(sweep)
    box = page.locator("#parallel .chart")
    box.scroll_into_view_if_needed()
    box.locator(".point").first.wait_for()
    assert box.locator(".scatterlayer .trace").count() == 12
    point = box.locator(".point").first.bounding_box()
    label = "document.querySelector('#parallel .chart').data[0].hovertext"
    told = page.evaluate(label).split("<br><b>")[0].replace("<br>", ", ")
    assert page.locator("#panel h2").inner_text() != told  # what the page opened on
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    until(page, f"document.querySelector('#panel h2').innerText === '{told}'")


def test_curves_are_drawn_against_seconds(open_page, tmp_path):
    lines = [line(10 * i, seconds=2.5 * i, dual_converged=float(i > 2)) for i in range(1, 9)]
    page = open_page(run_folder(tmp_path / "r", lines=lines).path)
    loss = page.locator("[data-figure='run-0/loss']")
    loss.scroll_into_view_if_needed()
    loss.locator(".scatterlayer .trace").first.wait_for(state="attached")
    chart = "document.querySelector('[data-figure=\"run-0/loss\"]')"
    assert page.evaluate(f"{chart}.data[0].x") == [10 * i for i in range(1, 9)]
    page.get_by_role("button", name="seconds of training").click()
    assert page.evaluate(f"{chart}.data[0].x") == [2.5 * i for i in range(1, 9)]
    assert page.evaluate(f"{chart}.layout.xaxis.title.text") == "seconds of training"
    assert page.evaluate(f"{chart}.layout.shapes.map(s => [s.x0, s.x1])") == [[0, 5]]
    page.get_by_role("button", name="steps", exact=True).click()
    assert page.evaluate(f"{chart}.data[0].x")[0] == 10


def test_a_command_can_be_copied(open_page, tmp_path):
    folder = run_folder(tmp_path / "it's a run", state="interrupted").path
    page = open_page(folder)
    command = page.locator(".again code").first
    assert command.inner_text() == f"otgan run {shlex.quote(str(folder))}"
    page.locator("[data-copy]").first.click()
    until(
        page, "['copied', 'selected'].includes(document.querySelector('[data-copy]').textContent)"
    )


def test_a_table_wider_than_the_page_says_so(open_page, sweep):
    page = open_page(sweep, width=375)
    box = page.locator("#numbers .scroll")
    hint = page.locator("#numbers .scroll-hint")
    assert hint.is_visible()
    assert "more-right" in (box.get_attribute("class") or "")
    assert box.get_attribute("tabindex") == "0"
    box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    page.wait_for_selector("#numbers .scroll.more-left:not(.more-right)")
    wide = open_page(sweep, width=4000)
    assert not wide.locator("#map .scroll-hint").is_visible()


def test_a_print_has_everything(open_page, sweep, tmp_path):
    for target in (sweep, run_folder(tmp_path / "r", scores=[score(3.0)]).path):
        page = open_page(target, dark=True)
        until(page, "window.Plotly")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size({"width": 700, "height": 990})
        charts = page.locator("main .chart")
        assert charts.count() == page.locator("main .chart .main-svg:first-child").count() > 3
        assert page.locator("main details:not([open])").count() == 0
        assert page.locator("table.stacked").count() > 0  # too wide for paper
        cut = """[...document.querySelectorAll('main *')].filter((node) =>
            !node.closest('svg') && node.getBoundingClientRect().right > 701).length"""
        assert page.evaluate(cut) == 0
        values = page.locator("#numbers td").first
        assert values.is_visible()
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator(".stacked").count() == 0
        # as wide as the window has room for again
        page.set_viewport_size({"width": 1200, "height": 900})
        until(
            page,
            "[...document.querySelectorAll('.charts .chart')].every((box) =>"
            " Math.abs(box._fullLayout.width - box.clientWidth) < 2 && box.clientWidth > 400)",
        )
        assert page.evaluate("document.documentElement.dataset.theme") is None
