"""The page in a real browser: what moves, what is drawn, and that nothing overlaps or is cut."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

import forecasts_made_up
import pages
from coppice.experiments.page import render
from pages import Record, committed

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS, THEMES = (1280, 360), ("light", "dark")
SLACK = 2  # px that letters may stand over by rounding

# what is wrong with the boxes of the page, in words
LOOK = """([slack]) => {
  const wrong = [], box = (e) => e.getBoundingClientRect();
  const seen = (e) => { const b = box(e); return b.width > 0 && b.height > 0 && getComputedStyle(e).visibility !== "hidden"; };
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  for (const panel of document.querySelectorAll("article.panel")) {
    const shown = panel.querySelectorAll("[data-figure], [data-network]").length;
    if (!shown) wrong.push(`${panel.id} has no picture`);
  }
  for (const plot of document.querySelectorAll("[data-figure]")) {
    if (!seen(plot)) continue;
    const points = (plot._fullData || []).reduce((sum, t) => sum + (t.visible === true ? (t.x || t.z || []).length : 0), 0);
    if (!points) wrong.push(`${plot.id} is empty`);
    if (!plot.querySelector(".trace, .points path, .hm image, .heatmaplayer image, .barlayer path")) wrong.push(`${plot.id} draws nothing`);
    const frame = box(plot), words = [...plot.querySelectorAll("text")].filter((t) => t.textContent.trim() && seen(t));
    for (const t of words) {
      const b = box(t);
      if (b.left < frame.left - slack || b.right > frame.right + slack || b.top < frame.top - slack || b.bottom > frame.bottom + slack)
        wrong.push(`${plot.id}: "${t.textContent}" is cut`);
    }
    const upright = words.filter((t) => !/rotate\\(-?(?!0|90|180|270)[\\d.]/.test(t.getAttribute("transform") || "") && !t.closest(".heatmaplayer, .hm"));
    upright.forEach((one, n) => upright.slice(n + 1).forEach((other) => {
      const a = box(one), b = box(other);
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > slack && y > slack + 1) wrong.push(`${plot.id}: "${one.textContent}" lies over "${other.textContent}"`);
    }));
  }
  for (const e of document.querySelectorAll("main *:not(svg *):not(.js-plotly-plot *):not(.hidden)")) {
    if (!seen(e) || e.closest(".scroll, pre") || e.matches("input, progress")) continue;
    const b = box(e);
    if (b.right > innerWidth + slack || b.left < -slack) wrong.push(`${e.tagName} "${e.textContent.slice(0, 30)}" leaves the page`);
    if (e.scrollWidth > e.clientWidth + slack && e.clientWidth && getComputedStyle(e).display !== "inline")
      wrong.push(`${e.tagName} "${e.textContent.slice(0, 30)}" is wider than its place`);
  }
  for (const row of document.querySelectorAll("[data-network], .moment, .legend, .tiles, .player, .bar")) {
    const inner = [...row.children].filter((e) => seen(e) && getComputedStyle(e).position === "static");
    inner.forEach((one, n) => inner.slice(n + 1).forEach((other) => {
      const a = box(one), b = box(other);
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > slack && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > slack)
        wrong.push(`${row.className || row.id}: "${one.textContent.slice(0, 20)}" lies over "${other.textContent.slice(0, 20)}"`);
    }));
  }
  return wrong;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        way = "no browser here, which is no package of pip's: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(way)  # there nothing is left out
        pytest.skip(way)  # the README's test command must pass on a machine that has none
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, no_stopwatch: None) -> Record:
    return pages.pruned(tmp_path_factory.mktemp("pruned"))


class Opened:
    """A page in the browser, with what it complained of and asked the network for."""

    def __init__(self, browser: Any, file: Path, width: int, theme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(file.as_uri())
        self.page.wait_for_function("window.coppice")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"asked for {request.url}")

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def draw_all(self) -> None:
        self.page.evaluate("coppice.drawAll()")
        self.page.wait_for_function(
            "[...document.querySelectorAll('[data-figure]')].every((e) => e.querySelector('.main-svg'))"
        )


