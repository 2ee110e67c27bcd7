"""A drawn street that may be shipped: a car, a bus, a person, a bicycle.

street.py [--output street.png] [--found]      with --found, as the built-in model sees it

It is drawn here, of plain shapes, so it is nobody's photograph. The model that comes with the package finds its
objects: their sizes and places were chosen so, and it says nothing of what it finds in photographs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo import Detector

WIDTH, HEIGHT, HORIZON = 640, 480, 210  # pixels
_FINE = 4  # times as many pixels while it is drawn
_SHIFT = 4  # bits of a coordinate's fraction
Color = tuple[float, float, float]  # BGR, 0..255
Points = Sequence[tuple[float, float]]
_METAL, _RUBBER, _GLASS, _NIGHT = (
    (172.0, 170.0, 167.0),
    (32.0, 31.0, 31.0),
    (135.0, 120.0, 102.0),
    (58.0, 50.0, 44.0),
)


@dataclass(frozen=True, eq=False)
class Street:
    """A picture (480, 640, 3) BGR and the boxes in it.

    boxes: x1, y1, x2, y2 in pixels of each object, by its name.
    """

    image: NDArray[np.uint8]
    boxes: dict[str, tuple[float, float, float, float]]


def times(color: Color, factor: float) -> Color:
    """A lighter or darker shade."""
    blue, green, red = (min(value * factor, 255.0) for value in color)
    return blue, green, red


def curve(points: Points) -> list[tuple[float, float]]:
    """A closed Catmull-Rom curve through points, as many short lines."""
    p = np.asarray(points, np.float64)
    t = np.linspace(0, 1, 16, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0), strict=True):
        parts.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return [(float(x), float(y)) for x, y in np.concatenate(parts)]


@dataclass(eq=False)
class Brush:
    """Draws on a canvas, in the units of an object.

    It stands at (x, y) pixels and has `scale` pixels a unit.
    """

    canvas: NDArray[np.float32]
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    low: list[NDArray[np.float64]] = field(default_factory=list)

    def place(self, points: Points) -> NDArray[np.int32]:
        """Units to fixed-point pixels of the canvas."""
        pixels = np.asarray(points, np.float64) * self.scale + (self.x, self.y)
        self.low.append(pixels)
        return np.rint(pixels * _FINE * (1 << _SHIFT)).astype(np.int32)

    def area(self, points: Points, top: Color, bottom: Color | None = None) -> None:
        """Fill an outline, from one colour at its top to another at its bottom."""
        mask = np.zeros(self.canvas.shape[:2], np.uint8)
        outline = self.place(points)
        cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, _SHIFT)
        x, y, w, h = cv2.boundingRect(outline >> _SHIFT)
        rows, columns = slice(max(y - 1, 0), max(y + h + 1, 0)), slice(max(x - 1, 0), max(x + w + 1, 0))
        cover = mask[rows, columns, None].astype(np.float32) / 255
        down = np.linspace(0, 1, cover.shape[0], dtype=np.float32)[:, None, None]
        shade = np.asarray(top, np.float32) * (1 - down) + np.asarray(bottom or top, np.float32) * down
        self.canvas[rows, columns] += (shade - self.canvas[rows, columns]) * cover

    def line(self, start: tuple[float, float], end: tuple[float, float], color: Color, width: float) -> None:
        """A line of `width` units."""
        a, b = (tuple(int(v) for v in row) for row in self.place([start, end]))
        cv2.line(self.canvas, a, b, color, max(round(width * self.scale * _FINE), 1), cv2.LINE_AA, _SHIFT)

    def disk(self, center: tuple[float, float], radius: float, color: Color, width: float = 0.0) -> None:
        """A disk, or a ring of `width` units."""
        self.place([(center[0] - radius, center[1] - radius), (center[0] + radius, center[1] + radius)])
        x, y = (int(v) for v in self.place([center])[0])
        thick = max(round(width * self.scale * _FINE), 1) if width else -1
        round_ = int(radius * self.scale * _FINE * (1 << _SHIFT))
        cv2.circle(self.canvas, (x, y), round_, color, thick, cv2.LINE_AA, _SHIFT)

    def shadow(self, center: tuple[float, float], half: tuple[float, float]) -> None:
        """A soft dark spot on the ground."""
        mask = np.zeros(self.canvas.shape[:2], np.float32)
        turn = np.linspace(0, 2 * np.pi, 60)
        oval = [(center[0] + half[0] * np.cos(t), center[1] + half[1] * np.sin(t)) for t in turn]
        cv2.fillPoly(mask, [self.place(oval)], 0.75, cv2.LINE_AA, _SHIFT)
        self.low.pop()  # no part of the object
        self.canvas *= 1 - cv2.GaussianBlur(mask, (0, 0), 6.0 * _FINE)[..., None]

    def box(self) -> tuple[float, float, float, float]:
        """The box of all that was drawn."""
        points = np.concatenate(self.low)
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        return float(x1), float(y1), float(x2), float(y2)


def draw_wheel(brush: Brush, center: tuple[float, float], radius: float) -> None:
    """A car's wheel with five spokes."""
    brush.disk(center, radius, _RUBBER)
    brush.disk(center, 0.62 * radius, _METAL)
    brush.disk(center, 0.5 * radius, times(_METAL, 0.55))
    for turn in np.arange(5) * 2 * np.pi / 5:
        end = (center[0] + 0.53 * radius * np.cos(turn), center[1] + 0.53 * radius * np.sin(turn))
        brush.line(center, end, times(_METAL, 1.15), 0.14 * radius)


