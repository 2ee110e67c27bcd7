"""The examples do what they say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from edgeyolo import Detections, Detector
from edgeyolo.datasets.scenes import make_scene

from ..stream.films import write_film

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's network, which finds the shapes of generated scenes."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.export import ExportOptions, export

    weights = EXAMPLES.parent / "benchmarks/weights/scenes.safetensors"
    place = tmp_path_factory.mktemp("scenes") / "artifact"
    return export(weights, "cpu-onnx-fp32", place, ExportOptions(size=(320, 320))).path


def boxes(*xyxy: tuple[float, float, float, float]) -> Detections:
    n = len(xyxy)
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.full(n, 0.9),
        np.zeros(n, np.int64),
        ("ball",),
        (100, 200),
    )


def test_the_follower_turns_to_the_largest_object_and_stops_when_it_is_lost() -> None:
    follower = load("follow_object.py").Follower(gain=1.0, patience=0.5)
    assert follower.update(boxes((150, 40, 170, 60), (10, 10, 12, 12)), 0.0) == pytest.approx((0.6, 0.0))
    assert follower.update(boxes(), 0.3) == pytest.approx((0.6, 0.0))
    assert follower.update(boxes(), 0.6) == (0.0, 0.0)
    assert follower.update(boxes((90, 0, 110, 10)), 0.7) == pytest.approx((0.0, -0.9))


def test_follow_on_generated_frames(scenes: Path) -> None:
    """A crop of a scene that moves to the left: what was in the middle is on the right."""
    example = load("follow_object.py")
    scene = make_scene(3, (320, 320))
    big = cv2.copyMakeBorder(scene.image, 0, 0, 200, 200, cv2.BORDER_REPLICATE)
    shifts = range(0, 401, 40)
    frames = [(number / 10, np.ascontiguousarray(big[:, x : x + 320])) for number, x in enumerate(shifts)]
    with Detector(scenes, conf=0.3) as detector:
        alone = {number: detector(image) for number, (_, image) in enumerate(frames)}
        turns = list(example.follow(detector, frames))
    assert [time for time, _, _ in turns] == pytest.approx([number / 10 for number in range(len(frames))])
    follower = example.Follower()
    expected = [follower.update(alone[number], number / 10) for number in range(len(frames))]
    assert [turn[1:] for turn in turns] == expected
    assert len({round(right, 2) for _, right, _ in turns}) > 3


def test_two_cameras(small_artifact: Path, tmp_path: Path) -> None:
    example = load("two_cameras.py")
    films = [
        write_film(tmp_path / f"{n}.mp4", [k / 30 for k in range(6 + n)], size=(96, 128)) for n in range(2)
    ]
    said: list[str] = []

    async def both(detector: Detector) -> list[int]:
        return list(await asyncio.gather(*(example.watch(detector, film, said.append) for film in films)))

    with Detector(small_artifact) as detector:
        assert asyncio.run(both(detector)) == [6, 7]
    assert len(said) == 13
    asyncio.run(example.main(str(small_artifact), [str(film) for film in films]))


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{number}.png") for number in range(4)]
    for number, path in enumerate(paths):
        cv2.imwrite(path, make_scene(number, (96, 96)).image)
    return paths


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes(small_artifact: Path, photos: list[str], method: str) -> None:
    """process_pool.py, as a program imports it."""
    program = (
        "import sys, json\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from process_pool import detect_all\n"
        "if __name__ == '__main__':\n"
        "    print(json.dumps(detect_all(sys.argv[1], sys.argv[3:], 2, sys.argv[2])))\n"
    )
    file = Path(photos[0]).with_name("pool.py")
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file), str(small_artifact), method, *photos],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with Detector(small_artifact) as detector:
        assert found == [[path, detector(path).to_json()] for path in photos]


def test_a_preforking_server(small_artifact: Path, photos: list[str]) -> None:
    server = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "preforking_server.py"), str(small_artifact), "--port", "0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        post: Callable[[bytes], dict[str, object]] = lambda data: json.load(  # noqa: E731
            urllib.request.urlopen(urllib.request.Request(url, data), timeout=60)
        )
        answers = [post(Path(path).read_bytes()) for path in photos * 5]
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(b"no image")
        assert refused.value.code == 400
    finally:
        server.terminate()
        assert server.wait(10) in (0, 130)
    with Detector(small_artifact) as detector:
        expected = [detector(path).to_json() for path in photos] * 5
    assert [answer["detections"] for answer in answers] == expected


def test_cars_across_a_line(shared: Path) -> None:
    """Two cars drive away from the camera, two towards it, in turns."""
    from edgeyolo.tracking import LineCounter

    film = shared / "data/video/car-detection.mp4"
    crossed = list(load("count_cars.py").count(film, LineCounter((0, 250), (768, 250)), max_fps=6))
    assert [counts for _, *counts in crossed] == [[1, 0], [1, 1], [2, 1], [2, 2]]
