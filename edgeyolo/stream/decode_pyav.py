"""Decoding by PyAV, the bindings of FFmpeg: extra `video`."""

from __future__ import annotations

import atexit
import functools
import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.errors import DeniedError, SilentError, SourceError
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.stream.decoder import Address, Picture
from edgeyolo.stream.frame import Pixels

if TYPE_CHECKING:
    import av

REFRESH_S = 2.0
"""A stream without whole pictures has refreshed every part of its picture so long after damage, in seconds."""
_PLANAR = frozenset({"yuv420p", "yuvj420p", "nv12"})
_BT709, _FULL = 1, 2  # FFmpeg's numbers of the colour matrix and of the range 0 to 255
# Formats whose time stamps a camera or sender made. Others (Motion JPEG over HTTP) have none, and FFmpeg counts
# pictures at a rate that it assumes.
_STAMPED = frozenset({"rtsp", "rtp", "sdp", "mpegts", "flv", "live_flv", "hls"})
_ENDING_S = 0.3  # a blocked read looks at its clock every 0.1 s
_reading: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_own = threading.local()


class PyavDecoder:
    """An opened film or stream; see `edgeyolo.stream.decoder.Decoder`."""

    def __init__(self, address: Address) -> None:
        import av

        _end_reads_with_process()
        _reading.add(threading.current_thread())
        self._address = address
        self._av: Any = av
        timeouts = (address.open_timeout, address.read_timeout) if address.network else None
        try:
            self._container = av.open(address.location, options=_options(address), timeout=timeouts)
        except (av.FFmpegError, OSError) as error:
            raise self._refused(error) from error
        try:
            self._stream = self._video_stream()
        except SourceError:
            self._container.close()
            raise
        container, stream = self._container, self._stream
        self.finite = not address.network or container.duration is not None
        self.stamped = container.format.name.split(",")[0] in _STAMPED
        self.total = stream.frames or self._estimated_total()
        self.rate = float(stream.average_rate) if stream.average_rate else None
        self.damaged, self.truncated = 0, False
        self._smeared_since: float | None = None
        # Frame threads decode fastest and hold back one picture a thread: not for what is watched live.
        stream.thread_type = "AUTO" if self.finite else "SLICE"

    def __iter__(self) -> Iterator[Picture | None]:
        av, start = self._av, self._stream.start_time or 0
        shown = 0.0
        for packet in self._packets():
            if packet.stream.index != self._stream.index:
                yield None
                continue
            if packet.is_corrupt:
                self._smeared_since = shown
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                self._smeared_since = shown
                frames = []
            whole: list[Picture | None] = []
            for frame in frames:
                if frame.pts is not None:
                    shown = float((frame.pts - start) * self._stream.time_base)
                elif self.rate:
                    shown += 1 / self.rate
                if self._is_whole(frame, shown):
                    whole.append(Picture(self._picture(frame), shown))
            yield from whole or [None]

    def _is_whole(self, frame: Any, shown: float) -> bool:
        """Pass a picture that is what was captured; count one that is not.

        A picture that is built upon a damaged one is smeared, up to the next that stands by itself; without such
        pictures (intra refresh) for as long as refreshing takes.
        """
        if frame.is_corrupt:
            self._smeared_since = shown
        elif frame.key_frame or (self._smeared_since is not None and shown - self._smeared_since > REFRESH_S):
            self._smeared_since = None
        if self._smeared_since is None:
            return True
        self.damaged += 1
        return False

    def close(self) -> None:
        """Release the file or connection; only when nobody iterates."""
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        av, address = self._av, self._address
        try:
            yield from self._container.demux()
        except (av.error.ExitError, av.error.TimeoutError) as error:
            raise SilentError(f"{address.name}: no data for {address.read_timeout:g} s") from error
        except (av.FFmpegError, OSError) as error:
            if self.finite:
                self.truncated = True
                return
            raise SourceError(f"{address.name}: the stream broke ({_reason(error)})") from error

    def _picture(self, frame: Any) -> Pixels | PlanarImage:
        if self._address.planes and not frame.rotation and frame.format.name in _PLANAR:
            return _planes(frame)
        return _upright(frame)

    def _video_stream(self) -> av.VideoStream:
        cover = self._av.stream.Disposition.attached_pic
        videos = [each for each in self._container.streams.video if not each.disposition & cover]
        if not videos:
            kinds = sorted({each.type for each in self._container.streams})
            raise SourceError(
                f"{self._address.name}: there is no video in it"
                + (f", only {', '.join(kinds)}" if kinds else "")
            )
        return videos[0]

    def _estimated_total(self) -> int | None:
        duration, rate = self._container.duration, self._stream.average_rate
        if not self.finite or duration is None or not rate:
            return None
        return max(round(duration / 1e6 * float(rate)), 1)

    def _refused(self, error: Exception) -> SourceError:
        av, name = self._av, self._address.name
        if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
            return DeniedError(
                f"{name}: the login is missing or wrong ({_reason(error)})",
                hint="Give it in the address: rtsp://user:password@camera/path",
            )
        if isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
            return SourceError(f"{name}: no connection within {self._address.open_timeout:g} s")
        if isinstance(error, av.error.InvalidDataError):
            return SourceError(
                f"{name}: not a video that can be read, or damaged or truncated ({_reason(error)})"
            )
        return SourceError(f"{name}: cannot be opened ({_reason(error)})")


