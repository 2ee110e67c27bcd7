"""Films that are written: their times, their sizes, what Ctrl-C leaves, and a browser that plays them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.stream import open_source
from edgeyolo.stream.film_writer import FilmWriter

from .films import av, number_of, picture

TIMES = (10.0, 10.033, 10.1, 10.5, 10.51, 12.0)


def written(path: Path, times: tuple[float, ...] = TIMES, size: tuple[int, int] = (64, 96)) -> Path:
    with FilmWriter(path) as film:
        for number, moment in enumerate(times):
            film.write(picture(number, size), moment)
    return path


def test_frames_and_times_are_kept(tmp_path: Path) -> None:
    frames = list(open_source(written(tmp_path / "film.mp4")))
    assert [frame.time for frame in frames] == pytest.approx([moment - 10 for moment in TIMES], abs=1e-4)
    assert [number_of(frame.image) for frame in frames] == list(range(6))
    assert np.abs(frames[5].image.astype(int) - picture(5)).mean() < 4


def test_it_is_h264_in_a_container_that_browsers_play_without_sound(tmp_path: Path) -> None:
    with av.open(str(written(tmp_path / "film.mp4"))) as container:
        assert container.format.name.split(",")[0] == "mov"
        assert [stream.type for stream in container.streams] == ["video"]
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 6)


def test_odd_and_changing_sizes(tmp_path: Path) -> None:
    odd = list(open_source(written(tmp_path / "odd.mp4", size=(65, 97))))
    assert {frame.size for frame in odd} == {(66, 98)}
    with FilmWriter(tmp_path / "changing.mp4") as film:
        film.write(picture(1), 0)
        film.write(picture(2, (128, 192)), 0.1)
    frames = list(open_source(tmp_path / "changing.mp4"))
    assert [(frame.size, number_of(frame.image)) for frame in frames] == [((64, 96), 1), ((64, 96), 2)]


def test_times_that_stand_still_are_moved_on(tmp_path: Path) -> None:
    frames = list(open_source(written(tmp_path / "film.mp4", (1.0, 1.0, 1.0, 1.5))))
    assert len(frames) == 4
    assert [frame.time for frame in frames] == pytest.approx([0, 0, 0, 0.5], abs=1e-3)


def test_nothing_appears_before_the_end_and_nothing_without_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with FilmWriter(path) as film:
        assert not path.exists()
        film.write(picture(0), 0)
        assert not path.exists()
    assert path.exists()
    with FilmWriter(tmp_path / "empty.mp4"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["film.mp4"]


CHILD = """
import sys
import numpy as np
from pathlib import Path
from edgeyolo.stream.film_writer import FilmWriter
with FilmWriter(Path(sys.argv[1])) as film:
    for number in range(100000):
        film.write(np.full((64, 96, 3), number % 200, np.uint8), number / 30)
        print(number, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_leaves_a_playable_film_and_a_kill_nothing(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "film.mp4"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    try:
        while child.stdout.readline().strip() != "40":
            assert child.poll() is None
        child.send_signal(number)
        child.stdout.close()
        child.wait(10)
    finally:
        child.kill()
    if number == signal.SIGKILL:
        assert not path.exists()
        return
    assert len(list(open_source(path))) >= 40


def test_a_browser_plays_it(tmp_path: Path) -> None:
    pytest.importorskip("websocket", reason="needs the extra dev")
    from ..bench.browser import chromium, find_chromium

    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    written(tmp_path / "film.mp4", tuple(number / 20 for number in range(30)), size=(96, 128))
    page = tmp_path / "page.html"
    page.write_text('<video id="film" src="film.mp4" muted></video>')
    with chromium(program, tmp_path / "profile") as tab:
        tab.open(page)
        tab("void film.play()")
        deadline = time.monotonic() + 20
        while not tab("film.ended || film.error") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tab("film.error") is None
        assert tab("film.ended") is True
        assert tab("[film.videoWidth, film.videoHeight]") == [128, 96]
        assert tab("film.duration") == pytest.approx(1.5, abs=0.06)
