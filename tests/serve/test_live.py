"""`/live`: a source is watched, its newest frame shown with boxes and counts."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import ImageError, SourceError
from edgeyolo.serve.service import Service

from .server import running
from .serving import ask, settings


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures, which is a film too."""
    folder = tmp_path_factory.mktemp("frames")
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), make_scene(number).image)
    return folder


def test_the_newest_frame_is_shown_with_what_was_found(
    served: Path, detector: Detector, frames: Path
) -> None:
    last = detector(frames / "2.png")
    drawn = cv2.imencode(".jpg", last.plot(frames / "2.png"), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]

    async def talk(client: httpx.AsyncClient) -> None:
        number, pictures, facts = 0, [], {}
        while (answer := await client.get(f"/live.jpg?after={number}")).status_code == 200:
            facts = json.loads(answer.headers["x-live"])
            assert facts["number"] > number
            number = facts["number"]
            pictures.append(answer.content)
        assert answer.status_code == 204 and number == 3  # the film has ended
        assert pictures[-1] == drawn.tobytes()
        assert facts["objects"] == {name: last.names.count(name) for name in set(last.names)}
        assert facts["frames"] == 3 and facts["dropped"] == {}
        assert (await client.get("/live.jpg?after=x")).status_code == 400
        assert (await client.get("/live")).status_code == 200
        again = await client.get("/live.jpg")
        assert np.array_equal(np.frombuffer(again.content, np.uint8), drawn.reshape(-1))

    ask(settings(served, live=str(frames)), talk)


def parts(body: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Facts and pictures of a multipart stream."""
    found = []
    while body:
        head, _, rest = body.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
        assert head.startswith(b"--frame\r\n") and lines["Content-Type"] == "image/jpeg"
        size = int(lines["Content-Length"])
        found.append((json.loads(lines["X-Live"]), rest[:size]))
        assert rest[size : size + 2] == b"\r\n"
        body = rest[size + 2 :]
    return found


def test_frames_are_pushed_until_the_source_ends(served: Path, detector: Detector, frames: Path) -> None:
    last = detector(frames / "2.png")
    drawn = cv2.imencode(".jpg", last.plot(frames / "2.png"), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/live.mjpeg")
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        pushed = parts(answer.content)
        numbers = [facts["number"] for facts, _ in pushed]
        assert numbers == sorted(set(numbers)) and numbers[-1] == 3
        assert pushed[-1][1] == drawn.tobytes()
        assert pushed[-1][0]["objects"] == {name: last.names.count(name) for name in set(last.names)}
        assert (await client.get("/live.mjpeg?after=3")).status_code == 204
        assert (await client.get("/live.mjpeg?after=-1")).status_code == 400

    ask(settings(served, live=str(frames)), talk)


def test_who_watches_does_not_hold_up_the_end(served: Path, tmp_path: Path) -> None:
    """A camera without an end, as long as the test could last."""
    for number in range(3000):
        (tmp_path / f"{number:04d}.png").symlink_to(frame_of(tmp_path))
    with running(f"small={served}", "--live", tmp_path) as server:
        with httpx.stream("GET", f"{server.address}/live.mjpeg", timeout=60) as answer:
            chunks = answer.iter_raw()
            assert next(chunks).startswith(b"--frame")
            server.process.send_signal(signal.SIGTERM)
            for _ in chunks:  # it ends, and is not cut off
                pass
        assert server.process.wait(10) == 0


def frame_of(folder: Path) -> Path:
    """A picture beside the folder."""
    path = folder.with_name(f"{folder.name}.png")
    if not path.exists():
        cv2.imwrite(str(path), make_scene(0).image)
    return path


def test_without_a_source_there_is_nothing_to_see(served: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        assert (await client.get("/live.mjpeg")).status_code == 404
        answer = await client.get("/live.jpg")
        assert answer.status_code == 404 and "--live" in answer.json()["error"]["hint"]

    ask(settings(served), talk)


def test_a_source_that_is_not_there_stops_the_start(served: Path, tmp_path: Path) -> None:
    with pytest.raises((ImageError, SourceError), match="missing"):
        Service(settings(served, live=str(tmp_path / "missing.mp4")))