def draw_car(brush: Brush, paint: Color) -> None:
    """A saloon from the side, 210 units long."""
    dark, light = times(paint, 0.35), times(paint, 1.6)
    brush.shadow((105, 2), (112, 9))
    brush.area(curve([
        (2, -22), (4, -36), (20, -44), (52, -48), (80, -70), (118, -74), (150, -68), (176, -48), (202, -44),
        (210, -34), (211, -18), (204, -12), (110, -9), (10, -11),
    ]), light, dark)  # fmt: skip
    brush.area([(60, -48), (84, -66), (110, -69.5), (110, -48)], _GLASS, _NIGHT)
    brush.area([(115, -48), (115, -69.5), (148, -64), (166, -49)], _GLASS, _NIGHT)
    brush.line((66, -52), (82, -65), (225, 220, 210), 1.2)
    for top, bottom in (((112, -46), (112, -14)), ((60, -46), (56, -18)), ((166, -46), (164, -20))):
        brush.line(top, bottom, dark, 0.8)
    brush.line((12, -36), (204, -36), light, 1)
    brush.line((40, -15), (170, -14), dark, 2)
    for handle in (98, 142):
        brush.line((handle, -40), (handle + 9, -40), dark, 1.6)
    brush.area([(4, -36), (20, -41), (18, -33), (5, -31)], (235, 245, 255), (190, 200, 215))
    brush.area([(200, -43), (210, -36), (208, -31), (199, -36)], (40, 40, 220), (20, 20, 140))
    brush.area([(54, -52), (60, -53), (61, -47), (54, -46)], light, dark)
    for x in (46, 168):
        draw_wheel(brush, (x, -15), 19)


def draw_bus(brush: Brush, paint: Color) -> None:
    """A bus from the side, 260 units long."""
    dark = times(paint, 0.5)
    brush.shadow((130, 2), (135, 9))
    sides = [(4, -12), (2, -60), (6, -104), (14, -112), (250, -112), (258, -106), (260, -12)]
    brush.area(sides, times(paint, 1.4), dark)
    for left in range(34, 250, 36):
        brush.area([(left, -98), (left + 32, -98), (left + 32, -62), (left, -62)], _GLASS, _NIGHT)
        brush.line((left + 4, -92), (left + 16, -66), (190, 180, 165), 1)
    brush.area([(5, -100), (28, -100), (28, -56), (3, -56)], times(_GLASS, 1.1), _NIGHT)
    brush.line((4, -52), (258, -52), (240, 240, 240), 5)
    brush.line((4, -20), (258, -20), dark, 2)
    brush.area([(3, -34), (12, -34), (12, -26), (3, -26)], (235, 245, 255), (200, 210, 220))
    for x in (58, 206):
        draw_wheel(brush, (x, -14), 18)


