"""Films made for a test: any times, rotations, containers and codecs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av", reason="needs the extra video")


def picture(number: int, size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    """A picture (height, width, 3) that tells its number: the brightness of eight bars are its bits."""
    height, width = size
    image = np.full((height, width, 3), 60, np.uint8)
    for bit in range(8):
        if number >> bit & 1:
            image[:, bit * width // 8 : (bit + 1) * width // 8] = 200
    image[: height // 4, : width // 2, 0] = 250  # the top left is blue: a turn shows
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number that a picture tells."""
    row = image[image.shape[0] * 3 // 4, :, 1].astype(int)
    width = image.shape[1]
    return sum(1 << bit for bit in range(8) if row[bit * width // 8 + width // 16] > 130)


def write_film(
    path: Path,
    times: Iterable[float],
    *,
    images: Sequence[NDArray[np.uint8]] | None = None,
    size: tuple[int, int] = (64, 96),
    codec: str = "libx264",
    rotation: float = 0,
    options: dict[str, str] | None = None,
    audio: bool = False,
) -> Path:
    """A film whose frame k shows `picture(k)` at `times[k]` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options or ({"crf": "12"} if codec == "libx264" else {})
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=8000) if audio else None
        for number, moment in enumerate(times):
            image = images[number] if images else picture(number, size)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(moment * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_sound(container, sound)
    return path


def write_sound_file(path: Path) -> Path:
    """A file with half a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        _write_sound(container, container.add_stream("aac", rate=8000))
    return path


def _write_sound(container: object, stream: object) -> None:
    for start in range(0, 4096, 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
    container.mux(stream.encode())  # type: ignore[attr-defined]


def jpeg(number: int, size: tuple[int, int] = (64, 96)) -> bytes:
    """`picture(number)` as a JPEG."""
    return cv2.imencode(".jpg", picture(number, size))[1].tobytes()
