"""Pictures in the colour planes of video: luma at full, chroma at half resolution.

Decoders and cameras give planes. Scaling them first and turning the small picture into RGB costs a third of turning the
full picture into BGR and scaling that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import UsageError
from edgeyolo.runtime.scaling import picks_middles, scale

Pixels = NDArray[np.uint8]
Plane = NDArray[np.uint8]
Matrix = Literal["bt601", "bt709"]

# Kr and Kb of ITU-R BT.601 and BT.709: the shares of red and blue in luma.
_SHARES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


@dataclass(frozen=True, eq=False)
class PlanarImage:
    """One picture in planes, upright.

    Attributes:
        luma: (height, width) uint8.
        blue, red: the chroma planes Cb and Cr, (ceil(height / 2), ceil(width / 2)) uint8; views are welcome: of NV12
            they are the two channels of its one chroma plane.
        matrix: colour matrix, "bt601" or "bt709".
        full_range: luma goes from 0 to 255, not from 16 to 235.
        bgr: makes the picture (height, width, 3) uint8 BGR, for whoever asks for pixels.
    """

    luma: Plane
    blue: Plane
    red: Plane
    matrix: Matrix = "bt601"
    full_range: bool = False
    bgr: Callable[[], Pixels] | None = field(default=None, repr=False)
    _pair: Plane | None = field(default=None, repr=False)  # blue and red of NV12, in one

    def __post_init__(self) -> None:
        height, width = self.luma.shape
        half = (height + 1) // 2, (width + 1) // 2
        if self.blue.shape != half or self.red.shape != half:
            raise UsageError(
                f"planes: expected chroma of {half} for luma of {self.luma.shape}, "
                f"got {self.blue.shape} and {self.red.shape}"
            )

    @classmethod
    def of_nv12(cls, luma: Plane, chroma: Plane, **more: Any) -> PlanarImage:
        """Picture of the planes of NV12.

        luma: (height, width); chroma: (height / 2, width / 2, 2), Cb and Cr in turn.
        """
        return cls(luma, chroma[..., 0], chroma[..., 1], _pair=chroma, **more)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the picture as an array of pixels, (height, width, 3)."""
        return (*self.luma.shape, 3)

    def to_bgr(self) -> Pixels:
        """The picture (height, width, 3) uint8 BGR at full size."""
        return self.bgr() if self.bgr is not None else self.scaled(self.luma.shape)

    def scaled(self, size: tuple[int, int], out: Pixels | None = None) -> Pixels:
        """The picture (height, width, 3) uint8 BGR scaled to `size`, (height, width).

        Planes are scaled with bilinear interpolation. Where that picks pixels of luma (`scaling.picks_middles`), each
        takes the chroma that it has in the full picture.

        Its values differ from those of the full picture in BGR, scaled, by the rounding of one conversion in place of
        the other, and, where pixels are not picked, by half a pixel of chroma where colours meet. `out` may be filled.
        """
        planes = cv2.merge([scale(self.luma, size), *self._scaled_chroma(size)])
        return np.asarray(cv2.transform(planes, self._to_bgr_matrix(), dst=out), np.uint8)

    def _scaled_chroma(self, size: tuple[int, int]) -> Sequence[Any]:
        """The blue and the red plane."""
        height, width = self.luma.shape
        picked = picks_middles((height, width), size) and not (height % 2 or width % 2)
        how = cv2.INTER_NEAREST_EXACT if picked else cv2.INTER_LINEAR
        if self._pair is not None:
            return cv2.split(cv2.resize(self._pair, size[::-1], interpolation=how))
        return [cv2.resize(each, size[::-1], interpolation=how) for each in (self.blue, self.red)]

    def _to_bgr_matrix(self) -> NDArray[np.float32]:
        """Matrix (3, 4) from (Y, Cb, Cr, 1) to blue, green and red.

        ITU-R BT.601, 2.5.4; BT.709, 3.5.
        """
        share_red, share_blue = _SHARES[self.matrix]
        share_green = 1 - share_red - share_blue
        luma, chroma, black = (1.0, 1.0, 0.0) if self.full_range else (255 / 219, 255 / 224, 16.0)
        red, blue = 2 * (1 - share_red) * chroma, 2 * (1 - share_blue) * chroma
        green_red, green_blue = -red * share_red / share_green, -blue * share_blue / share_green
        rows = ((luma, blue, 0.0), (luma, green_blue, green_red), (luma, 0.0, red))
        return np.array([(y, cb, cr, -y * black - (cb + cr) * 128) for y, cb, cr in rows], np.float32)
