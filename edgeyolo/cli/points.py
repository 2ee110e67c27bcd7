"""Points of a picture on the command line."""

from __future__ import annotations

from typing import Any

import click


class Points(click.ParamType):  # type: ignore[type-arg]
    """`x1,y1,x2,y2,...` -> ((x1, y1), (x2, y2), ...).

    There are at least `least` points and at most `most`.
    """

    name = "points"

    def __init__(self, least: int, most: int | None = None) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            numbers = [float(each) for each in str(value).split(",")]
        except ValueError:
            numbers = []
        points = list(zip(numbers[::2], numbers[1::2], strict=False))
        if len(numbers) % 2 or len(points) < self._least or (self._most and len(points) > self._most):
            wanted = f"{self._least}" if self._most == self._least else f"{self._least} or more"
            self.fail(f"{value!r}: expected {wanted} points in pixels, x1,y1,x2,y2 ...", param, ctx)
        return tuple(points)
