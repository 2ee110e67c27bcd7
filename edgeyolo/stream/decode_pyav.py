"""Decoding by PyAV, the bindings of FFmpeg: extra `video`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.errors import DeniedError, SilentError, SourceError
from edgeyolo.stream.decoder import Address, Picture

if TYPE_CHECKING:
    import av

# Formats whose time stamps a camera or sender made. Others (Motion JPEG over HTTP) have none, and FFmpeg counts
# pictures at a rate that it assumes.
_STAMPED = frozenset({"rtsp", "rtp", "sdp", "mpegts", "flv", "live_flv", "hls"})


class PyavDecoder:
    """An opened film or stream; see `edgeyolo.stream.decoder.Decoder`."""

    def __init__(self, address: Address) -> None:
        import av

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
        # Frame threads decode fastest and hold back one picture a thread: not for what is watched live.
        stream.thread_type = "AUTO" if self.finite else "SLICE"

    def __iter__(self) -> Iterator[Picture | None]:
        av, start = self._av, self._stream.start_time or 0
        shown = 0.0
        for packet in self._packets():
            if packet.stream is not self._stream and packet.stream.index != self._stream.index:
                yield None
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                yield None
                continue
            given = 0
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                    continue
                if frame.pts is not None:
                    shown = float((frame.pts - start) * self._stream.time_base)
                elif self.rate:
                    shown += 1 / self.rate
                given += 1
                yield Picture(_upright(frame), shown)
            if not given:
                yield None

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


def _options(address: Address) -> dict[str, str]:
    """FFmpeg's options: RTSP by TCP unless asked otherwise.

    UDP loses packets, and pictures with them.
    """
    defaults = {"rtsp_transport": "tcp"} if address.location.startswith("rtsp") else {}
    return defaults | dict(address.options)


def _upright(frame: Any) -> Any:
    image = frame.to_ndarray(format="bgr24")
    turns = round(frame.rotation / 90) % 4  # degrees counter-clockwise, from the container's display matrix
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
