"""Pictures in the planes of video: the same colours and boxes as by way of BGR, within what is stated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.errors import UsageError
from edgeyolo.runtime.planes import PlanarImage
from edgeyolo.runtime.preprocess import preprocess

COLORS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "blue": (255, 0, 0), "green": (0, 255, 0), "red": (0, 0, 255),
    "grey": (128, 128, 128), "skin": (120, 160, 220),
}  # fmt: skip


def planes_of(image: NDArray[np.uint8], matrix: str = "bt601", full: bool = False) -> PlanarImage:
    """Planes by the textbook: luma and chroma in float, chroma as means of two by two."""
    red_share, blue_share = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    blue, green, red = np.moveaxis(image.astype(np.float64), 2, 0)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    cb, cr = (blue - luma) / (2 * (1 - blue_share)), (red - luma) / (2 * (1 - red_share))
    height, width = luma.shape
    half = [each.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for each in (cb, cr)]
    if not full:
        luma, half = luma * 219 / 255 + 16, [each * 224 / 255 for each in half]
    arrays = [
        np.clip(np.round(each), 0, 255).astype(np.uint8) for each in (luma, half[0] + 128, half[1] + 128)
    ]
    return PlanarImage(*arrays, matrix=matrix, full_range=full)  # type: ignore[arg-type]


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("color", list(COLORS))
def test_colours_by_the_standards(matrix: str, full: bool, color: str) -> None:
    image = np.full((8, 12, 3), COLORS[color], np.uint8)
    planes = planes_of(image, matrix, full)
    assert planes.shape == (8, 12, 3)
    assert np.abs(planes.to_bgr().astype(int) - image).max() <= 2
    assert np.abs(planes.scaled((4, 6)).astype(int) - image[:4, :6]).max() <= 2


def test_bt601_is_opencvs() -> None:
    image = cv2.GaussianBlur(make_scene(1, (64, 96)).image, (0, 0), 3)
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    planes = PlanarImage(i420[:64], i420[64:80].reshape(32, 48), i420[80:].reshape(32, 48))
    expected = cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420)
    difference = np.abs(planes.to_bgr().astype(int) - expected)  # it does not interpolate chroma
    assert difference.mean() < 2.5
    assert np.percentile(difference, 99) <= 12
    nv12 = PlanarImage.of_nv12(i420[:64], np.stack([planes.blue, planes.red], axis=-1))
    np.testing.assert_array_equal(nv12.to_bgr(), planes.to_bgr())


@pytest.mark.parametrize(("layout", "dtype"), [("NCHW", "float32"), ("NHWC", "uint8"), ("NCHW", "float16")])
def test_prepared_as_by_way_of_bgr(layout: str, dtype: str) -> None:
    image = cv2.GaussianBlur(make_scene(2, (216, 384)).image, (0, 0), 2)
    contract = InputContract(160, 160, layout=layout, dtype=dtype)
    direct, boxes = preprocess([image], contract)
    planar, again = preprocess([planes_of(image)], contract)
    assert boxes == again
    unit = 1.0 if dtype == "uint8" else 1 / 255
    difference = np.abs(direct.astype(np.float64) - planar.astype(np.float64)) / unit
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 8


def test_pixels_are_made_by_whoever_knows_better() -> None:
    image = np.full((4, 4, 3), 7, np.uint8)
    planes = planes_of(image)
    given = PlanarImage(planes.luma, planes.blue, planes.red, bgr=lambda: image)
    assert given.to_bgr() is image


def test_planes_that_do_not_belong_together() -> None:
    with pytest.raises(UsageError, match="chroma"):
        PlanarImage(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8))
    odd = PlanarImage(
        np.zeros((5, 7), np.uint8), np.full((3, 4), 128, np.uint8), np.full((3, 4), 128, np.uint8)
    )
    assert odd.to_bgr().shape == (5, 7, 3)
