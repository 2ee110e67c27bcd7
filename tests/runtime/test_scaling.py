"""Scaling by picking pixels against bilinear interpolation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.runtime.input_array import InputArray
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.runtime.preprocess import Preprocessor, preprocess
from edgeyolo.runtime.scaling import picks_middles, scale


@given(
    seed=st.integers(0, 2**32),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    times=st.sampled_from([1, 2, 3, 4, 5, 7, 9, 11]),
    channels=st.sampled_from([None, 1, 2, 3]),
)
def test_equal_to_bilinear_interpolation(
    seed: int, size: tuple[int, int], times: int, channels: int | None
) -> None:
    shape = (size[0] * times, size[1] * times, *([channels] if channels else []))
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert picks_middles(image.shape[:2], size) == (times % 2 == 1)
    np.testing.assert_array_equal(scale(image, size).reshape(expected.shape), expected)
    cut = np.pad(image, ((0, 0), (1, 2), *([(0, 0)] if channels else [])))[
        :, 1:-2
    ]  # rows apart, as decoders give
    np.testing.assert_array_equal(scale(cut, size).reshape(expected.shape), expected)


def test_ratios_of_two_axes_and_enlarging_are_left_to_interpolation() -> None:
    assert picks_middles((1080, 1920), (360, 640))
    assert not picks_middles((1080, 1920), (216, 640))
    assert not picks_middles((1082, 1920), (360, 640))
    assert not picks_middles((360, 640), (1080, 1920))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("times", [1, 3, 5])
def test_picked_pixels_have_the_chroma_of_the_full_picture(times: int, interleaved: bool) -> None:
    rng = np.random.default_rng(times)
    height, width = 8 * times, 12 * times
    i420 = rng.integers(60, 180, (height * 3 // 2, width), np.uint8)
    luma = i420[:height]
    blue, red = i420[height:].reshape(2, height // 2, width // 2)
    planes = PlanarImage(luma, blue, red)
    if interleaved:
        planes = PlanarImage.of_nv12(luma, np.stack([blue, red], axis=2))
    full = cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420)
    expected = cv2.resize(full, (12, 8), interpolation=cv2.INTER_LINEAR)
    assert np.abs(planes.scaled((8, 12)).astype(int) - expected).max() <= 2, "but for rounding"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_padding_is_there_whatever_lay_there_before(layout: str, dtype: str) -> None:
    contract = InputContract(32, 32, layout=layout, dtype=dtype, dynamic_batch=True, dynamic_size=True)
    rng = np.random.default_rng(0)
    kept = Preprocessor(contract)
    array = kept.input_array()
    for step in range(40):
        shapes = [(16, 32), (16, 32), (32, 16), (8, 64), (5, 7), (40, 30)]
        count, rows = int(rng.integers(1, 4)), int(rng.integers(3, 5))
        images = [
            rng.integers(0, 256, (*shapes[rng.integers(len(shapes))], 3), np.uint8) for _ in range(count)
        ]
        size = (32, 32) if step % 3 else (64, 32)
        fresh, boxes = Preprocessor(contract)(images, rows=rows, size=size)
        own, own_boxes = kept(images, rows=rows, size=size)
        given, _ = kept(images, rows=rows, size=size, out=array)
        np.testing.assert_array_equal(own, fresh)
        np.testing.assert_array_equal(given, fresh)
        assert boxes == own_boxes


def test_padding_is_written_once() -> None:
    """Seen by what becomes of it when somebody else writes there, which is why they have to say so."""
    contract = InputContract(16, 16, dtype="uint8", layout="NHWC")
    preprocessor = Preprocessor(contract)
    array = preprocessor.input_array()
    wide = np.zeros((8, 16, 3), np.uint8)
    batch, _ = preprocessor([wide], out=array)
    assert (batch[0, :4] == 114).all()
    batch[0, 0, 0] = 7
    assert preprocessor([wide], out=array)[0][0, 0, 0].tolist() == [7, 7, 7]
    array.forget()
    assert preprocessor([wide], out=array)[0][0, 0, 0].tolist() == [114] * 3
    plain = np.full((1, 16, 16, 3), 7, np.uint8)
    assert (preprocessor([wide], out=plain)[0][0, :4] == 114).all(), (
        "of an array of theirs nothing is assumed"
    )
    np.testing.assert_array_equal(plain, preprocess([wide], contract)[0])


def test_memory_grows_and_is_kept() -> None:
    array = InputArray("uint8")
    first = array.rows((2, 4, 4, 3))
    array.padded(1, (slice(0, 1), slice(0, 2)))
    assert array.rows((1, 4, 4, 3)).base is first.base
    assert array.is_padded(1, (slice(0, 1), slice(0, 2))), "of a batch of fewer rows the others stay"
    array.rows((3, 4, 4, 3))
    assert not array.is_padded(1, (slice(0, 1), slice(0, 2))), "new memory holds nothing"
