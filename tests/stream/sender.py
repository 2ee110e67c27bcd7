"""Sends numbered pictures at 25 a second: `python sender.py URL FORMAT [OPTION=VALUE...]`.

A process of its own: PyAV holds the interpreter's lock while it connects.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from typing import Any

import av
from films import picture  # beside this file


def connect(url: str, format: str, options: dict[str, str]) -> tuple[Any, Any]:
    """Wait for the receiver where there is none yet."""
    for attempt in range(100):
        try:
            container = av.open(url, "w", format=format, options=options)
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.options = {"tune": "zerolatency", "g": "5", "crf": "12"}
            container.start_encoding()
        except (OSError, av.FFmpegError):
            if attempt == 99:
                raise
            time.sleep(0.05)
        else:
            return container, stream
    raise AssertionError


def main(url: str, format: str, *options: str) -> None:
    container, stream = connect(url, format, dict(option.split("=") for option in options))
    for number in range(1000):
        frame = av.VideoFrame.from_ndarray(picture(number % 256), format="bgr24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
        time.sleep(0.04)


if __name__ == "__main__":
    main(*sys.argv[1:])
