"""A window that shows pictures, where OpenCV has one."""

from __future__ import annotations

import os
import sys

import cv2

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.stream.frame import Pixels

_KEYS = {27, ord("q"), ord("Q")}


class Window:
    """Window that shows pictures until q, Escape or its closing.

    Raises RuntimeMissingError where there can be none.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        if sys.platform.startswith("linux") and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise RuntimeMissingError(
                "there is no screen to show a window on",
                hint="Leave --show out, and --save the film instead; over ssh, `ssh -X` lends a screen.",
            )
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise RuntimeMissingError(
                "this OpenCV was built without windows",
                hint="pip uninstall opencv-python-headless && pip install opencv-python",
            ) from error

    def show(self, image: Pixels) -> bool:
        """Show a picture; False once the person at the screen has had enough."""
        cv2.imshow(self._title, image)
        if cv2.waitKey(1) & 0xFF in _KEYS:
            return False
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)
