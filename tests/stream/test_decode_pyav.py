"""Conversion of decoded pictures to BGR."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgeyolo.stream.decode_pyav import _upright

av = pytest.importorskip("av")


def test_pictures_of_several_films_in_turn_are_converted_as_each_by_itself() -> None:
    generator = np.random.default_rng(0)
    kinds = product(
        (1, 5, 2), (0, 1, 2), ("yuv420p", "nv12", "yuv444p", "rgb24", "gray"), ((96, 128), (480, 640))
    )
    for matrix, colour_range, pixels, size in kinds:
        picture = generator.integers(0, 256, (*size, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
        frame.colorspace, frame.color_range = matrix, colour_range
        np.testing.assert_array_equal(_upright(frame), frame.to_ndarray(format="bgr24"))
