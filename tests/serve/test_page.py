"""The page in a real browser: a picture is chosen, boxes are drawn, dark and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websocket", reason="needs the dev extra (websocket-client)")

from edgeyolo import Detector

from ..bench.browser import Page, chromium, find_chromium
from .server import running

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here (Debian: apt install chromium)")


TOKEN = """(() => {
    const input = document.querySelector('#token');
    input.value = 'secret';
    input.dispatchEvent(new Event('change'));
})()"""


@pytest.fixture(scope="module")
def address(served: Path, pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text("secret\n")
    film = tmp_path_factory.mktemp("film")
    for number, picture in enumerate(pictures[:3]):
        (film / f"{number}.jpg").write_bytes(picture)
    options = ("--max-det", 5, "--token-file", tokens, "--live", film)
    with running(f"day={served}", f"night={served}", *options) as server:
        yield server.address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(str(PROGRAM), tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def picture(pictures: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "photo.jpg"
    path.write_bytes(pictures[0])
    return path


@pytest.mark.parametrize("look", [("light", 1000), ("dark", 360)], ids=str)
def test_a_picture_is_chosen_and_boxes_are_drawn(
    browser: Page, address: str, served: Path, picture: Path, look: tuple[str, int]
) -> None:
    scheme, width = look
    browser.events.clear()
    browser.open(address + "/", scheme=scheme, width=width)
    assert browser.becomes("document.querySelectorAll('#model option').length", 2)
    browser.choose("#file", picture)
    assert browser.becomes("document.querySelector('#status').className", "wrong")  # there is no token yet
    assert "token" in browser("document.querySelector('#status').textContent")
    browser(TOKEN)
    assert browser.becomes("document.querySelectorAll('#rows tr').length", 5)
    with Detector(served, max_det=5) as detector:
        first = detector(picture)[0]
    assert browser("document.querySelector('#rows td').textContent") == first.name
    assert browser("document.querySelector('#status').textContent").startswith(
        "5 objects in 640 × 480 pixels"
    )
    x, y = (round(value) for value in first.box[:2])
    shown = browser(
        f"Array.from(document.querySelector('#canvas').getContext('2d').getImageData({x}, {y + 20}, 1, 1).data)"
    )
    assert max(shown[:3]) - min(shown[:3]) > 60  # the colour of a box
    assert browser("document.documentElement.scrollWidth <= innerWidth")
    back = np.mean(browser.rgb("body", "backgroundColor"))
    assert back > 200 if scheme == "light" else back < 60
    wrong = [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
    assert not wrong


def test_the_api_is_described(browser: Page, address: str) -> None:
    browser.open(address + "/docs")
    assert browser.becomes("document.querySelector('h2')?.textContent", "POST /detect")
    assert browser("document.querySelectorAll('section').length") >= 9
    assert browser("document.documentElement.scrollWidth <= innerWidth")


def test_the_live_page_shows_a_frame_and_its_counts(browser: Page, address: str) -> None:
    browser.events.clear()
    browser.open(address + "/live", scheme="dark", width=360)
    assert browser.becomes("document.querySelector('#token-row').hidden", False)
    browser(TOKEN)
    assert browser.becomes("document.querySelector('#picture').naturalWidth", 640)
    facts = browser("Array.from(document.querySelectorAll('#facts tr'), row => row.innerText)")
    assert facts[0].startswith("Objects") and any(digit in facts[0] for digit in "12345")
    assert any(row.startswith("Dropped") for row in facts)
    assert browser("document.documentElement.scrollWidth <= innerWidth")
    assert not [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
