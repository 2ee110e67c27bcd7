"""Decoding by OpenCV: webcams, a caller's captures, films without PyAV."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from edgeyolo.errors import SourceError
from edgeyolo.stream.decoder import Address, Picture


class OpencvDecoder:
    """An opened `cv2.VideoCapture`; see `edgeyolo.stream.decoder.Decoder`.

    OpenCV passes over what it cannot decode without a word, so `damaged` stays 0, and a stream that breaks looks like
    one that ends.
    """

    def __init__(self, capture: cv2.VideoCapture, *, finite: bool) -> None:
        self._capture = capture
        self.finite, self.stamped = finite, False
        self.rate = capture.get(cv2.CAP_PROP_FPS) or None
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = frames if finite and frames > 0 else None
        self.damaged, self.truncated = 0, False

    @classmethod
    def of_address(cls, address: Address) -> OpencvDecoder:
        """Open a film or a stream; SourceError where OpenCV cannot."""
        settings: list[int] = []
        if address.network:
            settings += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(address.open_timeout * 1000)]
            settings += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(address.read_timeout * 1000)]
        try:
            capture = cv2.VideoCapture(address.location, cv2.CAP_FFMPEG, settings)
        except cv2.error as error:
            raise SourceError(f"{address.name}: OpenCV cannot open it ({error})") from error
        if not capture.isOpened():
            raise SourceError(
                f"{address.name}: OpenCV cannot open it, and does not say why",
                hint="pip install edgeyolo[video] decodes by PyAV, which tells the reason.",
            )
        endless = address.network and capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
        return cls(capture, finite=not endless)

    @classmethod
    def of_device(cls, device: int | str) -> OpencvDecoder:
        """Open a webcam by its number or its device file; SourceError where there is none."""
        capture = (
            cv2.VideoCapture(device) if isinstance(device, int) else cv2.VideoCapture(device, cv2.CAP_V4L2)
        )
        if not capture.isOpened():
            raise SourceError(
                f"camera {device}: there is none, or another program uses it",
                hint="On Linux, `ls /dev/video*` shows the cameras; a container must be given the device.",
            )
        return cls(capture, finite=False)

    def __iter__(self) -> Iterator[Picture | None]:
        while True:
            read, image = self._capture.read()
            if not read:
                return
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self.finite else None
            yield Picture(np.asarray(image, np.uint8), stamp)

    def close(self) -> None:
        """Release the file or device; only when nobody iterates."""
        self._capture.release()
