"""`edgeyolo detect` in films, folders of films and cameras."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edgeyolo.stream import open_source

from ..stream.films import picture, write_film, write_sound_file
from ..stream.mjpeg_server import served, steady

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path, small_artifact: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`edgeyolo detect` with the small network in a folder of its own."""

    def command(*arguments: object, model: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program("detect", *([small_artifact] if model else []), *arguments),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return command


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from edgeyolo.cli import main; main()", *map(str, arguments)]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "street.mp4", (0, 0.04, 0.1, 0.5, 0.9), size=(96, 128))


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_json_has_one_entry_a_frame_and_writes_nothing(run: Run, film: Path, tmp_path: Path) -> None:
    done = run(film, "--json", "--conf", "0.01")
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert [entry["frame"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry["time"] for entry in entries] == pytest.approx([0, 0.04, 0.1, 0.5, 0.9], abs=1e-3)
    assert {entry["image"] for entry in entries} == {str(film)}
    assert set(entries[0]) == {"image", "frame", "time", "detections"}
    assert any(entry["detections"] for entry in entries)
    assert not (tmp_path / "runs").exists()


def test_an_annotated_film_keeps_the_times(run: Run, film: Path, tmp_path: Path) -> None:
    done = run(film, "--conf", "0.01", "--save-json", "--save-txt")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs/detect/exp"
    frames = list(open_source(folder / "street.mp4"))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.1, 0.5, 0.9], abs=1e-3)
    assert len(json.loads((folder / "detections.json").read_text())) == 5
    assert (folder / "labels/street_3.txt").exists()
    assert "5 frames in" in done.stderr
    assert "a second" in done.stderr
    assert "street.mp4" in done.stdout


def test_place_of_the_written_film(run: Run, film: Path, tmp_path: Path) -> None:
    assert run(film, "-o", "out/result.mp4", "--max-fps", "5").returncode == 0
    assert len(list(open_source(tmp_path / "out/result.mp4"))) == 3
    assert run(film, "-o", "folder", "--json").returncode == 0
    assert (tmp_path / "folder/street.mp4").exists()
    assert run(film, "--no-save").returncode == 0
    assert not (tmp_path / "runs").exists()


def test_a_film_a_camera_and_an_address_are_never_taken_for_a_model(run: Run, film: Path) -> None:
    done = run(film, "--json", "--max-fps", "2", model=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 2
    for name, says in (
        ("missing.mp4", "no such file"),
        ("7", "camera 7"),
        ("rtsp://127.0.0.1:9/camera", "refused"),
        ("/dev/video77", "video77"),
    ):
        done = run(name, model=False)
        assert done.returncode == 1
        assert says in done.stderr
        assert "defect" not in done.stderr


def test_a_folder_with_films_and_images(run: Run, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "material"
    folder.mkdir()
    film.rename(folder / "b.mp4")
    write_film(folder / "a.mp4", (0, 0.1))
    cv2.imwrite(str(folder / "photo.png"), picture(3))
    done = run(folder, "--json")
    assert done.returncode == 0, done.stderr
    entries = [(Path(entry["image"]).name, entry["frame"]) for entry in json.loads(done.stdout)]
    assert entries == [("a.mp4", 0), ("a.mp4", 1), *(("b.mp4", n) for n in range(5)), ("photo.png", 0)]


def test_a_film_that_cannot_be_read_is_passed_over_and_said_at_the_end(
    run: Run, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    write_sound_file(tmp_path / "sound.mp4")
    done = run(tmp_path / "broken.mp4", film, tmp_path / "sound.mp4", "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 5
    assert "broken.mp4" in done.stderr
    assert "only audio" in done.stderr


def test_a_name_that_is_not_utf8_is_written_out(run: Run, film: Path, tmp_path: Path) -> None:
    odd = film.rename(tmp_path / os.fsdecode(b"a\xff.mp4"))
    done = run(odd.name, "--save-json", "--no-save", "-o", "out")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "out" / "detections.json").read_text("utf-8"))
    assert {entry["image"] for entry in saved} == {"a\\xff.mp4"}


def test_show_without_a_screen_says_what_to_do(run: Run, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = run(film, "--show")
    assert done.returncode == 3
    assert "--save" in done.stderr or "opencv-python" in done.stderr
    done = run("photo.png", "--show")
    assert done.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_camera_leaves_a_playable_film_and_whole_json(
    small_artifact: Path, tmp_path: Path, number: signal.Signals
) -> None:
    def silent_at_the_end(connection: int, send: Callable[[bytes], None], stop: threading.Event) -> None:
        steady(30, rate=30, size=(96, 128))(connection, send, stop)
        stop.wait(60)

    with served(silent_at_the_end) as camera:
        child = subprocess.Popen(
            program("detect", small_artifact, camera.url, "--json", "-o", "out.mp4", "--policy", "every"),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert child.stdout is not None and child.stderr is not None
        try:
            text, rest = "", []
            while text.count('"frame"') < 10:
                line = child.stdout.readline()
                assert line, child.communicate()[1]
                text += line
            reader = threading.Thread(target=lambda: rest.append(child.stdout.read()))
            reader.start()
            time.sleep(1.0)
            start = time.monotonic()
            child.send_signal(number)
            child.wait(20)
            took = time.monotonic() - start
            reader.join(5)
            errors = child.stderr.read()
        finally:
            child.kill()
    assert child.returncode == 130, errors
    assert took < 1.5, errors
    entries = json.loads(text + "".join(rest))
    assert len(entries) >= 10
    assert len(list(open_source(tmp_path / "out.mp4"))) == len(entries)
    assert "interrupted" in errors
    assert f"{len(entries)} frames in" in errors
