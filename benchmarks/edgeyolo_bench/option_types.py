"""Types of the values that only `edgeyolo bench` reads from its command line."""

from __future__ import annotations

import re
from typing import Any

import click

from edgeyolo.cli.options import ImageSize

Size = tuple[int, int]


class ImageSizes(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """`320,416,384x640` -> ((320, 320), (416, 416), (384, 640)), each once."""

    name = "sizes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Size, ...]:
        if isinstance(value, tuple):
            return value
        one = ImageSize()
        return tuple(dict.fromkeys(one.convert(part.strip(), param, ctx) for part in str(value).split(",")))


class Milliseconds(click.ParamType):  # type: ignore[type-arg]
    """`15ms` or `0.015s` -> 15.0."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s)", str(value).strip())
        milliseconds = float(found[1]) * (1e3 if found[2] == "s" else 1.0) if found else 0.0
        if milliseconds <= 0:
            self.fail(f"{value!r}: expected a time with its unit, such as 15ms or 0.02s", param, ctx)
        return milliseconds
