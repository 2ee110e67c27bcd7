"""Sources by name: files, cameras, addresses, iterables."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgeyolo.errors import ImageError, SourceError, UsageError
from edgeyolo.runtime.images import IMAGE_SUFFIXES, list_images
from edgeyolo.stream.capture import Capture
from edgeyolo.stream.decoder import Address, Decoder, without_password
from edgeyolo.stream.frame import Listener, Policy
from edgeyolo.stream.given import GivenFrames, ImageFiles
from edgeyolo.stream.newest import Newest
from edgeyolo.stream.open_decoder import DecoderName, open_decoder
from edgeyolo.stream.several import Several
from edgeyolo.stream.source import Source
from edgeyolo.stream.terms import RECONNECTION, Reconnection, Terms
from edgeyolo.support.folders import match_files, walk_files
from edgeyolo.support.install import install_hint

SourceLike: TypeAlias = Any
"""A path, glob or address (str), a camera's number (int), an opened cv2.VideoCapture, an iterable of images or of
(time, image), a Source, or a sequence of several of these."""

_SUFFIXES = (
    "3gp asf avi flv h264 h265 hevc m2ts m2v m4v mjpg mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv y4m"
)
FILM_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp", "http", "https")


def open_source(
    what: SourceLike,
    *,
    policy: Policy = "auto",
    max_staleness: float | None = None,
    max_fps: float | None = None,
    fps: float | None = None,
    reconnection: Reconnection | None = RECONNECTION,
    silent_after: float = 5.0,
    on_event: Listener = lambda _: None,
    decoder: DecoderName = "auto",
    options: Mapping[str, str] | None = None,
    planes: bool = False,
) -> Source:
    """Open images, films, cameras and streams as a source of frames.

    Iterating gives `Frame`s. Films and cameras are opened when the first one is asked for.

        with open_source("rtsp://user:password@camera/stream", max_staleness=0.2) as source:
            for frame in source:
                show(frame.image, frame.time)

    Args:
        what: an image, folder or glob; a film; a webcam (0 or "/dev/video0"); an address (rtsp, rtmp, udp, http, https
            ...); an opened `cv2.VideoCapture`; an iterable of images or of (time in seconds, image); or a list of
            these, which are read at once.
        policy: "every" frame, or the "freshest" only while the caller is busy; "auto": files every, cameras freshest.
            A film with "freshest" plays at its own pace.
        max_staleness: drop frames captured longer ago, in seconds: cameras send bursts, with pauses of half a second.
        max_fps: pass on at most so many frames a second.
        fps: frames a second of image files (by default 30) and of images without a time (by default their arrival).
        reconnection: when to connect again after a stream broke; None ends with the error.
        silent_after: seconds without a frame after which a stream is connected again.
        on_event: called with every `Event`: connected, disconnected, silent, waiting, damaged, resized ...
        decoder: "pyav", "opencv", or "auto": PyAV where it is installed (pip install 'edgeyolo[video]').
        options: options of FFmpeg for films and streams, `{"rtsp_transport": "udp"}` for one.
        planes: keep the colour planes of video until they are scaled to the network's input, and make BGR of them only
            where `frame.image` is asked for; by PyAV. Colours differ from those of the other way by rounding, and with
            them confidences, by 0.004 in the median and 0.02 at most on a film of street traffic, and boxes, by 0.4
            and 1.2 pixels.

    Raises:
        SourceError, ImageError: there is no such file, or nothing usable in it; films and cameras raise it from their
            first frame.
        UsageError: `what` is none of these, or a value is out of range.
    """
    if planes and decoder == "opencv":
        raise UsageError(
            "planes: OpenCV gives none", hint=f"{install_hint('video')} brings PyAV, which decodes them."
        )
    terms = Terms(policy, max_staleness, max_fps, reconnection, silent_after, on_event)
    return _open(what, _Settings(terms, fps, decoder, dict(options or {}), planes))


@dataclass(frozen=True)
class _Settings:
    """Everything but what to open."""

    terms: Terms = field(default_factory=Terms)
    fps: float | None = None
    decoder: DecoderName = "auto"
    options: Mapping[str, str] = field(default_factory=dict)
    planes: bool = False


def is_film(name: str) -> bool:
    """Tell by its suffix whether a name is that of a film, there or not."""
    return Path(name).suffix.lower() in FILM_SUFFIXES and not _ADDRESS.match(name)


def is_camera(name: str) -> bool:
    """Tell whether a name is that of a webcam or of a network stream.

    `0` and `/dev/video0` are webcams.
    """
    return (
        (name.isdecimal() and not Path(name).exists())
        or name.startswith("/dev/video")
        or bool(_ADDRESS.match(name))
    )


def films_in(name: str) -> list[Path]:
    """Films behind a file, a folder or a pattern.

    A file that is no image by its suffix and content may be one.
    """
    path = Path(name)
    if path.is_dir():
        return walk_files(path, FILM_SUFFIXES, recursive=False).files
    if not path.exists():
        if has_magic(name):
            return match_files(name, FILM_SUFFIXES).files
        if is_film(name):
            raise SourceError(f"{name}: there is no such file", hint=_near(path))
        return []
    if not path.is_file():  # a pipe or a device: whoever reads images says so
        return []
    return [path] if is_film(name) or not (path.suffix.lower() in IMAGE_SUFFIXES or _is_image(path)) else []


def _open(what: SourceLike, settings: _Settings) -> Source:
    if isinstance(what, Source):
        return what
    if _is_number(what):
        return _webcam(int(what), settings)
    if isinstance(what, (str, os.PathLike)):
        return _named(os.fspath(what), settings)
    if _is_video_capture(what):
        return _opened_capture(what, settings)
    if isinstance(what, (list, tuple)):
        return _listed(what, settings)
    single = what.ndim < 4 if isinstance(what, np.ndarray) else not _is_iterable(what)
    return _given([what] if single else what, settings)


def _is_iterable(what: object) -> bool:
    return isinstance(what, Iterable) and not isinstance(what, (bytes, bytearray, memoryview))


def _given(frames: Iterable[Any], settings: _Settings) -> Source:
    source = GivenFrames(frames, fps=settings.fps, max_fps=settings.terms.max_fps)
    return Newest(source, settings.terms.max_staleness) if settings.terms.policy == "freshest" else source


def _named(name: str, settings: _Settings) -> Source:
    if name.startswith("file://"):
        name = name.removeprefix("file://")
    if is_camera(name):
        if name.isdecimal():
            return _webcam(int(name), settings)
        return _stream(name, settings) if _ADDRESS.match(name) else _webcam(name, settings)
    return _files([name], settings)


def _files(names: Sequence[str], settings: _Settings) -> Source:
    """Files, folders and patterns: all images in one source, each film in its own."""
    images: list[Path] = []
    films: list[Path] = []
    for name in names:
        found = films_in(name)
        films += found
        if not found:
            images += list_images(name)
        elif not Path(name).is_file():
            with suppress(ImageError):  # a folder or pattern of films only
                images += list_images(name)
    sources: list[Source] = [_film(path, settings) for path in films]
    if images:
        sources.insert(0, ImageFiles(list(dict.fromkeys(images)), settings.fps, settings.terms.on_event))
    return sources[0] if len(sources) == 1 else Several(sources)


def _is_image(path: Path) -> bool:
    """Tell an image by its first bytes, where the suffix does not."""
    import cv2

    try:
        return bool(cv2.haveImageReader(str(path)))
    except cv2.error:
        return False


def _near(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return f"There is no folder {path.parent} either."
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / near[0]}?" if near else ""


def _film(path: Path, settings: _Settings) -> Source:
    address = Address(str(path), str(path), options=settings.options, planes=settings.planes)
    return Capture(str(path), partial(open_decoder, address, settings.decoder), settings.terms, live=False)


def _stream(location: str, settings: _Settings) -> Source:
    scheme = location.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise UsageError(f"{location}: {scheme} is no kind of stream", hint=f"Known: {', '.join(_SCHEMES)}.")
    name = without_password(location)
    address = Address(
        location,
        name,
        network=True,
        read_timeout=settings.terms.silent_after,
        options=settings.options,
        planes=settings.planes,
    )
    return Capture(name, partial(open_decoder, address, settings.decoder), settings.terms)


def _webcam(device: int | str, settings: _Settings) -> Source:
    if isinstance(device, int) and device < 0:  # OpenCV would end the process
        raise UsageError(f"camera {device}: cameras are numbered from 0", hint="Give 0 for the first camera.")

    def opener() -> Decoder:
        from edgeyolo.stream.decode_opencv import OpencvDecoder

        return OpencvDecoder.of_device(device)

    return Capture(
        f"camera {device}" if isinstance(device, int) else device, opener, settings.terms, live=True
    )


def _is_video_capture(what: object) -> bool:
    """Tell an opened capture without importing OpenCV.

    An instance exists only where it has been imported.
    """
    module = sys.modules.get("cv2")
    return module is not None and isinstance(what, module.VideoCapture)


def _opened_capture(capture: Any, settings: _Settings) -> Source:
    """Source of a caller's own capture, from where it is.

    Closing the source releases it, and nothing opens it again.
    """
    import cv2

    from edgeyolo.stream.decode_opencv import OpencvDecoder

    if not capture.isOpened():
        raise SourceError("the cv2.VideoCapture is not opened", hint="Does the file or camera exist?")
    finite = capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    return Capture(
        "cv2.VideoCapture",
        lambda: OpencvDecoder(capture, finite=finite),
        replace(settings.terms, reconnection=None),
        live=not finite,
    )


def _listed(what: Sequence[Any], settings: _Settings) -> Source:
    if not what:
        raise UsageError("no source was given", hint="Give a film, a camera (0), an address or images.")
    named = [isinstance(each, (str, os.PathLike)) for each in what]
    if all(named) and not any(is_camera(os.fspath(each)) for each in what):
        return _files([os.fspath(each) for each in what], settings)
    if any(named) or any(_is_source(each) for each in what):
        return Several([_open(each, settings) for each in what])
    return _given(what, settings)


def _is_source(each: object) -> bool:
    return _is_number(each) or isinstance(each, Source) or _is_video_capture(each)


def _is_number(each: object) -> bool:
    return isinstance(each, (int, np.integer)) and not isinstance(each, bool)
