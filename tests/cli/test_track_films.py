"""`edgeyolo track` in films and folders of frames."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeyolo import Detector, Tracker
from edgeyolo.cli.track_command import command
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import SourceError, UsageError
from edgeyolo.stream import open_source
from edgeyolo.stream.film_writer import FilmWriter
from edgeyolo.tracking import LineCounter

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's network, which finds the shapes of generated scenes."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.export import ExportOptions, export

    weights = Path(__file__).parents[2] / "benchmarks/weights/scenes.safetensors"
    place = tmp_path_factory.mktemp("scenes") / "artifact"
    return export(weights, "cpu-onnx-fp32", place, ExportOptions(size=(320, 320))).path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene that passes by from right to left, twenty frames a second."""
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    big = cv2.copyMakeBorder(make_scene(3, (320, 320)).image, 0, 0, 160, 160, cv2.BORDER_REPLICATE)
    with FilmWriter(path) as writer:
        for number in range(30):
            writer.write(np.ascontiguousarray(big[:, 10 * number : 10 * number + 320]), number / 20)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


def test_the_model_and_its_size_are_options_too(run: Run, film: Path) -> None:
    weights = Path(__file__).parents[2] / "benchmarks/weights/scenes.safetensors"
    done = run("--weights", weights, "--imgsz", "192", film, "--iou", "0.5", "--json")
    assert done.exit_code == 0, done.stderr
    small = Detector(weights, size=192, conf=0.1, iou=0.5)
    with small as detector:
        tracker = Tracker()
        expected = [tracker.update(found, frame.time).to_json() for frame, found in detector.stream(film)]
    assert [line["tracks"] for line in json.loads(done.stdout)] == expected


def test_every_file_says_the_same(run: Run, model: Path, film: Path, tmp_path: Path) -> None:
    done = run(
        model, film, "--mot", "t.txt", "--csv", "t.csv", "--jsonl", "t.jsonl", "--json", "-o", "out.mp4"
    )
    assert done.exit_code == 0, done.stderr
    with Detector(model, conf=0.1) as detector:
        tracker = Tracker()
        expected = [(frame, tracker.update(found, frame.time)) for frame, found in detector.stream(film)]
    assert sum(len(tracks) for _, tracks in expected) > 20
    assert (tmp_path / "t.txt").read_text() == "".join(
        tracks.to_mot(frame.index + 1) for frame, tracks in expected
    )
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert lines == json.loads(done.stdout)
    assert [line["frame"] for line in lines] == list(range(30))
    assert [line["time"] for line in lines] == pytest.approx([number / 20 for number in range(30)], abs=1e-3)
    assert [line["tracks"] for line in lines] == [tracks.to_json() for _, tracks in expected]
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(int(row["frame"]), int(row["track_id"])) for row in rows] == [
        (frame.index, number) for frame, tracks in expected for number in tracks.track_id.tolist()
    ]
    assert rows[0]["source"] == str(film)
    frames = list(open_source(tmp_path / "out.mp4"))
    assert [frame.time for frame in frames] == pytest.approx([number / 20 for number in range(30)], abs=1e-3)
    assert "30 frames in" in done.stderr
    assert "objects" in done.stderr


def test_lines_and_zones(run: Run, model: Path, film: Path) -> None:
    done = run(model, film, "--json", "--line", "160,0,160,320", "--zone", "0,0,160,0,160,320,0,320")
    assert done.exit_code == 0, done.stderr
    last = json.loads(done.stdout)[-1]
    with Detector(model, conf=0.1) as detector:
        tracker, line = Tracker(), LineCounter((160, 0), (160, 320))
        for frame, found in detector.stream(film):
            line = line.update(tracker.update(found, frame.time))
    assert last["lines"] == [{"in": line.count_in, "out": line.count_out}]
    assert line.count_in + line.count_out > 0
    assert last["zones"][0]["entries"] > 0
    assert f"line 1: {line.count_in} in, {line.count_out} out" in done.stderr


def test_a_folder_of_frames_is_a_film(run: Run, model: Path, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "img1"
    folder.mkdir()
    for frame in open_source(film, max_fps=10):
        cv2.imwrite(str(folder / f"{frame.index + 1:06d}.png"), frame.image)
    done = run(model, folder, "--json")
    assert done.exit_code == 0, done.stderr
    entries = json.loads(done.stdout)
    assert len(entries) == 15
    assert len({track["track_id"] for entry in entries for track in entry["tracks"]}) > 0


def test_a_model_may_be_left_out(
    run: Run, film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    done = run(film, "--json", "--max-fps", "4", "--save")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)) == 6
    assert len(list(open_source(tmp_path / "runs/track/exp/street.mp4"))) == 6


@pytest.fixture
def known(model: Path, film: Path, tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(film.read_bytes())
    return {"MODEL": model, "FILM": film, "FOLDER": folder}


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("missing.mp4",), SourceError, "no such file"),
        (("MODEL",), UsageError, "one film"),
        (("MODEL", "FILM", "FILM"), UsageError, "one film"),
        (("MODEL", "FOLDER"), UsageError, "follows one film"),
        ((), UsageError, "track needs a film"),
        (("MODEL", "FILM", "--line", "5,5,5,5"), UsageError, "two different points"),
        (("MODEL", "FILM", "--detections", "x.txt"), UsageError, "track needs"),
    ],
)
def test_mistakes(
    run: Run, known: dict[str, Path], arguments: tuple[str, ...], error: type, says: str
) -> None:
    with pytest.raises(error, match=says):
        run(*(known.get(argument, argument) for argument in arguments))


def test_a_name_that_is_not_utf8_is_written_out(run: Run, model: Path, film: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"a\xff.mp4")
    shutil.copy(film, odd)
    done = run(model, odd, "--csv", "t.csv", "--jsonl", "t.jsonl", "--json", "--max-fps", "4")
    assert done.exit_code == 0, done.stderr
    name = str(tmp_path / "a\\xff.mp4")
    assert {entry["image"] for entry in json.loads(done.stdout)} == {name}
    entries = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert {entry["image"] for entry in entries} == {name}
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert {row["source"] for row in csv.DictReader(file)} == {name}


@pytest.mark.parametrize("line", ["1,2,3", "a,b,c,d", "1,2,3,4,5,6"])
def test_points_that_are_none(run: Run, model: Path, film: Path, line: str) -> None:
    done = run(model, film, "--line", line)
    assert done.exit_code == 2
    assert "points" in done.stderr