def draw_person(brush: Brush, shirt: Color, trousers: Color) -> None:
    """A standing person, 137 units high."""
    skin, hair = (150.0, 180.0, 225.0), (45.0, 60.0, 75.0)
    brush.shadow((3, 0), (20, 4))
    leg = [(-9, -60), (-12, -30), (-15, -4), (-6, -2), (-3, -28), (0, -52)]
    brush.area(curve(leg), trousers, times(trousers, 0.55))
    leg = [(1, -58), (6, -30), (10, -4), (18, -3), (14, -30), (10, -60)]
    brush.area(curve(leg), times(trousers, 1.1), times(trousers, 0.6))
    brush.area([(-17, -5), (-4, -4), (-4, 1), (-19, 1)], (40, 40, 50))
    brush.area([(8, -5), (18, -5), (24, 0), (8, 1)], (45, 45, 55))
    chest = [(-13, -100), (-15, -80), (-11, -56), (12, -56), (14, -80), (13, -100), (5, -107), (-5, -107)]
    brush.area(curve(chest), times(shirt, 1.25), times(shirt, 0.65))
    for arm in (
        [(-13, -101), (-22, -80), (-24, -58), (-18, -56), (-14, -78), (-9, -96)],
        [(13, -101), (20, -82), (26, -62), (21, -58), (13, -78), (9, -96)],
    ):
        brush.area(curve(arm), shirt, times(shirt, 0.6))
    brush.disk((-21, -55), 4, skin)
    brush.disk((24, -58), 4, skin)
    brush.area([(-4, -112), (4, -112), (5, -103), (-5, -103)], times(skin, 0.7))
    face = [(-8, -122), (-7, -114), (0, -109), (7, -114), (8, -122), (6, -131), (-6, -131)]
    brush.area(curve(face), skin, times(skin, 0.7))
    top = [(-9, -121), (-9, -131), (0, -137), (9, -131), (9, -121), (5, -128), (-5, -128)]
    brush.area(curve(top), hair, times(hair, 0.6))
    for x in (-3, 3.4):
        brush.disk((x, -121), 0.9, (40, 40, 40))
    brush.line((-2.5, -114.5), (2.5, -114.5), (90, 90, 150), 0.9)


def draw_bicycle(brush: Brush, paint: Color) -> None:
    """A bicycle from the side, 130 units long."""
    radius, black = 28.0, (40.0, 40.0, 40.0)
    brush.shadow((60, 1), (62, 3))
    back, seat, pedals, head, front = (
        (30.0, -radius),
        (52.0, -66.0),
        (62.0, -24.0),
        (90.0, -64.0),
        (100.0, -radius),
    )
    for x, y in (back, front):
        brush.disk((x, y), radius, (25, 25, 25), 2.6)
        for turn in np.arange(14) * 2 * np.pi / 14:
            end = (x + (radius - 3) * np.cos(turn), y + (radius - 3) * np.sin(turn))
            brush.line((x, y), end, (165, 165, 165), 0.35)
        brush.disk((x, y), 2.4, (70, 70, 70))
    for a, b in ((back, seat), (back, pedals), (pedals, seat), (pedals, head), (seat, head), (head, front)):
        brush.line(a, b, paint, 3)
    for a, b in ((head, (87, -76)), ((87, -76), (98, -79)), ((98, -79), (102, -74)), (seat, (50, -73))):
        brush.line(a, b, black, 2.5)
    brush.area(curve([(40, -75), (52, -77), (62, -74), (50, -71)]), black)
    brush.disk(pedals, 6, (60, 60, 60), 1.2)
    brush.line(pedals, (66, -12), (60, 60, 60), 2)
    brush.line((61, -12), (71, -12), black, 2.4)
    brush.line((30, -radius - 2), (62, -29), (70, 70, 70), 0.8)


