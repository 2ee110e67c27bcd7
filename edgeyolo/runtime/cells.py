"""Cells of raw maps that may hold an object.

Objectness is compared where it lies: as logits, or as the integers of a quantized file, with the least integer whose
real value is above the threshold. Only the rows of cells that pass are read, and turned into float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import Quantization, RawMaps
from edgeyolo.errors import NotFiniteError

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """One raw map of one image.

    Attributes:
        name: of the map.
        cells: (anchors, cells, 5 + classes), a view of the map: float, or the file's integers.
        width: cells in a row.
        quantization: real values of integers.
    """

    name: str
    cells: NDArray[Any]
    width: int
    quantization: Quantization | None = None

    def real(self, values: NDArray[Any]) -> FloatArray:
        """Values of the map in float32."""
        if self.quantization is None or values.dtype.kind == "f":
            return values.astype(np.float32, copy=False)
        return self.quantization.real(values)

    def above(self, threshold: float) -> IndexArray:
        """Places (n,), ascending, of cells with an objectness logit above `threshold`.

        A place is anchor * cells + cell.

        Raises:
            NotFiniteError: an objectness is NaN.
        """
        objectness = self.cells[..., 4]
        if self.quantization is not None and objectness.dtype.kind != "f":
            least = _least_above(threshold, objectness.dtype, self.quantization)
            if least > np.iinfo(objectness.dtype).max:
                return np.empty(0, np.int64)
            return _places(objectness >= objectness.dtype.type(least))
        if objectness.strides[1] != objectness.itemsize or objectness.dtype != np.float32:
            objectness = objectness.astype(
                np.float32, order="C"
            )  # scattered values are fetched once, not twice
        highest = float(objectness.max())
        if math.isnan(highest):  # the maximum of an array with NaN in it is NaN
            raise not_finite(self.name)
        limit = np.float32(threshold)
        return _places(objectness > limit) if highest > limit else np.empty(0, np.int64)

    @property
    def size(self) -> int:
        """Cells of all anchors together."""
        anchors, cells = self.cells.shape[:2]
        return int(anchors * cells)

    def rows(self, places: IndexArray) -> FloatArray:
        """Logits (n, 5 + classes) of some cells; NaN where the network gave that."""
        return self.real(self.cells[np.divmod(places, self.cells.shape[1])])

    def best(self, places: IndexArray) -> tuple[FloatArray, FloatArray]:
        """Objectness and highest class logit (n,) of some cells.

        Raises:
            NotFiniteError: one of them is NaN.
        """
        objectness = self.real(self.cells[..., 4].reshape(-1)[places])
        highest = self.real(self.cells[..., 5:].max(axis=2).reshape(-1)[places])
        if math.isnan(highest.max(initial=-math.inf)):
            raise not_finite(self.name)
        return objectness, highest


@lru_cache(maxsize=64)
def _least_above(threshold: float, kind: np.dtype[Any], quantization: Quantization) -> int:
    """The least integer whose real value is above `threshold`.

    It is beyond the type's largest where none is. Real values are taken as they are rounded, so that comparing
    integers decides as comparing floats does.
    """
    limits = np.iinfo(kind)
    table = quantization.real(np.arange(limits.min, limits.max + 1, dtype=np.int32))
    return int(limits.min) + int(np.searchsorted(table, np.float32(threshold), side="right"))


def grids(maps: Sequence[NDArray[Any]], output: RawMaps) -> list[Grid]:
    """Raw maps of one image, in the order of the contract's names, as grids."""
    found = []
    for index, (name, each) in enumerate(zip(output.names, maps, strict=True)):
        shape = len(output.anchors[index]), 5 + output.classes
        if output.layout == "NCHW":
            width, cells = each.shape[2], each.reshape(*shape, -1).swapaxes(1, 2)
        else:
            width, cells = each.shape[1], each.reshape(-1, *shape).swapaxes(0, 1)
        found.append(Grid(name, cells, width, output.quantization[index] if output.quantization else None))
    return found


def _places(mask: NDArray[np.bool_]) -> IndexArray:
    places: IndexArray = mask.ravel().nonzero()[0]
    return places


def not_finite(name: str) -> NotFiniteError:
    """Error of a map with NaN in it."""
    return NotFiniteError(
        f"raw map {name!r} holds NaN: the network's output is not usable",
        hint="Overflow in half precision or damaged weights are the usual causes: try an fp32 target, "
        "then compare with the weights themselves (edgeyolo val WEIGHTS).",
    )
