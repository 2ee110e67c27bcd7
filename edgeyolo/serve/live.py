"""A camera or a film, watched while the server runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import EdgeYoloError
from edgeyolo.runtime.detections import Detections
from edgeyolo.serve.settings import Model
from edgeyolo.serve.worker import open_detector
from edgeyolo.stream.frame import Frame

_WATCHED_SECONDS = 5.0


@dataclass(frozen=True)
class View:
    """A frame with its boxes.

    Attributes:
        number: of the frame, from 1.
        jpeg: the picture with boxes.
        facts: plain values: objects by name, seconds, frames, frames a second, latency, drops by cause.
    """

    number: int
    jpeg: bytes
    facts: Mapping[str, Any]


class Live:
    """Detection in one source, in a session of its own.

    Pictures are drawn while somebody looks. It belongs to one event loop.
    """

    def __init__(self, model: Model, source: str) -> None:
        """Open the model and the source.

        Raises:
            SourceError, ImageError: there is no such file.
            EdgeYoloError: what `Detector` raises.
        """
        self._detector = open_detector(model)
        try:
            self._stream = self._detector.stream(source)
        except BaseException:
            self._detector.close()
            raise
        self._changed = asyncio.Event()
        self._view: View | None = None
        self._error: EdgeYoloError | None = None
        self._asked = 0.0
        self._ended = self._dismissed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read, in the running event loop."""
        self._asked = monotonic()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())

    @property
    def over(self) -> bool:
        """Return True if no later frame will be shown."""
        return self._ended or self._dismissed

    def dismiss(self) -> None:
        """Send those who watch home, so that a server can stop.

        It may be called from a signal's handler.
        """
        self._dismissed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    async def stop(self) -> None:
        """Stop reading and close the session."""
        await asyncio.to_thread(self._stream.close)
        if self._task is not None:
            await self._task
        self._detector.close()

    async def after(self, number: int, seconds: float) -> View | None:
        """Wait for a view of a later frame than `number`.

        Returns:
            The newest one; None where there is none within `seconds`, or the source has ended.

        Raises:
            EdgeYoloError: what ended the source.
        """
        end = monotonic() + seconds
        while True:
            self._asked = monotonic()
            if self._view is not None and self._view.number > number and not self._dismissed:
                return self._view
            if self._error is not None:
                raise self._error
            if self.over or monotonic() >= end:
                return None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), end - monotonic())

    async def _run(self) -> None:
        number = 0
        try:
            async for frame, detections in self._stream:
                number += 1
                if self._view is None or monotonic() - self._asked < _WATCHED_SECONDS:
                    jpeg = await asyncio.to_thread(_drawn, frame.image, detections)
                    self._show(View(number, jpeg, self._facts(frame, detections)))
        except EdgeYoloError as error:
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _facts(self, frame: Frame, detections: Detections) -> dict[str, Any]:
        progress = self._stream.progress
        return {
            "time": frame.time,
            "objects": dict(Counter(detections.names).most_common()),
            "frames": progress.frames,
            "fps": progress.fps,
            "latency": progress.latency(),
            "dropped": dict(progress.counts.dropped),
        }

    def _show(self, view: View) -> None:
        self._view = view
        self._wake()

    def _wake(self) -> None:
        """Wake who waits now; who comes later waits for the next."""
        self._changed.set()
        self._changed = asyncio.Event()


def _drawn(image: NDArray[np.uint8], detections: Detections) -> bytes:
    return cv2.imencode(".jpg", detections.plot(image), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
