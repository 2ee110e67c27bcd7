"""Drawings after the paper's Figures 5 and 8, of one's own picture and network.

Figure 8: what lead and auxiliary heads say about objectness, laid over the picture. Figure 5: which cells a strategy
gives to each head, within which constraints, and how much objectness each cell is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeyolo.datasets import Dataset, Sample
from edgeyolo.errors import UsageError
from edgeyolo.models.network import Network
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import letterbox
from edgeyolo.support.files import atomic_file
from edgeyolo.training.loss.candidates import Levels, find_candidates, pad_targets
from edgeyolo.training.loss.loss import DetectionLoss, LossConfig, distance_bound
from edgeyolo.training.loss.strategy import BOUNDED, COARSE_TO_FINE, INDEPENDENT, LEAD_GUIDED, Reach, Strategy

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

_TITLE, _GAP, _LEAST, _INK = 22, 4, 256, (32, 32, 32)
# BGR of the levels, finest first: colours that people of any colour vision tell apart.
_LEVELS = ((0, 159, 230), (233, 180, 86), (115, 158, 0), (167, 121, 204), (66, 228, 240))

FIGURE_5 = (
    ("(c) independent", INDEPENDENT),
    ("(d) lead guided", LEAD_GUIDED),
    ("(e) coarse-to-fine", COARSE_TO_FINE),
    ("(e) with the bound", BOUNDED),
)


@dataclass(frozen=True)
class Picture:
    """A labelled picture as a network of `size` = (height, width) is shown it.

    pixels: uint8 BGR (height, width, 3). corners: float32 (n, 4) in pixels of it. class_id: int64 (n,).
    """

    pixels: Pixels
    corners: NDArray[np.float32]
    class_id: NDArray[np.int64]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def tensor(self) -> Tensor:
        """float32 (1, 3, height, width), RGB in 0..1."""
        rgb = np.ascontiguousarray(self.pixels[:, :, ::-1].transpose(2, 0, 1))
        return torch.from_numpy(rgb).float().div(255)[None]

    def targets(self) -> Tensor:
        """float32 (n, 6) rows as losses take them.

        Image, class, centre x, centre y, width, height, relative.
        """
        height, width = self.size
        x1, y1, x2, y2 = (self.corners / np.array([width, height] * 2, np.float32)).T
        zeros = np.zeros_like(x1)
        rows = np.stack([zeros, self.class_id, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        return torch.from_numpy(rows.astype(np.float32))


def draw_figure(
    number: int,
    path: Path,
    networks: Sequence[tuple[str, Network]],
    dataset: Dataset,
    side: int,
    *,
    picture: int | None = None,
) -> None:
    """Draw Figure 5 (of the first network) or 8 (of all) as an image file.

    picture: number of the image in the data set, by default the first with objects; shown at side x side pixels.
    """
    shown = load_picture(_sample(dataset, picture), side)
    if number == 8:
        draw_objectness(path, networks, shown)
    else:
        draw_assignments(path, networks[0][1], shown, FIGURE_5)


def _sample(dataset: Dataset, number: int | None) -> Sample:
    if number is None:
        number = next((i for i, sample in enumerate(dataset.images) if len(sample)), 0)
    if not 0 <= number < len(dataset.images):
        raise UsageError(f"picture {number}: {dataset.name} has 0 to {len(dataset.images) - 1}")
    return dataset.images[number]


def load_picture(sample: Sample, side: int) -> Picture:
    """Letterbox a labelled image to a square; UsageError for one without objects."""
    if not len(sample):
        raise UsageError(f"{sample.path}: no objects to draw", hint="Choose another picture with --picture.")
    image = read_image(sample.path)
    pixels, place = letterbox(image, (side, side))
    return Picture(pixels, place.to_input(sample.boxes), sample.class_id)


@torch.no_grad()
def objectness(network: Network, picture: Picture) -> tuple[list[Map], list[Map]]:
    """Objectness of the lead and of the auxiliary maps, (H, W) each.

    It is that of the highest of a cell's anchors. UsageError for a network without auxiliary heads.
    """
    maps = _all_maps(network, picture)
    anchors = len(network.anchors[0])
    heights = []
    for head in maps:
        raw = head.view(anchors, -1, *head.shape[2:])[:, 4]
        heights.append(raw.sigmoid().amax(0).cpu().numpy())
    return heights[: network.levels], heights[network.levels :]


def _all_maps(network: Network, picture: Picture) -> tuple[Tensor, ...]:
    maps = network.eval()(picture.tensor().to(next(network.parameters()).device))
    if len(maps) != 2 * network.levels:
        raise UsageError(
            f"{network.spec.name} in {network.form} form has no auxiliary heads to draw",
            hint="Draw weights that were trained with them: those of Tables 6 to 8, or *_training checkpoints.",
        )
    result: tuple[Tensor, ...] = maps
    return result


def draw_objectness(path: Path, networks: Sequence[tuple[str, Network]], picture: Picture) -> None:
    """Figure 8: auxiliary and lead heads over the picture, as an image file.

    A row for each network. The first two tiles of a row are the highest of all levels; the levels follow, finest
    first. The brightest colour is the highest value of the row.
    """
    rows = []
    for name, network in networks:
        lead, auxiliary = objectness(network, picture)
        heads = [("auxiliary", auxiliary), ("lead", lead)]
        most = max(float(each.max()) for each in (*lead, *auxiliary))
        named = [
            (f"{name}: {head}, up to {max(float(each.max()) for each in maps):.2f}", maps)
            for head, maps in heads
        ]
        for place, stride in enumerate(network.strides):
            named += [(f"{head}, stride {stride}", [maps[place]]) for head, maps in heads]
        tiles = [
            _titled(title, _heat(picture, np.max([_spread(each, picture.size) for each in maps], 0) / most))
            for title, maps in named
        ]
        rows.append(tiles)
    _write(path, rows)


def draw_assignments(
    path: Path,
    network: Network,
    picture: Picture,
    strategies: Sequence[tuple[str, Strategy]],
    *,
    anchor_ratio: float = 4.0,
) -> None:
    """Figure 5: cells that the strategies take, and their labels, as an image.

    The first row are the constraints: cells that the fine and the coarse reach let in, the latter as bright as their
    bound (Table 7). Then a row for each strategy: cells of the lead and of the auxiliary head, each as bright as its
    label. Colours are the levels.
    """
    fine, coarse = (_reached(network, picture, reach, anchor_ratio) for reach in ("fine", "coarse"))
    rows = [
        [
            _titled(f"fine reach: {_count(fine)} cells", _cells(picture, fine)),
            _titled(f"coarse reach and its bound: {_count(coarse)} cells", _cells(picture, coarse)),
        ]
    ]
    with torch.no_grad():
        maps = _all_maps(network, picture)
    for name, strategy in strategies:
        labels = asked(network, maps, picture, strategy, anchor_ratio=anchor_ratio)
        heads = (("lead", labels[: network.levels]), ("auxiliary", labels[network.levels :]))
        rows.append(
            [
                _titled(
                    f"{name}, {head}: {_count(own)} cells, labels {_total(own):.1f}", _cells(picture, own)
                )
                for head, own in heads
            ]
        )
    _write(path, rows)


def asked(
    network: Network,
    maps: Sequence[Tensor],
    picture: Picture,
    strategy: Strategy,
    *,
    anchor_ratio: float = 4.0,
) -> list[Map]:
    """The objectness that a strategy asks of every cell, (H, W) for each map.

    NaN where it takes none.
    """
    config = LossConfig(strategy=strategy, anchor_t=anchor_ratio)
    side = max(picture.size)
    loss = DetectionLoss(network.anchors, network.strides, network.classes, config, image_size=side)
    loss.to(maps[0].device)
    made = []
    for label, taken in loss.objectness_labels(maps, picture.targets()):
        values = torch.where(taken, label, -1)[0].amax(0).cpu().numpy()
        made.append(np.where(values < 0, np.nan, values).astype(np.float32))
    return made


def _reached(network: Network, picture: Picture, reach: Reach, ratio: float) -> list[Map]:
    """Bounds of the cells that a reach lets in, (H, W) for each level; NaN elsewhere."""
    grids = torch.tensor([[side // s for side in picture.size[::-1]] for s in network.strides])
    strides = torch.tensor(network.strides, dtype=torch.float32)
    levels = Levels(torch.tensor(network.anchors), strides, grids)
    targets = pad_targets(picture.targets(), 1)
    found = find_candidates(targets, levels, reach, ratio)
    made = []
    for level, (width, height) in enumerate(grids.tolist()):
        here = found.valid[0] & (found.level[0] == level)
        row, column, target = (part[0][here] for part in (found.row, found.column, found.target))
        cell = torch.stack([column, row], 1)
        offset = targets.boxes[0, target, :2] * grids[level] - cell
        bound = distance_bound(offset)
        values = torch.full((height * width,), -1.0)
        values.scatter_reduce_(0, row * width + column, bound, "amax")
        grid = values.view(height, width).numpy()
        made.append(np.where(grid < 0, np.nan, grid).astype(np.float32))
    return made


def _count(maps: Sequence[Map]) -> int:
    return sum(int((~np.isnan(each)).sum()) for each in maps)


def _total(maps: Sequence[Map]) -> float:
    return sum(float(np.nansum(each)) for each in maps)


def _spread(values: Map, size: tuple[int, int]) -> Map:
    """Each cell over its pixels."""
    spread = cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(spread, np.float32)


def _heat(picture: Picture, values: Map) -> Pixels:
    """Values of 0..1 as colours over the grey picture, with the boxes of its objects."""
    grey = cv2.cvtColor(cv2.cvtColor(picture.pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    colour = cv2.applyColorMap((values.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    blended = np.asarray(cv2.addWeighted(grey, 0.45, colour, 0.55, 0), np.uint8)
    return _boxes(blended, picture)


def _cells(picture: Picture, maps: Sequence[Map]) -> Pixels:
    """Cells with a value, filled as strongly as the value.

    Coarse levels first, so that fine ones stay visible.
    """
    canvas = (picture.pixels * 0.5).astype(np.float32)
    for level in reversed(range(len(maps))):
        values, colour = maps[level], np.array(_LEVELS[level % len(_LEVELS)], np.float32)
        high, wide = picture.size[0] // values.shape[0], picture.size[1] // values.shape[1]
        for row, column in zip(*np.nonzero(~np.isnan(values)), strict=True):
            y, x = int(row) * high, int(column) * wide
            part = canvas[y : y + high, x : x + wide]
            strength = 0.75 * float(values[row, column])
            part += strength * (colour - part)
            cv2.rectangle(canvas, (x, y), (x + wide - 1, y + high - 1), colour.tolist(), 1)
    return _boxes(canvas.round().astype(np.uint8), picture)


def _boxes(canvas: Pixels, picture: Picture) -> Pixels:
    for x1, y1, x2, y2 in picture.corners.round().astype(int).tolist():
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), (255, 255, 255), 1)
    return canvas


def _titled(title: str, tile: Pixels) -> Pixels:
    """The tile, at least `_LEAST` wide, under a line of text that is scaled to fit."""
    if tile.shape[1] < _LEAST:
        times = -(-_LEAST // tile.shape[1])
        tile = tile.repeat(times, 0).repeat(times, 1)
    bar = np.full((_TITLE, tile.shape[1], 3), _INK, np.uint8)
    (wide, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    scale = min(0.45, 0.45 * 0.85 * tile.shape[1] / wide)  # fonts of some builds are wider than they say
    cv2.putText(bar, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([bar, tile])


def _write(path: Path, rows: Sequence[Sequence[Pixels]]) -> None:
    """Tiles of one size as an image file, row under row."""
    high, wide = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (high + _GAP), columns * (wide + _GAP), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = i * (high + _GAP), j * (wide + _GAP)
            sheet[y : y + high, x : x + wide] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as draft:
        cv2.imwrite(str(draft), sheet)
