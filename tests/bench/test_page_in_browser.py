"""The page in a real browser: sorting, tooltips, both colour schemes, the keyboard, and no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websocket", reason="needs the dev extra (websocket-client)")

from edgeyolo_bench.render.page import write_page

from .browser import Page, chromium, find_chromium
from .sample import sample_report

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (Debian: apt install chromium)")
POINT = "#own .point:not(.paper)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(str(PROGRAM), tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(sample_report(), path)
    return path


@pytest.fixture
def page(browser: Page, file: Path) -> Page:
    browser.events.clear()
    browser.move(1, 1)
    browser.open(file)
    return browser


def column(page: Page, table: str, place: int) -> list[float | None]:
    values = page(
        f"Array.from(document.querySelector('#{table}').tBodies[0].rows, r => r.cells[{place}].dataset.v ?? null)"
    )
    return [None if value is None else float(value) for value in values]


def test_clicking_a_head_sorts_up_then_down_and_keeps_empty_cells_last(page: Page) -> None:
    place = page(
        "Array.from(document.querySelector('#t-table-2').tHead.rows[0].cells).findIndex(c => c.textContent === 'FPS')"
    )
    head = f"#t-table-2 th:nth-child({place + 1})"
    page.click(f"{head} button")
    rising = column(page, "t-table-2", place)
    known = [value for value in rising if value is not None]
    assert known == sorted(known) and len(set(known)) > 2
    assert rising[len(known) :] == [None] * (len(rising) - len(known)) and None in rising
    assert page(f"document.querySelector({head!r}).ariaSort") == "ascending"
    page.click(f"{head} button")
    falling = column(page, "t-table-2", place)
    assert falling[: len(known)] == known[::-1] and falling[-1] is None
    assert page(f"document.querySelector({head!r}).ariaSort") == "descending"
    page.click("#t-table-2 th:nth-child(1) button")
    names = page(
        "Array.from(document.querySelector('#t-table-2').tBodies[0].rows, r => r.cells[0].textContent)"
    )
    assert names == sorted(names, key=str.lower)
    assert page("document.querySelectorAll('#t-table-2 th[aria-sort]').length") == 1


def test_hovering_a_point_shows_its_facts(page: Page) -> None:
    assert page.becomes("document.querySelector('#tooltip').hidden", True)
    page.hover(f"{POINT} .mark")
    assert page.becomes("document.querySelector('#tooltip').hidden", False)
    words = page("document.querySelector('#tooltip').innerText")
    for expected in (
        "yolov7-tiny",
        "cpu-openvino-fp32",
        "latency",
        "ms [",
        "AP",
        "35.2%",
        "bench-host",
        "Pareto front",
    ):
        assert expected in words
    box = page(
        "(r => [r.left, r.right, r.top, r.bottom])(document.querySelector('#tooltip').getBoundingClientRect())"
    )
    assert 0 <= box[0] < box[1] <= 1160 and 0 <= box[2] < box[3] <= 900
    page.move(2, 2)
    assert page.becomes("document.querySelector('#tooltip').hidden", True)


def test_the_keyboard_reaches_a_point_and_escape_closes_it(page: Page) -> None:
    page(f"document.querySelector('{POINT}').focus()")
    assert page.becomes("document.querySelector('#tooltip').hidden", False)
    page.press("Escape")
    assert page.becomes("document.querySelector('#tooltip').hidden", True)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Count the pixels of a colour, up to rounding."""
    return int((np.abs(pixels.astype(int) - np.array(colour)).max(-1) <= 3).sum())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screenshot_holds_the_front_the_points_and_the_schemes_colours(
    browser: Page, file: Path, scheme: str
) -> None:
    browser.open(file, scheme=scheme)
    x, y = browser.middle("#own .chart")
    picture = browser.screenshot()
    card, ink = browser.rgb("section", "backgroundColor"), browser.rgb("#own .front", "stroke")
    assert (sum(card) < 200) == (scheme == "dark") and (sum(ink) > 500) == (scheme == "dark")
    box = browser(
        "(r => [r.left, r.top, r.right, r.bottom])(document.querySelector('#own .chart').getBoundingClientRect())"
    )
    left, top, right, bottom = (round(max(value, 0)) for value in box)
    chart = picture[top:bottom, left:right]
    assert near(chart, card) > 0.7 * chart.shape[0] * chart.shape[1]
    # The front is a staircase as wide as the points are apart, and two pixels thick.
    front = browser("(r => [r.left, r.width])(document.querySelector('#own .front').getBoundingClientRect())")
    columns = (np.abs(picture.astype(int) - np.array(ink)).max(-1) <= 3)[top:bottom]
    covered = columns[:, round(front[0]) : round(front[0] + front[1])].any(0).mean()
    assert covered > 0.8, "the front is not drawn through"
    for target in ("cpu-openvino-fp32", "cpu-onnx-fp32"):
        mark = f"#own .point[aria-label*='{target}'] .mark"
        filled = browser(f"document.querySelector({mark!r}).classList.contains('hollow')") is False
        colour = browser.rgb(mark, "fill" if filled else "stroke")
        mx, my = (round(value) for value in browser.middle(mark))
        patch = browser.screenshot()[my - 9 : my + 10, mx - 9 : mx + 10]
        assert near(patch, colour) > (60 if filled else 25), (target, colour)
    assert (x, y) != (0, 0)


def test_the_two_schemes_differ_everywhere_it_matters(browser: Page, file: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(file, scheme=scheme)
        seen[scheme] = [
            browser.rgb("body", "backgroundColor"), browser.rgb("body", "color"), browser.rgb("#own .mark", "fill"),
            browser.rgb("td", "borderBottomColor"),
        ]  # fmt: skip
    assert all(one != other for one, other in zip(*seen.values(), strict=True))
    for page_colour, ink, *_ in seen.values():
        assert contrast(page_colour, ink) > 7


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG's contrast ratio."""

    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_button_changes_the_scheme_and_the_box_brings_the_papers_points(page: Page) -> None:
    before = page.rgb("body", "backgroundColor")
    page.click("#scheme")
    assert page.rgb("body", "backgroundColor") != before
    page.click("#scheme")
    assert page.rgb("body", "backgroundColor") == before
    assert page("document.querySelector('#both').hidden") is True
    page.click("#with-paper")
    assert page("[document.querySelector('#own').hidden, document.querySelector('#both').hidden]") == [
        True,
        False,
    ]
    page.hover("#both .paper-mark")
    assert "V100" in page("document.querySelector('#tooltip').innerText")


def test_no_request_leaves_the_page_and_the_script_raises_nothing(page: Page, file: Path) -> None:
    page.hover(f"{POINT} .mark")
    page.call("Page.captureScreenshot", format="png")
    requests = [
        e["params"]["request"]["url"] for e in page.events if e.get("method") == "Network.requestWillBeSent"
    ]
    assert set(requests) == {file.as_uri()}
    bad = [e for e in page.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert bad == []


def test_a_narrow_window_does_not_scroll_sideways(browser: Page, file: Path) -> None:
    browser.open(file, width=420)
    assert browser("document.documentElement.scrollWidth") <= 420
