"""The contract of decoders: a film or a network stream to pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.stream.frame import Pixels


@dataclass(frozen=True)
class Picture:
    """One decoded picture: (height, width, 3) uint8 BGR, upright.

    `stamp` are the file's or camera's own seconds.
    """

    image: Pixels | PlanarImage
    stamp: float | None


@dataclass(frozen=True)
class Address:
    """A film or stream to open.

    Attributes:
        location: path or URL as the decoder takes it.
        name: the same to be shown, without a password.
        network: it may stall, break or never end.
        open_timeout: seconds in which a connection must stand.
        read_timeout: seconds without data after which the stream counts as silent.
        options: options of FFmpeg, `{"rtsp_transport": "udp"}` for one.
        planes: give pictures in their planes where the decoder has them so.
    """

    location: str
    name: str
    network: bool = False
    open_timeout: float = 10.0
    read_timeout: float = 5.0
    options: Mapping[str, str] = field(default_factory=dict)
    planes: bool = False


class Decoder(Protocol):
    """An opened film or stream.

    Attributes:
        finite: it has an end, and its time stamps are the time of its pictures.
        stamped: the time stamps come from the camera, not from a frame rate that the container assumes.
        total: number of pictures where the container says it.
        rate: pictures a second on the average, where known.
        damaged: pictures or packets passed over because they cannot be decoded.
        truncated: the data ended in the middle.
    """

    finite: bool
    stamped: bool
    total: int | None
    rate: float | None
    damaged: int
    truncated: bool

    def __iter__(self) -> Iterator[Picture | None]:
        """Pictures in the order they are shown.

        None stands for data that gives no picture by itself.

        Raises SourceError where a stream breaks, SilentError where nothing arrives in time.
        """
        ...

    def close(self) -> None:
        """Release the file or connection; only when nobody iterates."""
        ...


def without_password(location: str) -> str:
    """An address to show: `rtsp://user:secret@camera` becomes `rtsp://user@camera`."""
    return re.sub(r"^([a-zA-Z][\w+.-]*://[^/@:]*):[^/]*@", r"\1@", location)
