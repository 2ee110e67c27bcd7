"""The letterbox: geometry, pixels, layouts, buffers, and the golden input of the published-style checkpoint."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, Quantization
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import (
    Letterbox,
    Preprocessor,
    fit_long_side,
    letterbox,
    preprocess,
    rectangular_shape,
)

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
inputs = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda each: (each[0] * 32, each[1] * 32))


def random_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# --- geometry ---


@pytest.mark.parametrize(
    ("image_size", "size", "expected"),
    [
        ((480, 640), (256, 256), (0.4, (192, 256), 32, 0)),
        ((1080, 1920), (640, 640), (1 / 3, (360, 640), 140, 0)),
        ((640, 640), (640, 640), (1.0, (640, 640), 0, 0)),
        ((100, 50), (64, 64), (0.64, (64, 32), 0, 16)),
        ((10, 20), (640, 640), (32.0, (320, 640), 160, 0)),  # enlarged
        ((427, 640), (640, 640), (1.0, (427, 640), 106, 0)),  # 213 rows of padding: 106 above, 107 below
        ((640, 427), (640, 640), (1.0, (640, 427), 0, 106)),
        ((1, 3000), (64, 64), (64 / 3000, (1, 64), 31, 0)),  # a line stays a line
        ((3000, 1), (64, 64), (64 / 3000, (64, 1), 0, 31)),
    ],
)
def test_geometry(
    image_size: tuple[int, int], size: tuple[int, int], expected: tuple[float, tuple[int, int], int, int]
) -> None:
    assert Letterbox.fit(image_size, size) == Letterbox(image_size, size, *expected)


@given(sizes, inputs, st.booleans())
def test_the_image_always_fits_and_is_centred(
    image_size: tuple[int, int], size: tuple[int, int], enlarge: bool
) -> None:
    box = Letterbox.fit(image_size, size, enlarge=enlarge)
    for start, length, whole in zip((box.top, box.left), box.resized, size, strict=True):
        after = whole - start - length
        assert length >= 1
        assert 0 <= start <= after <= start + 1, "an odd pixel goes to the end"
    if enlarge:
        assert box.resized[0] == size[0] or box.resized[1] == size[1]
    else:
        assert box.ratio <= 1


@given(sizes, inputs, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_go_there_and_back(
    image_size: tuple[int, int], size: tuple[int, int], corners: list[float]
) -> None:
    height, width = image_size
    box = Letterbox.fit(image_size, size)
    xyxy = np.array([corners], np.float32) * np.array([width, height, width, height], np.float32)
    back = box.to_original(box.to_input(xyxy))
    assert back.dtype == np.float32
    assert np.abs(back - xyxy).max() <= 1e-3 * max(1, 1 / box.ratio)


def test_boxes_are_clipped_to_the_image() -> None:
    box = Letterbox.fit((480, 640), (256, 256))
    back = box.to_original(np.array([[-50, -50, 400, 400], [10, 32, 20, 42]], np.float32))
    assert back.tolist() == [[0, 0, 640, 480], [25, 0, 50, 25]]
    assert box.to_original(np.empty((0, 4), np.float32)).shape == (0, 4)


# --- pixels ---


def test_the_golden_input(shared: Path) -> None:
    data = shared / "data"
    golden = np.load(data / "checkpoints/yolov7-tiny-bccd-256.BloodImage_00007.npz")["input"]
    image = read_image(data / "bccd/JPEGImages/BloodImage_00007.jpg")
    batch, (box,) = preprocess([image], InputContract(256, 256))
    assert batch.shape == golden.shape
    assert batch.dtype == np.float32
    assert np.abs(batch - golden).max() < 1e-6
    assert box == Letterbox((480, 640), (256, 256), 0.4, (192, 256), 32, 0)


def written_out(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The protocol step by step: BGR (height, width, 3)."""
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    width, height = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    dw, dh = (size[1] - width) / 2, (size[0] - height) / 2
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return np.asarray(padded, np.uint8)


IMAGES = [random_image(48, 64), random_image(97, 31, 1), random_image(64, 64, 2), random_image(5, 300, 3)]


