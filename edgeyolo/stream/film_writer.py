"""Frames to an H.264 film that browsers play: MP4, each frame at its own time."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo.stream.frame import Pixels
from edgeyolo.support.files import atomic_file

TICKS = 90_000
"""A film's clock ticks so often a second: the usual one of H.264, which divides every usual frame rate."""
ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_nvenc", "h264_qsv", "h264_mf")
_SMPTE170M = 6  # BT.601: what OpenCV and FFmpeg turn BGR into; browsers would take large films for BT.709


class FilmWriter:
    """Film that appears at `path` when it is closed.

    It is whole, also after Ctrl-C or an error.

    A process that is killed leaves nothing. Pictures of another size than the first one's are scaled to it. Times are
    kept relative to the first frame's.
    """

    def __init__(self, path: Path) -> None:
        """Raises RuntimeMissingError where PyAV or an encoder is not installed."""
        try:
            import av
        except ImportError as error:
            raise RuntimeMissingError(
                f"writing films needs the package av ({error})", hint="pip install edgeyolo[video]"
            ) from error
        self._encoder = next((name for name in ENCODERS if name in av.codecs_available), None)
        if self._encoder is None:
            raise RuntimeMissingError(
                "this PyAV has no encoder for H.264",
                hint="pip install --force-reinstall av brings one with libx264.",
            )
        self.path = path
        self._av: Any = av
        self._files = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._first = self._last = 0
        self._size = (0, 0)

    def write(self, image: Pixels, time: float) -> None:
        """Add a picture (height, width, 3) BGR uint8.

        `time` is the moment of its capture in seconds, later than the last.
        """
        if self._container is None:
            self._open(image, time)
        ticks = round(time * TICKS) - self._first
        ticks = max(ticks, self._last + 1)
        frame = self._av.VideoFrame.from_ndarray(self._fitted(image), format="bgr24")
        frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
        self._last = ticks
        try:
            self._container.mux(self._stream.encode(frame))
        except (self._av.FFmpegError, OSError) as error:
            raise EdgeYoloError(f"{self.path}: the film cannot be written ({error})") from error

    def close(self) -> None:
        """Finish the film; without a frame there is none."""
        container, self._container = self._container, None
        if container is None:
            return
        with self._files:
            container.mux(self._stream.encode())
            container.close()

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, image: Pixels, time: float) -> None:
        draft = self._files.enter_context(atomic_file(self.path))
        height, width = image.shape[:2]
        self._size = height + height % 2, width + width % 2  # colours have half the resolution
        self._container = self._av.open(str(draft), "w", format="mp4")
        stream = self._stream = self._container.add_stream(self._encoder, rate=30)
        stream.height, stream.width = self._size
        stream.pix_fmt = "yuv420p"
        if self._encoder == "libx264":
            stream.options = {"preset": "veryfast", "crf": "23"}
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _SMPTE170M
        self._first, self._last = round(time * TICKS), -1

    def _fitted(self, image: Pixels) -> Pixels:
        height, width = self._size
        if image.shape[:2] == self._size:
            return np.ascontiguousarray(image)
        if 0 <= height - image.shape[0] <= 1 and 0 <= width - image.shape[1] <= 1:
            border = height - image.shape[0], width - image.shape[1]
            padded = cv2.copyMakeBorder(image, 0, border[0], 0, border[1], cv2.BORDER_REPLICATE)
            return np.asarray(padded, np.uint8)
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