@functools.cache
def _end_reads_with_process() -> None:
    """Arrange that no thread is inside FFmpeg when the interpreter goes.

    A blocked read asks PyAV's clock ten times a second whether time is up, and takes the interpreter's lock for that:
    once the interpreter is gone, that is a segmentation fault. At the end every deadline has passed.
    """
    from av.container import core

    def end() -> None:
        vars(core)["time"] = SimpleNamespace(monotonic=itertools.count(1e9, 1e9).__next__)
        latest = time.monotonic() + _ENDING_S
        for thread in set(_reading) - {threading.current_thread()}:
            thread.join(max(latest - time.monotonic(), 0))

    atexit.register(end)


def _options(address: Address) -> dict[str, str]:
    """FFmpeg's options: RTSP by TCP unless asked otherwise.

    UDP loses packets, and pictures with them.
    """
    defaults = {"rtsp_transport": "tcp"} if address.location.startswith("rtsp") else {}
    return defaults | dict(address.options)


def _planes(frame: Any) -> PlanarImage:
    """Planes of a decoded picture, without a copy.

    The decoder's memory lives as long as they do.
    """
    height, width = frame.height, frame.width
    half = (height + 1) // 2, (width + 1) // 2
    full_range = frame.format.name == "yuvj420p" or frame.color_range == _FULL
    about = {"matrix": "bt709" if frame.colorspace == _BT709 else "bt601", "full_range": full_range}
    luma = _plane(frame.planes[0], height, width)
    if frame.format.name == "nv12":
        chroma = _plane(frame.planes[1], half[0], 2 * half[1]).reshape(*half, 2)
        return PlanarImage.of_nv12(luma, chroma, bgr=lambda: _upright(frame), **about)
    blue, red = (_plane(plane, *half) for plane in frame.planes[1:3])
    return PlanarImage(luma, blue, red, bgr=lambda: _upright(frame), **about)


def _plane(plane: Any, height: int, width: int) -> Pixels:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]


def _upright(frame: Any) -> Pixels:
    # One converter a thread: a frame that is converted by itself sets one up and starts threads for it.
    if not hasattr(_own, "converter"):
        from av.video.reformatter import VideoReformatter

        _own.converter = VideoReformatter()
    image: Pixels = _own.converter.reformat(frame, format="bgr24").to_ndarray()
    turns = round(frame.rotation / 90) % 4  # degrees counter-clockwise, from the container's display matrix
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
