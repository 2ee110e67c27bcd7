"""Whatever a caller names: files, folders, patterns, lists, generators, captures, and mistakes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeyolo.errors import EdgeYoloError, ImageError, SourceError, UsageError
from edgeyolo.stream import Frame, Source, open_source
from edgeyolo.stream.decoder import without_password
from edgeyolo.stream.open_source import films_in, is_camera, is_film

from .films import number_of, picture, write_film


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for number in range(3):
        cv2.imwrite(str(place / f"{number}.png"), picture(number))
    return place


def numbers(source: Source) -> list[int]:
    return [number_of(frame.image) for frame in source]


def test_an_image_a_folder_a_pattern_and_a_list(folder: Path) -> None:
    for what in (folder, str(folder), str(folder / "*.png"), sorted(folder.iterdir())):
        frames = list(open_source(what))
        assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
        assert [frame.source for frame in frames] == [str(path) for path in sorted(folder.iterdir())]
        assert [frame.index for frame in frames] == [0, 1, 2]
        assert [frame.time for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30])
    assert numbers(open_source(folder / "1.png")) == [1]
    assert [frame.time for frame in open_source(folder, fps=5)] == pytest.approx([0, 0.2, 0.4])
    assert open_source(folder).total == 3


def test_an_unreadable_image_is_passed_over_among_others(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"no image")
    seen = []
    source = open_source(folder, on_event=lambda event: seen.append(event.kind))
    assert numbers(source) == [0, 2]
    assert source.counts.dropped == {"damaged": 1}
    assert seen == ["damaged"]
    with pytest.raises(ImageError, match=r"1\.png"):
        list(open_source(folder / "1.png"))


def test_films_and_images_together(folder: Path) -> None:
    write_film(folder / "film.mp4", (0, 0.1), images=[picture(10), picture(11)])
    assert sorted(numbers(open_source(folder))) == [0, 1, 2, 10, 11]
    assert numbers(open_source(folder / "film.mp4")) == [10, 11]
    assert numbers(open_source(str(folder / "*.mp4"))) == [10, 11]
    (folder / "film.mp4").rename(folder / "film")  # a film without a suffix
    assert numbers(open_source(folder / "film")) == [10, 11]
    assert numbers(open_source(f"file://{folder}/film")) == [10, 11]


def test_several_films_at_once(tmp_path: Path) -> None:
    names = [write_film(tmp_path / f"{n}.mp4", [k / 30 for k in range(20)]) for n in range(3)]
    source = open_source(names)
    frames = list(source)
    for name in names:
        own = [frame for frame in frames if frame.source == str(name)]
        assert [number_of(frame.image) for frame in own] == list(range(20))
        assert [frame.index for frame in own] == list(range(20))
    assert source.total == source.counts.captured == 60
    # All are under way at once: the first third of the frames is of all three.
    assert {frame.source for frame in frames[:20]} == set(map(str, names))


def test_an_error_of_one_of_several_ends_the_loop(tmp_path: Path) -> None:
    good = write_film(tmp_path / "good.mp4", [k / 30 for k in range(200)])
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    source = open_source([good, tmp_path / "bad.mp4"])
    with pytest.raises(SourceError, match=r"bad\.mp4"):
        list(source)
    assert list(source) == []
    source.close()


def test_arrays_pairs_and_generators() -> None:
    arrays = [picture(number) for number in range(4)]
    assert numbers(open_source(arrays)) == numbers(open_source(iter(arrays))) == [0, 1, 2, 3]
    assert numbers(open_source(np.stack(arrays))) == [0, 1, 2, 3]
    assert (
        numbers(open_source(arrays[3])) == numbers(open_source(Image.fromarray(arrays[3][:, :, ::-1]))) == [3]
    )

    def timed() -> Iterator[tuple[float, np.ndarray]]:
        yield from zip((5.0, 5.1, 7.25, 8.0), arrays, strict=True)

    frames = list(open_source(timed()))
    assert [frame.time for frame in frames] == [5.0, 5.1, 7.25, 8.0]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    before = time.monotonic()
    assert before <= next(iter(open_source(arrays))).time <= time.monotonic()
    assert [frame.time for frame in open_source(arrays, fps=10)] == pytest.approx([0, 0.1, 0.2, 0.3])
    source = open_source(timed(), max_fps=1)
    assert [frame.time for frame in source] == [5.0, 7.25]
    assert source.counts.dropped == {"rate": 2}


def test_the_freshest_of_a_generator() -> None:
    over = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        for number in range(30):
            yield picture(number)
        over.set()

    seen = []
    source = open_source(camera(), policy="freshest")
    for frame in source:
        seen.append(frame.index)
        assert over.wait(60)
    assert len(seen) <= 2
    assert seen[-1] == 29
    assert source.counts.dropped["newer"] == 30 - len(seen)


def test_an_error_of_a_generator_reaches_the_loop() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield picture(0)
        raise ZeroDivisionError

    for policy in ("every", "freshest"):
        source = iter(open_source(broken(), policy=policy))  # type: ignore[arg-type]
        assert next(source).index == 0
        with pytest.raises(ZeroDivisionError):
            next(source)


def test_closing_a_generators_source_closes_the_generator() -> None:
    closed = []

    def camera() -> Iterator[np.ndarray]:
        try:
            while True:
                yield picture(1)
        finally:
            closed.append(True)

    source = open_source(camera())
    next(iter(source))
    source.close()
    assert closed
    assert list(source) == []


def test_an_opened_capture(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", (0, 0.1, 0.3))
    capture = cv2.VideoCapture(str(film))
    capture.read()  # it goes on from where it is
    frames = list(open_source(capture))
    assert [number_of(frame.image) for frame in frames] == [1, 2]
    assert [frame.time for frame in frames] == pytest.approx([0.1, 0.3], abs=1e-3)
    with pytest.raises(SourceError, match="not opened"):
        open_source(cv2.VideoCapture())


def test_a_source_is_itself(folder: Path) -> None:
    source = open_source(folder)
    assert open_source(source) is source


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("nothing.mp4", SourceError, "no such file"),
        ("nothing.png", ImageError, "no such file"),
        ("nowhere/*.mp4", ImageError, "no image found"),
        ([], UsageError, "no source"),
        ("gopher://camera", UsageError, "gopher"),
        (3.5, UsageError, "float"),
        ([(1, 2, 3)], UsageError, "tuple of 3"),
        ("/dev/video99", SourceError, "camera"),
        (99, SourceError, "camera 99"),
    ],
)
def test_mistakes(what: object, error: type[EdgeYoloError], says: str) -> None:
    with pytest.raises(error, match=says):
        list(open_source(what))


def test_a_near_name_is_proposed(tmp_path: Path) -> None:
    write_film(tmp_path / "street.mp4", (0, 0.1))
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "streat.mp4")
    assert "street.mp4" in caught.value.hint


def test_passwords_are_not_shown() -> None:
    assert without_password("rtsp://me:se@cret@10.0.0.1/a@b") == "rtsp://me@10.0.0.1/a@b"
    assert without_password("rtsp://me:secret@camera:554/a") == "rtsp://me@camera:554/a"
    assert without_password("rtsp://camera:554/user:name@host") == "rtsp://camera:554/user:name@host"


def test_kinds_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        is_film("a/b.MP4")
        and is_film("missing.mkv")
        and not is_film("a.png")
        and not is_film("rtsp://camera/a.mp4")
    )
    assert (
        is_camera("0")
        and is_camera("rtsp://camera")
        and is_camera("/dev/video0")
        and not is_camera("film.mp4")
    )
    (tmp_path / "0").mkdir()
    assert not is_camera("0")


def test_frames_tell_about_themselves() -> None:
    frame = Frame(picture(1), 1.5, 3, "street.mp4")
    assert frame.size == (64, 96)
    assert "3 of street.mp4" in repr(frame)


def test_films_of_a_folder_are_found_as_images_are(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "._a.mkv", "notes.txt", "below/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in films_in(str(tmp_path))] == ["a.MKV", "b.mp4"]
    assert [path.name for path in films_in(f"{tmp_path}/**/*.mp4")] == ["b.mp4", "c.mp4"]


def test_pipes_and_devices_are_no_films(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("/dev/zero", str(tmp_path / "pipe.mp4")):
        with pytest.raises(ImageError, match="not a regular file"):
            open_source(name)


def test_a_negative_camera_number_is_refused() -> None:
    """OpenCV ends the process at one."""
    with pytest.raises(UsageError, match="camera -1: cameras are numbered from 0"):
        open_source(-1)