def draw_background(rng: np.random.Generator) -> NDArray[np.float32]:
    """Sky, trees, pavement and road, (height, width, 3) BGR in fine pixels."""
    height, width = HEIGHT * _FINE, WIDTH * _FINE
    canvas = np.empty((height, width, 3), np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    canvas[:] = (
        np.array((225, 190, 150), np.float32) * (1 - down) + np.array((245, 235, 225), np.float32) * down
    )
    brush = Brush(canvas)
    for ground, green in ((HORIZON - 40, (95.0, 120.0, 100.0)), (HORIZON - 15, (60.0, 95.0, 70.0))):
        for _ in range(70):
            center = (rng.uniform(-20, WIDTH + 20), ground - rng.uniform(0, 40))
            brush.disk(center, rng.uniform(18, 40), times(green, rng.uniform(0.7, 1.25)))
    leaves = slice((HORIZON - 60) * _FINE, HORIZON * _FINE)
    canvas[leaves] += _grain(rng, canvas[leaves].shape, 3 * _FINE, 14)
    road = canvas[HORIZON * _FINE :]
    down = np.linspace(0, 1, len(road), dtype=np.float32)[:, None, None]
    road[:] = np.array((118, 118, 120), np.float32) * (1 - down) + np.array((86, 86, 90), np.float32) * down
    road += _grain(rng, road.shape, 2, 7) + _grain(rng, road.shape, 8 * _FINE, 6)
    right = WIDTH
    brush.area([(0, HORIZON), (right, HORIZON), (right, HORIZON + 16), (0, HORIZON + 16)], (150, 155, 160))
    brush.area(
        [(0, HORIZON + 16), (right, HORIZON + 16), (right, HORIZON + 20), (0, HORIZON + 20)], (95, 98, 100)
    )
    return canvas


def _grain(
    rng: np.random.Generator, shape: tuple[int, ...], size: int, amplitude: float
) -> NDArray[np.float32]:
    """Smooth noise whose spots are `size` pixels wide."""
    height, width = shape[:2]
    coarse = rng.normal(0, amplitude, (max(height // size, 2), max(width // size, 2))).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None], np.float32
    )


def photograph(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lens and sensor: blur, dark corners, noise."""
    seen = cv2.GaussianBlur(cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), (0, 0), 0.9)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    lit = seen * (1 - 0.125 * (x * x + y * y))[..., None] + rng.normal(0, 4, seen.shape)
    return lit.clip(0, 255).astype(np.uint8)


def make_street(seed: int = 0) -> Street:
    """Draw the street; the same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    canvas = draw_background(rng)
    bus, car = Brush(canvas, 330, 300, 1.05), Brush(canvas, 40, 372, 1.25)
    person, bicycle = Brush(canvas, 360, 455, 1.6), Brush(canvas, 430, 440, 1.5)
    draw_bus(bus, (50, 60, 190))
    draw_car(car, (150, 60, 30))
    draw_person(person, (60, 60, 170), (110, 70, 40))
    draw_bicycle(bicycle, (60, 40, 170))
    brushes = {"bus": bus, "car": car, "person": person, "bicycle": bicycle}
    return Street(photograph(canvas, rng), {name: brush.box() for name, brush in brushes.items()})


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("street.png"))
    parser.add_argument("--found", action="store_true", help="with the detections of the built-in model")
    options = parser.parse_args()
    image = make_street().image
    if options.found:
        with Detector() as detector:
            image = detector(image).plot(image)
    cv2.imwrite(str(options.output), image)


if __name__ == "__main__":
    main()
