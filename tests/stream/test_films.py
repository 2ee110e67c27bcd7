"""Films through both decoders: the same frames, their own times, and every way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeyolo.errors import SourceError
from edgeyolo.stream import Event, Frame, open_source
from edgeyolo.stream.open_decoder import DecoderName

from .films import number_of, picture, write_film, write_sound_file

UNEVEN = (0.0, 0.033, 0.066, 0.2, 0.21, 0.5, 0.9, 1.0)
decoders = pytest.mark.parametrize("decoder", ["pyav", "opencv"])


def frames_of(path: Path, decoder: DecoderName, **more: object) -> list[Frame]:
    with open_source(path, decoder=decoder, **more) as source:  # type: ignore[arg-type, attr-defined]
        return list(source)


@decoders
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov"])
def test_frames_keep_their_own_times(tmp_path: Path, decoder: DecoderName, suffix: str) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    film = write_film(tmp_path / f"film{suffix}", UNEVEN, codec=codec)
    frames = frames_of(film, decoder)
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx(UNEVEN, abs=1.5e-3)
    assert [number_of(frame.image) for frame in frames] == list(range(8))
    assert {frame.source for frame in frames} == {str(film)}
    assert frames[0].image.dtype == np.uint8
    assert frames[0].size == (64, 96)


@pytest.mark.parametrize(
    ("codec", "suffix", "rotation"),
    [
        *(("libx264", ".mp4", rotation) for rotation in (0, 90, 180, 270)),
        *(("mpeg4", ".mp4", rotation) for rotation in (0, 90)),
        ("mjpeg", ".avi", 0),
        ("libx265", ".mkv", 0),
    ],
)
def test_both_decoders_give_the_same_pixels(tmp_path: Path, codec: str, suffix: str, rotation: int) -> None:
    film = write_film(tmp_path / f"film{suffix}", (0, 0.1, 0.2), codec=codec, rotation=rotation)
    first, second = (frames_of(film, decoder) for decoder in ("pyav", "opencv"))
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        assert one.time == pytest.approx(other.time, abs=1e-3)
        np.testing.assert_array_equal(one.image, other.image)


@decoders
def test_a_turned_film_is_upright(tmp_path: Path, decoder: DecoderName) -> None:
    lying = np.ascontiguousarray(np.rot90(picture(5), -1))  # as a telephone held upright stores it
    film = write_film(tmp_path / "film.mp4", (0, 0.1), images=[lying, lying], size=(96, 64), rotation=90)
    frame = frames_of(film, decoder)[0]
    assert frame.size == (64, 96)
    assert number_of(frame.image) == 5
    assert frame.image[4, 4, 0] > 200 > frame.image[4, 90, 0] + 50


@decoders
def test_a_rotation_is_not_lost_by_a_step_of_the_policy(tmp_path: Path, decoder: DecoderName) -> None:
    film = write_film(tmp_path / "film.mp4", [n / 30 for n in range(30)])
    frames = frames_of(film, decoder, max_fps=10)
    assert [number_of(frame.image) for frame in frames] == list(range(0, 30, 3))
    assert [frame.index for frame in frames] == list(range(0, 30, 3))


def test_a_rate_that_does_not_divide_the_films_is_kept_on_the_average(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [n / 30 for n in range(61)])
    with open_source(film, max_fps=20) as source:  # type: ignore[attr-defined]
        assert len(list(source)) == 41
        assert source.counts.dropped == {"rate": 20}


@decoders
def test_truncated_films_give_what_is_there(tmp_path: Path, decoder: DecoderName) -> None:
    film = write_film(
        tmp_path / "film.mkv", [n / 30 for n in range(60)], options={"g": "5", "crf": "20", "bf": "0"}
    )
    data = film.read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) // 2])
    frames = frames_of(tmp_path / "half.mkv", decoder)
    assert 10 < len(frames) < 55
    assert [number_of(frame.image) for frame in frames[:-1]] == list(range(len(frames) - 1))


@decoders
def test_files_without_a_usable_frame_are_refused_by_name(tmp_path: Path, decoder: DecoderName) -> None:
    whole = write_film(tmp_path / "film.mp4", [n / 30 for n in range(30)]).read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # its index stood at the end
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.mp4").write_bytes(b"")
    write_film(tmp_path / "none.mkv", [], audio=True)
    write_sound_file(tmp_path / "sound.mp4")
    for name in ("headless.mp4", "noise.mp4", "empty.mp4", "none.mkv", "sound.mp4"):
        with pytest.raises(SourceError, match=name):
            frames_of(tmp_path / name, decoder)


def test_a_file_of_sound_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no video in it, only audio"):
        frames_of(write_sound_file(tmp_path / "sound.mp4"), "pyav")


def test_damaged_pictures_are_counted_and_passed_over(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", [n / 30 for n in range(20)], codec="mjpeg")
    data = bytearray(film.read_bytes())
    start = -1
    for _ in range(11):  # overwrite the eleventh picture, all of it
        start = data.index(b"\xff\xd8\xff", start + 1)
    end = data.index(b"\xff\xd9", start)
    data[start:end] = bytes(end - start)
    film.write_bytes(data)
    events: list[Event] = []
    with open_source(film, decoder="pyav", on_event=events.append) as source:  # type: ignore[attr-defined]
        numbers = [number_of(frame.image) for frame in source]
        assert source.counts.dropped == {"damaged": 1}
        assert source.counts.captured == 20
    assert numbers == [*range(10), *range(11, 20)]
    assert "damaged" in {event.kind for event in events}


def test_the_length_is_known_from_the_first_frame_on(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [n / 25 for n in range(50)])
    with open_source(film) as source:  # type: ignore[attr-defined]
        next(iter(source))
        assert (source.total, source.live) == (50, False)
        assert source.rate == pytest.approx(25, rel=0.03)


def test_a_film_with_the_freshest_frames_plays_at_its_own_pace(tmp_path: Path) -> None:
    import time

    film = write_film(tmp_path / "film.mp4", [n / 50 for n in range(30)])
    with open_source(film, policy="freshest") as source:  # type: ignore[attr-defined]
        start, seen = time.monotonic(), []
        for frame in source:
            seen.append(frame.index)
            time.sleep(0.1)
        took = time.monotonic() - start
    assert took > 0.5  # the film's own 0.58 seconds, less what opening takes
    assert len(seen) < 15
    assert source.counts.dropped["newer"] == 30 - len(seen)
    assert source.counts.captured == 30


def test_leaving_the_loop_ends_the_thread(tmp_path: Path) -> None:
    import gc
    import threading
    import time

    film = write_film(tmp_path / "film.mp4", [n / 30 for n in range(60)])
    before = threading.active_count()
    for frame in open_source(film):
        assert frame.index == 0
        break
    del frame
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_planes_are_kept_until_pixels_are_asked_for(tmp_path: Path) -> None:
    from edgeyolo.errors import UsageError
    from edgeyolo.runtime.planes import PlanarImage

    film = write_film(tmp_path / "film.mp4", (0, 0.1, 0.2))
    plain = frames_of(film, "pyav")
    for frame, other in zip(frames_of(film, "pyav", planes=True), plain, strict=True):
        assert isinstance(frame.held, PlanarImage)
        assert frame.size == other.size
        np.testing.assert_array_equal(frame.image, other.image)
        assert frame.image is frame.image
    turned = write_film(tmp_path / "turned.mp4", (0, 0.1), rotation=90)
    assert frames_of(turned, "pyav", planes=True)[0].size == (96, 64)
    with pytest.raises(UsageError, match="OpenCV"):
        open_source(film, decoder="opencv", planes=True)