def written(folder: Path, records: list[Record]) -> Path:
    file = folder / "report.html"
    file.write_text(render(records, title=records[0]["name"]), encoding="utf-8")
    return file


def look(browser: Any, file: Path) -> None:
    """At every width in both themes: no complaint, nothing empty, cut, or over another."""
    for width in WIDTHS:
        with Opened(browser, file, width) as opened:
            opened.draw_all()
            for theme in THEMES:
                opened.page.emulate_media(color_scheme=theme)
                opened.page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
                opened.page.wait_for_timeout(150)
                assert opened.page.evaluate(LOOK, [SLACK]) == [], (width, theme)
            assert opened.complaints == []


def kinds(pruned: Record) -> dict[str, list[Record]]:
    return {
        "a search": committed("bdnn-digits/0"),
        "the search of 2017": committed("zhao2017-fig3/*/0")[:1],
        "pruned synapses": [pruned],
        "a stream": committed("order-pmi-mini/*/0")[:1],
        "many searches": committed("bdnn-digits/*"),
        "a continual study": committed("continual-cifar-mini/*"),
        "orders of a stream": committed("order-pmi-mini/*/[01]"),
        "a forecasting study": forecasts_made_up.study(seeds=2),
        "alternatives": committed("alternatives-*/*"),
        "settings": committed("zhao2017-fig3/*/0"),
        "widths": committed("zhao2017-needed-width/*/[01]")[:4],
        "adaptation": committed("zhao2017-fig4bc/*/0")[:2],
    }


