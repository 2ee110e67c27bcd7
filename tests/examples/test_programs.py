"""The example programs do what they say, on the base install's own model."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo.datasets.scenes import make_scene

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / program), *map(str, arguments)],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        cv2.imwrite(str(folder / f"{seed}.png"), make_scene(seed, (240, 320)).image)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_every_example_is_listed_and_tested() -> None:
    names = {
        path.name
        for path in EXAMPLES.iterdir()
        if path.suffix == ".py" or (path / "pyproject.toml").is_file()
    }
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert {name for name in names if f"]({name})" not in readme} == set()
    assert {name for name in names if name not in tests} == set()


def test_detect_folder(pictures: Path, small_artifact: Path, tmp_path: Path) -> None:
    done = run("detect_folder.py", pictures, tmp_path, "--model", small_artifact, "--conf", "0.05")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["picture"] for row in rows} == {"0.png", "1.png", "2.png"}
    assert {row["name"] for row in rows} <= {"cat", "dog", "bird"}
    assert all(0 <= float(row["x1"]) < float(row["x2"]) <= 320 for row in rows)
    drawn = cv2.imread(str(tmp_path / "1.png"))
    assert drawn is not None
    assert (drawn != make_scene(1, (240, 320)).image).any()


def test_detect_folder_takes_the_model_of_the_package_and_says_what_is_wrong(
    pictures: Path, tmp_path: Path
) -> None:
    done = run("detect_folder.py", pictures, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("<Detections:") == 3
    wrong = run("detect_folder.py", pictures, tmp_path, "--model", "nowhere")
    assert wrong.returncode == 1
    assert "nowhere" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_opencv_loop_writes_a_video_with_boxes(pictures: Path, small_artifact: Path, tmp_path: Path) -> None:
    video, out = tmp_path / "in.avi", tmp_path / "out.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for seed in range(3):
        writer.write(make_scene(seed, (240, 320)).image)
    writer.release()
    done = run("opencv_loop.py", video, "--save", out, "--model", small_artifact, "--conf", "0.05")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 frames, ")
    capture = cv2.VideoCapture(str(out))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    ok, frame = capture.read()
    assert ok
    apart = np.abs(frame.astype(int) - make_scene(0, (240, 320)).image).max(axis=2)
    assert (apart > 80).sum() > 100  # more than what the codec loses
    assert run("opencv_loop.py", tmp_path / "absent.avi").returncode == 1


def test_supervision_annotators(pictures: Path, small_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("supervision", reason="needs supervision, which brings an opencv-python of its own")
    done = run(
        "supervision_annotators.py",
        pictures / "0.png",
        tmp_path / "drawn.png",
        "--model",
        small_artifact,
        "--conf",
        "0.05",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drawn.png").is_file()