@pytest.mark.parametrize("color_order", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_layout_and_type(layout: str, dtype: str, color_order: str) -> None:
    contract = InputContract(64, 96, layout=layout, dtype=dtype, color_order=color_order)
    batch, boxes = preprocess(IMAGES, contract)
    assert batch.shape == contract.shape(len(IMAGES))
    assert batch.dtype == dtype
    assert len(boxes) == len(IMAGES)
    rows = batch.transpose(0, 2, 3, 1) if layout == "NCHW" else batch
    for row, image in zip(rows, IMAGES, strict=True):
        expected = written_out(image, (64, 96))
        expected = expected[..., ::-1] if color_order == "RGB" else expected
        if dtype == "uint8":
            assert np.array_equal(row, expected)
        else:
            tolerance = 1e-6 if dtype == "float32" else 1e-3
            assert np.abs(row.astype(np.float64) - expected / 255).max() < tolerance


@pytest.mark.parametrize(
    ("quantization", "values"),
    [
        (Quantization(1 / 255, -128), [-128, -127, 0, 126, 127]),  # the usual one: pixel - 128
        (Quantization(1 / 255, -127), [-127, -126, 1, 127, 127]),
        (Quantization(2 / 255, -64), [-64, -64, 0, 63, 64]),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_integers_of_an_int8_input(layout: str, quantization: Quantization, values: list[int]) -> None:
    """Pixels 0, 1, 128, 254 and 255; padding is quantized as pixels are."""
    pixels = np.repeat(np.uint8([0, 1, 128, 254, 255])[None, :, None], 3, axis=2)
    contract = InputContract(3, 5, layout=layout, dtype="int8", quantization=quantization)
    (row,), (box,) = preprocess([pixels], contract)
    planes = row if layout == "NCHW" else row.transpose(2, 0, 1)
    assert (box.top, row.dtype) == (1, np.int8)
    assert planes[:, 1].tolist() == [values] * 3
    padding = round(114 / 255 / quantization.scale) + quantization.zero_point
    assert (planes[:, [0, 2]] == padding).all()


def test_letterbox_gives_the_picture_itself() -> None:
    picture, box = letterbox(IMAGES[0], (96, 96))
    assert np.array_equal(picture, written_out(IMAGES[0], (96, 96)))
    assert box == Letterbox.fit((48, 64), (96, 96))
    assert (letterbox(IMAGES[0], (96, 96), 0)[0][0] == 0).all()


def test_without_enlargement_a_small_image_keeps_its_pixels() -> None:
    picture, box = letterbox(IMAGES[0], (96, 96), enlarge=False)
    assert box.ratio == 1
    assert np.array_equal(picture[24:72, 16:80], IMAGES[0])


def test_crops_and_flips_of_an_array_are_taken() -> None:
    image = random_image(80, 90)
    for view in (image[10:70, 20:80], image[:, ::-1], image[::2]):
        batch, _ = preprocess([view], InputContract(64, 64))
        assert np.array_equal(batch, preprocess([view.copy()], InputContract(64, 64))[0])


# --- batches and buffers ---


def test_further_rows_are_padding() -> None:
    preprocessor = Preprocessor(InputContract(64, 64))
    preprocessor([random_image(64, 64, seed) for seed in range(4)])
    batch, boxes = preprocessor(IMAGES[:1], rows=4)
    assert batch.shape == (4, 3, 64, 64)
    assert len(boxes) == 1
    assert np.allclose(batch[1:], 114 / 255), "nothing of the batch before is left"
    assert preprocessor([], rows=2)[0].shape == (2, 3, 64, 64)
    assert preprocessor(IMAGES[:2], rows=2)[0].shape == (2, 3, 64, 64)


def test_buffers_are_reused_and_out_is_filled() -> None:
    preprocessor = Preprocessor(InputContract(64, 64))
    first, _ = preprocessor(IMAGES[:1])
    kept = first.copy()
    second, _ = preprocessor(IMAGES[1:2])
    assert np.shares_memory(first, second)
    box = Letterbox.fit((97, 31), (64, 64))
    assert np.shares_memory(
        preprocessor._scaled(IMAGES[1], box), preprocessor._scaled(IMAGES[1][::-1].copy(), box)
    ), "the scaled picture is written where the one before was"
    mine = np.empty((1, 3, 64, 64), np.float32)
    batch, _ = preprocessor(IMAGES[:1], out=mine)
    assert batch is mine
    assert np.array_equal(mine, kept)
    one, _ = preprocess(IMAGES[:1], InputContract(64, 64))
    other, _ = preprocess(IMAGES[:1], InputContract(64, 64))
    assert not np.shares_memory(one, other)


def test_many_threads_share_a_preprocessor() -> None:
    preprocessor = Preprocessor(InputContract(160, 160))
    images = [random_image(100 + 7 * seed, 300 - 11 * seed, seed) for seed in range(8)]
    expected = [preprocess([image], preprocessor.contract)[0] for image in images]

    def work(index: int) -> bool:
        return all(np.array_equal(preprocessor([images[index]])[0], expected[index]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_another_size_where_the_contract_leaves_it_open() -> None:
    batch, boxes = preprocess(IMAGES[:2], InputContract(64, 64, dynamic_size=True), size=(96, 32))
    assert batch.shape == (2, 3, 96, 32)
    assert boxes[0].size == (96, 32)
    with pytest.raises(UsageError, match=r"takes \(64, 64\)"):
        preprocess(IMAGES[:2], InputContract(64, 64), size=(96, 32))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), "got uint8"),
        (np.zeros((8, 8, 3), np.float32), "got float32"),
        (np.zeros((8, 0, 3), np.uint8), "no pixels"),
        ("photo.jpg", "got str"),
    ],
)
def test_images_must_be_bgr_pixels(image: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess([image], InputContract(64, 64))


def test_contracts_and_buffers_that_do_not_fit_are_refused() -> None:
    for changes in ({"layout": "CHW"}, {"dtype": "float64"}, {"color_order": "GRAY"}):
        with pytest.raises(UsageError, match="input contract"):
            Preprocessor(InputContract(64, 64, **changes))
    with pytest.raises(DamagedFileError, match="int8 without its scale and zero point"):
        Preprocessor(InputContract(64, 64, dtype="int8"))
    with pytest.raises(UsageError, match="do not fit"):
        Preprocessor(InputContract(64, 64))(IMAGES, rows=2)
    with pytest.raises(UsageError, match="out: expected float32"):
        Preprocessor(InputContract(64, 64))(IMAGES[:1], out=np.empty((1, 3, 64, 64), np.uint8))


# --- rectangular evaluation ---


def test_fit_long_side() -> None:
    image = random_image(480, 640)
    small, ratio = fit_long_side(image, 320)
    assert (small.shape, ratio) == ((240, 320, 3), 0.5)
    assert np.array_equal(small, cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA))
    large, ratio = fit_long_side(image, 1280)
    assert (large.shape, ratio) == ((960, 1280, 3), 2.0)
    assert np.array_equal(large, cv2.resize(image, (1280, 960), interpolation=cv2.INTER_LINEAR))
    assert fit_long_side(image, 640)[0] is image
    assert fit_long_side(image, 640)[1] == 1


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1)])
def test_a_line_scaled_by_its_long_side_stays_a_line(shape: tuple[int, int]) -> None:
    scaled, ratio = fit_long_side(random_image(*shape), 300)
    assert (scaled.shape, ratio) == ((min(300, shape[0]), min(300, shape[1]), 3), 0.1)


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([32, 256, 640]))
def test_the_long_side_has_exactly_the_size(height: int, width: int, size: int) -> None:
    scaled, ratio = fit_long_side(np.zeros((height, width, 3), np.uint8), size)
    assert max(scaled.shape[:2]) == size
    assert min(scaled.shape[:2]) >= 1
    assert ratio == pytest.approx(size / max(height, width))


@pytest.mark.parametrize(
    ("aspects", "shape"),
    [
        ([0.75], (512, 672)),  # ceil(0.75 * 20 + 0.5) = 16
        ([0.5, 0.75], (512, 672)),  # the least wide decides
        ([1.5, 2.0], (672, 448)),  # ceil(20 / 1.5 + 0.5) = 14
        ([0.5, 2.0], (672, 672)),
        ([1.0], (672, 672)),
    ],
)
def test_rectangular_shape(aspects: list[float], shape: tuple[int, int]) -> None:
    assert rectangular_shape(aspects, 640, 32) == shape


def test_two_steps_back_to_the_original() -> None:
    """Rectangular evaluation scales first and letterboxes then; boxes come back through both."""
    image = random_image(480, 640)
    scaled, ratio = fit_long_side(image, 256)
    shape = rectangular_shape([480 / 640], 256, 32)
    assert shape == (224, 288)
    box = Letterbox.fit((scaled.shape[0], scaled.shape[1]), shape, enlarge=False)
    whole = box.of_original((480, 640), ratio)
    assert whole.to_original(np.array([[16, 16, 272, 208]])).tolist() == [[0, 0, 640, 480]]