@pytest.mark.parametrize(
    "kind",
    ["a search", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pruned synapses", "a stream"))],
)
def test_nothing_overlaps_is_cut_or_empty(kind: str, browser: Any, pruned: Record, tmp_path: Path) -> None:
    look(browser, written(tmp_path, kinds(pruned)[kind]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "the search of 2017", "many searches", "a continual study", "orders of a stream", "a forecasting study", "alternatives",
        "settings", "widths", "adaptation",
    ],
)  # fmt: skip
def test_nothing_overlaps_in_studies_and_many_runs(
    kind: str, browser: Any, pruned: Record, tmp_path: Path
) -> None:
    look(browser, written(tmp_path, kinds(pruned)[kind]))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_slider_moves_the_picture_to_what_the_record_says(
    width: int, browser: Any, tmp_path: Path
) -> None:
    (record,) = committed("bdnn-digits/0")
    path, chosen = record["result"]["path"], record["result"]["chosen"]
    with Opened(browser, written(tmp_path, [record]), width) as opened:
        page = opened.page
        slider = page.locator("input[type=range]").first
        slider.scroll_into_view_if_needed()
        slider.focus()

        def shown() -> tuple[list[str], dict[str, str], list[int]]:
            counts = page.locator("[data-network] .count").all_inner_texts()
            names, values = (
                page.locator(".moment dt").all_inner_texts(),
                page.locator(".moment dd").all_inner_texts(),
            )
            alive = [
                group.locator("circle.alive").count() for group in page.locator("[data-network] .group").all()
            ]
            return counts, dict(zip(names, values, strict=True)), alive

        def told(step: dict[str, Any]) -> tuple[list[str], str, list[int]]:
            counts = [
                f"{w:,} of {first:,}" for w, first in zip(step["widths"], path[0]["widths"], strict=True)
            ]
            return counts, f"{step['parameters']:,}", list(step["widths"])

        for key, place in (
            ("", chosen),
            ("ArrowRight", chosen + 1),
            ("Home", 0),
            ("ArrowRight", 1),
            ("End", len(path) - 1),
        ):
            if key:
                page.keyboard.press(key)
            counts, facts, alive = shown()
            assert (counts, facts["parameters"], alive) == told(path[place])
            assert slider.get_attribute("aria-valuetext") == (
                f"cut {place}" if place else "before the first cut"
            )
            assert facts["chosen"] == ("yes" if place == chosen else "no")
        assert opened.complaints == []


def test_the_play_button_runs_and_pauses_by_keyboard(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 1280) as opened:
        page = opened.page
        button, slider = page.locator("button.play").first, page.locator("input[type=range]").first
        page.clock.install()  # its timers run when they are told to
        button.focus()
        page.keyboard.press("Enter")
        assert str(button.get_attribute("aria-label")).startswith("Pause")
        before = int(slider.input_value())
        page.clock.run_for(900)
        assert int(slider.input_value()) > before
        page.keyboard.press("Enter")
        assert str(button.get_attribute("aria-label")).startswith("Play")
        paused = slider.input_value()
        page.clock.run_for(10_000)
        assert slider.input_value() == paused


def test_one_slider_moves_the_histograms_of_all_tensors(browser: Any, pruned: Record, tmp_path: Path) -> None:
    looks = pruned["result"]["histograms"]
    with Opened(browser, written(tmp_path, [pruned]), 1280) as opened:
        opened.draw_all()
        page = opened.page
        page.locator("[data-player*=histograms] input").focus()
        for key, told in (("Home", looks[0]), ("End", looks[-1])):
            page.keyboard.press(key)
            page.wait_for_timeout(200)
            for number, tensor in enumerate(told["tensors"].values()):
                shown = page.evaluate(
                    f"document.querySelector('[id$=histograms-figure-{number}]')._fullData.map((t) => [...t.y])"
                )
                assert shown == [tensor["alive"], tensor["died"]]
        assert opened.complaints == []


def test_modules_that_are_not_there_yet_are_faint_and_links_grow(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("order-pmi-mini/*/0")[:1]
    tasks = record["result"]["tasks"]
    with Opened(browser, written(tmp_path, [record]), 360) as opened:
        page = opened.page
        page.locator("input[type=range]").first.focus()
        page.keyboard.press("Home")
        there = "[...document.querySelectorAll('.modules .group')].map((e) => e.dataset.there)"
        assert page.evaluate(there) == ["yes"] + ["no"] * (len(tasks) - 1)
        links = (
            "[...document.querySelectorAll('.links path')].filter((e) => e.style.display !== 'none').length"
        )
        assert page.evaluate(links) == 0
        page.keyboard.press("End")
        assert page.evaluate(there) == ["yes"] * len(tasks)
        assert page.evaluate(links) > 0
        counts = page.locator(".modules .count").all_inner_texts()
        census = tasks[-1]["modules"]
        assert counts == [
            f"{census[t['task']]['kernels']:,} of {census[t['task']]['of_kernels']:,} kernels" for t in tasks
        ]


def test_the_theme_button_the_legend_and_the_contents(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 1280) as opened:
        page = opened.page
        opened.draw_all()
        theme = page.locator("#theme")
        seen = []
        for _ in range(3):
            theme.click()
            seen.append(
                (page.evaluate("document.documentElement.dataset.theme"), theme.get_attribute("aria-label"))
            )
        assert seen == [
            ("light", "Colours: light"),
            ("dark", "Colours: dark"),
            ("light", "Colours: as the system has them"),
        ]
        ink = "document.querySelector('[data-figure]')._fullLayout.font.color"
        assert page.evaluate(ink) == "#1b2127"
        entry = page.locator("[data-legend$=sizes-figure-0] button").first
        entry.click()
        assert entry.get_attribute("aria-pressed") == "false"
        visible = "document.querySelector('[id$=sizes-figure-0]')._fullData[0].visible"
        assert page.evaluate(visible) == "legendonly"
        entry.click()
        assert page.evaluate(visible) is True
        page.locator("nav a", has_text="Fitness").click()
        page.wait_for_function("document.querySelector('[id$=-fitness]').getBoundingClientRect().top < 400")
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()


def test_paper_is_white_and_controls_follow_the_theme(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 1280, "dark") as opened:
        page = opened.page
        page.locator("#sizes, [id$=sizes-figure-0]").first.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('[id$=sizes-figure-0]')._fullLayout")
        figure = "document.querySelector('[id$=sizes-figure-0]')._fullLayout.font.color"
        ink = "getComputedStyle(document.body).color"
        scheme = "getComputedStyle(document.documentElement).colorScheme"
        light, dark = "rgb(27, 33, 39)", "rgb(233, 237, 240)"
        assert [page.evaluate(what) for what in (figure, ink, scheme)] == ["#e9edf0", dark, "dark"]
        page.emulate_media(media="print", color_scheme="dark")
        assert [page.evaluate(what) for what in (ink, scheme)] == [light, "light"]
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(figure) == "#1b2127"
        page.emulate_media(media="screen", color_scheme="dark")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert [page.evaluate(what) for what in (figure, ink)] == ["#e9edf0", dark]
        page.locator("#theme").click()
        assert page.evaluate(scheme) == "light"


def test_the_mark_of_focus_can_be_seen(browser: Any, tmp_path: Path) -> None:
    """WCAG 2.2 asks for 3:1 against what it lies on."""
    (record,) = committed("bdnn-digits/0")

    def brightness(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for theme in THEMES:
        with Opened(browser, written(tmp_path, [record]), 1280, theme) as opened:
            page = opened.page
            page.keyboard.press("Tab")
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineColor")
            for place in ("header", "body"):
                under = page.evaluate(f"getComputedStyle(document.querySelector('{place}')).backgroundColor")
                dim, bright = sorted((brightness(ring), brightness(under)))
                assert (bright + 0.05) / (dim + 0.05) >= 3, (theme, place)


def test_an_address_that_is_none_does_not_end_the_script(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 1280) as opened:
        opened.page.goto("about:blank")
        opened.page.goto(f"{(tmp_path / 'report.html').as_uri()}#%E0%A4%A")
        opened.page.wait_for_function("window.coppice")
        assert opened.complaints == []


def test_the_facts_of_a_picture_are_read_out(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 1280) as opened:
        group = opened.page.locator("[data-network]")
        assert group.get_attribute("role") == "group"  # what is within an image is not
        assert "parameters" in group.aria_snapshot()


def test_a_link_opens_what_is_closed_and_packed_figures_are_read(browser: Any, tmp_path: Path) -> None:
    records = committed("zhao2017-fig3/*/*")
    file = written(tmp_path, records)
    assert 'type="application/gzip"' in file.read_text()
    with Opened(browser, file, 1280) as opened:
        page = opened.page
        page.goto(f"{file.as_uri()}#run-3")
        page.wait_for_function("window.coppice && document.querySelector('#run-3').open")
        page.wait_for_function("document.querySelector('#run-3 .layers circle.alive')")
        assert not page.evaluate("document.querySelector('#run-1').open")
        assert opened.complaints == []


def test_the_look_sees_what_is_wrong(browser: Any, tmp_path: Path) -> None:
    (record,) = committed("bdnn-digits/0")
    with Opened(browser, written(tmp_path, [record]), 360) as opened:
        opened.draw_all()
        assert opened.page.evaluate(LOOK, [SLACK]) == []
        opened.page.evaluate("document.querySelector('h2').style.width = '900px'")
        opened.page.evaluate(
            "document.querySelector('[data-figure] .xtick text').setAttribute('transform', 'translate(-300, 0)')"
        )
        opened.page.evaluate(
            "Plotly.restyle(document.querySelector('[id$=sizes-figure-0]'), { visible: false })"
        )
        wrong = " ".join(opened.page.evaluate(LOOK, [SLACK]))
        assert all(words in wrong for words in ("leaves the page", "is cut", "is empty"))
