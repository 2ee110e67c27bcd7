"""Input arrays that are filled again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inside = tuple[slice, slice]


class InputArray:
    """Memory of a network's input that is kept from one batch to the next.

    It grows and is never given back, so no page is touched anew. It knows where images lie in its rows: padding around
    an image that lies where the last one did is there already. Whoever changes what lies in it, other than the
    `Preprocessor` that it was made by, calls `forget`.
    """

    def __init__(self, dtype: str) -> None:
        self._flat: NDArray[Any] = np.empty(0, dtype)
        self._shape: tuple[int, ...] = ()
        self._inside: dict[int, Inside] = {}

    def rows(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array, of this shape; its first dimension is the batch."""
        count = math.prod(shape)
        if self._flat.size < count:
            self._flat, self._shape = np.empty(count, self._flat.dtype), ()
        if shape[1:] != self._shape:
            self._shape = shape[1:]
            self.forget()
        return self._flat[:count].reshape(shape)

    def is_padded(self, row: int, inside: Inside) -> bool:
        """Tell whether everything but `inside` holds padding.

        `inside` are the rows and columns of the image.
        """
        return self._inside.get(row) == inside

    def padded(self, row: int, inside: Inside) -> None:
        """Note that it does."""
        self._inside[row] = inside

    def forget(self) -> None:
        """Take no padding for granted."""
        self._inside.clear()
