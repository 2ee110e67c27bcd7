"""Tracks, lines and zones on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.runtime.drawing import draw_detections
from edgeyolo.tracking.lines import LineCounter
from edgeyolo.tracking.tracks import Tracks
from edgeyolo.tracking.zones import Zone

_COLOR = (0, 220, 255)  # BGR of lines and zones
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_tracks(
    image: NDArray[np.uint8],
    tracks: Tracks,
    lines: Sequence[LineCounter] = (),
    zones: Sequence[Zone] = (),
) -> NDArray[np.uint8]:
    """A copy of `image` (height, width, 3) BGR with every track and its identity.

    Lines show how many went in and out, zones how many are inside.
    """
    named = [replace(track, name=f"{track.name} #{track.track_id}".strip()) for track in tracks]
    canvas = draw_detections(image, named)
    thickness = max(round(sum(image.shape[:2]) / 2 * 0.003), 1)
    for zone in zones:
        corners = np.round(np.array(zone.corners)).astype(np.int32)
        cv2.polylines(canvas, [corners], True, _COLOR, thickness)
        _write(canvas, f"{zone.occupancy} inside", corners[0], thickness)
    for line in lines:
        start, end = (np.round(np.array(point)).astype(np.int32) for point in (line.start, line.end))
        cv2.line(canvas, start.tolist(), end.tolist(), _COLOR, thickness)
        _write(canvas, f"in {line.count_in}, out {line.count_out}", start, thickness)
    return canvas


def _write(canvas: NDArray[np.uint8], text: str, point: NDArray[np.int32], thickness: int) -> None:
    scale = max(thickness / 4, 0.5)
    place = int(point[0]) + 4, max(int(point[1]) - 6, round(24 * scale))
    cv2.putText(canvas, text, place, _FONT, scale, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, place, _FONT, scale, _COLOR, max(thickness // 2, 1), cv2.LINE_AA)
