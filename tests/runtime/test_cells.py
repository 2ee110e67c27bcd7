"""Integer maps and decoding in portions, to the last bit against a plain way that reads everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, Quantization, RawMaps
from edgeyolo.errors import NotFiniteError
from edgeyolo.runtime import decode as decoder
from edgeyolo.runtime.decode import decode, decode_levels, decode_ranked, sigmoid
from edgeyolo.runtime.nms import box_iou
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.postprocess import EVALUATION, Boxes, PostprocessConfig, postprocess
from edgeyolo.runtime.preprocess import Letterbox

Maps = dict[str, NDArray[Any]]
OUTPUT = RawMaps(("a", "b"), (8, 16), (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0))), 4)
SIZE = (48, 64)
SQUARE = Letterbox.fit(SIZE, SIZE)
CONFIGS = st.builds(
    PostprocessConfig,
    conf=st.sampled_from([0.0, 0.001, 0.05, 0.25, 0.7, 1.0]),
    iou=st.sampled_from([0.0, 0.3, 0.65, 1.0]),
    max_det=st.sampled_from([1, 5, 40, 300]),
    multi_label=st.booleans(),
    agnostic=st.booleans(),
    classes=st.sampled_from([None, (0,), (0, 2)]),
    max_candidates=st.sampled_from([3, 50, 30_000]),
)


def scene(seed: int, output: RawMaps, coarse: bool) -> Maps:
    """Random maps of two images; coarse ones have few values, so that confidences are often equal."""
    rng = np.random.default_rng(seed)
    maps = {}
    for name, shape in zip(output.names, output.shapes(2, SIZE), strict=True):
        values = rng.normal(-1, 2.5, shape)
        maps[name] = (np.round(values) if coarse else values).astype(np.float32)
    return maps


def plain(maps: Maps, output: RawMaps, config: PostprocessConfig, image: int) -> Boxes:
    """Every class of every cell, sorted, and suppressed one by one."""
    corners, scores, kinds = [], [], []
    for name, stride, anchors in zip(output.names, output.strides, output.anchors, strict=True):
        level = maps[name][image]
        if output.layout == "NHWC":
            level = level.transpose(2, 0, 1)
        height, width = level.shape[1:]
        rows = (
            level.reshape(len(anchors), 5 + output.classes, -1)
            .transpose(0, 2, 1)
            .reshape(-1, 5 + output.classes)
        )
        rows = np.ascontiguousarray(rows)
        scaled = 2 * sigmoid(rows[:, :4])
        y, x = np.tile(np.indices((height, width), np.float32).reshape(2, -1), len(anchors))
        size = np.repeat(np.array(anchors, np.float32), height * width, axis=0)
        center = (scaled[:, :2] - np.float32(0.5)) * np.float32(stride) + np.stack([x, y], 1) * np.float32(
            stride
        )
        half = np.square(scaled[:, 2:]) * size * np.float32(0.5)
        score = sigmoid(rows[:, 4:5]) * (1 if output.classes == 1 else sigmoid(rows[:, 5:]))
        if not config.multi_label and output.classes > 1:
            best = rows[:, 5:].argmax(axis=1)
            score = np.where(np.arange(output.classes) == best[:, None], score, np.float32(-1))
        corners.append(np.repeat(np.concatenate([center - half, center + half], 1), output.classes, axis=0))
        scores.append(score.ravel())
        kinds.append(np.tile(np.arange(output.classes), len(rows)))
    boxes = Boxes(np.concatenate(corners), np.concatenate(scores), np.concatenate(kinds))
    wanted = boxes.confidence > config.conf
    if config.classes is not None:
        wanted &= np.isin(boxes.class_id, config.classes)
    boxes = boxes[np.flatnonzero(wanted)]
    boxes = boxes[np.argsort(-boxes.confidence, kind="stable")[: config.max_candidates]]
    kept: list[int] = []
    for index in range(len(boxes)):
        others = np.array(
            [o for o in kept if config.agnostic or boxes.class_id[o] == boxes.class_id[index]], int
        )
        overlaps = box_iou(boxes.xyxy[others], boxes.xyxy[index : index + 1])
        if len(kept) < config.max_det and not (overlaps.astype(np.float64) > config.iou).any():
            kept.append(index)
    return boxes[np.array(kept, int)]


def assert_same(found: Boxes, expected: Boxes) -> None:
    """To the last bit, in the same order."""
    assert found.class_id.tolist() == expected.class_id.tolist()
    assert found.confidence.tolist() == expected.confidence.tolist()
    assert found.xyxy.tolist() == expected.xyxy.tolist()


def solid(boxes: Boxes) -> Boxes:
    """As `postprocess` gives them: clipped to the image, without those that lie outside."""
    xyxy = SQUARE.to_original(boxes.xyxy)
    inside = np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(axis=1))
    return replace(boxes, xyxy=xyxy)[inside]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    config=CONFIGS,
    layout=st.sampled_from(["NCHW", "NHWC"]),
    classes=st.sampled_from([1, 4]),
    coarse=st.booleans(),
    portion=st.sampled_from([1, 4, 20, 512]),
)
def test_portions_give_what_reading_everything_gives(
    *, seed: int, config: PostprocessConfig, layout: str, classes: int, coarse: bool, portion: int
) -> None:
    if classes == 1 and config.classes is not None:
        config = replace(config, classes=(0,))
    output = replace(OUTPUT, classes=classes, layout=layout)
    maps = scene(seed, output, coarse)
    with patch.object(decoder, "_PORTION", portion):
        found = postprocess(maps, output, [SQUARE, SQUARE], config)
    for image in (0, 1):
        assert_same(found[image], solid(plain(maps, output, config, image)))


@given(seed=st.integers(0, 2**32), coarse=st.booleans(), most=st.sampled_from([10, 100, 30_000]))
def test_portions_together_are_all_candidates(seed: int, coarse: bool, most: int) -> None:
    config = replace(EVALUATION, max_candidates=most)
    maps = [each[0] for each in scene(seed, OUTPUT, coarse).values()]
    whole = decode_levels(maps, OUTPUT, config)
    with patch.object(decoder, "_PORTION", 8):
        portions = list(decode_ranked(maps, OUTPUT, config))
    assert len(portions) > 1 or len(whole) == most < 20
    lows = [float(each.confidence.min()) for each in portions if len(each)]
    highs = [float(each.confidence.max()) for each in portions if len(each)]
    assert all(low > high for low, high in zip(lows, highs[1:], strict=False)), (
        "equal ones are in one portion"
    )
    joined = portions[0]
    for each in portions[1:]:
        joined = joined.followed_by(each)
    assert sorted(
        zip(joined.confidence.tolist(), joined.class_id.tolist(), joined.xyxy.tolist(), strict=True)
    ) == (sorted(zip(whole.confidence.tolist(), whole.class_id.tolist(), whole.xyxy.tolist(), strict=True)))


def test_no_more_is_decoded_than_suppression_asks_for() -> None:
    maps = scene(0, OUTPUT, coarse=False)
    decoded: list[int] = []
    corners = decoder._corners

    def counting(raw: NDArray[np.float32], frames: NDArray[np.float32]) -> NDArray[np.float32]:
        decoded.append(len(raw))
        return corners(raw, frames)

    with patch.object(decoder, "_corners", counting), patch.object(decoder, "_PORTION", 8):
        postprocess(maps, OUTPUT, [SQUARE], replace(EVALUATION, max_det=3))
    assert sum(decoded) * 10 < len(decode(maps, OUTPUT, EVALUATION))


# --- integers ---


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    config=CONFIGS,
    layout=st.sampled_from(["NCHW", "NHWC"]),
    kind=st.sampled_from(["int8", "uint8", "int16"]),
    scales=st.tuples(st.floats(2**-9, 2.0, width=32), st.floats(2**-9, 2.0, width=32)),
    zeros=st.tuples(st.integers(-140, 140), st.integers(-140, 140)),
    portion=st.sampled_from([4, 512]),
)
def test_integers_give_what_their_real_values_give(
    *,
    seed: int,
    config: PostprocessConfig,
    layout: str,
    kind: str,
    scales: tuple[float, float],
    zeros: tuple[int, int],
    portion: int,
) -> None:
    rng = np.random.default_rng(seed)
    stated = tuple(Quantization(scale, zero) for scale, zero in zip(scales, zeros, strict=True))
    output = replace(OUTPUT, layout=layout, dtype=kind, quantization=stated)
    limits = np.iinfo(kind)
    low, high = max(limits.min, -300), min(limits.max, 300)
    maps = {
        name: rng.integers(low, high, shape, kind, endpoint=True)
        for name, shape in zip(output.names, output.shapes(2, SIZE), strict=True)
    }
    reals = {name: each.real(maps[name]) for name, each in zip(output.names, stated, strict=True)}
    floats = replace(output, dtype="float32", quantization=())
    with patch.object(decoder, "_PORTION", portion):
        found = postprocess(maps, output, [SQUARE, SQUARE], config)
        expected = postprocess(reals, floats, [SQUARE, SQUARE], config)
    for image in (0, 1):
        assert_same(found[image], expected[image])


@pytest.mark.parametrize("conf", [0.25, 0.5, 0.001])
def test_the_integer_at_the_threshold(conf: float) -> None:
    """Integers next to the threshold pass exactly where their confidence is above it."""
    output = RawMaps(
        ("a",), (16,), (((30.0, 30.0),),), 1, dtype="int8", quantization=(Quantization(1 / 64, 5),)
    )
    values = np.zeros((1, 6, 1, 256), np.int8)
    values[0, 4, 0] = np.arange(-128, 128)
    output = replace(output, quantization=(Quantization(1 / 64 if conf == 0.5 else 1 / 16, 5),))
    (found,) = postprocess(
        {"a": values}, output, [Letterbox.fit((16, 4096), (16, 4096))], PostprocessConfig(conf, 1.0, 300)
    )
    logits = output.quantization[0].real(values[0, 4, 0])
    expected = sigmoid(logits)
    assert sorted(found.confidence.tolist()) == sorted(expected[expected > conf].tolist())
    assert 0 < len(found) < 256


class _Integers:
    """A session of a quantized file."""

    def __init__(self, maps: Maps, output: RawMaps) -> None:
        self.maps, self.output = maps, output

    def run(self, batch: NDArray[Any]) -> Maps:
        stated = zip(self.output.names, self.output.quantization, strict=True)
        return {name: each.real(self.maps[name]) for name, each in stated}

    def run_integers(self, batch: NDArray[Any]) -> Maps:
        return self.maps

    def close(self) -> None:
        """Do nothing."""


def test_a_pipeline_leaves_maps_in_integers_and_infers_floats() -> None:
    output = replace(OUTPUT, dtype="int8", quantization=(Quantization(0.05, -3), Quantization(0.04, 7)))
    rng = np.random.default_rng(0)
    shapes = zip(output.names, output.shapes(1, SIZE), strict=True)
    session = _Integers({name: rng.integers(-128, 128, shape, np.int8) for name, shape in shapes}, output)
    pipeline = Pipeline(session, InputContract(*SIZE), output, tuple("abcd"))
    image = np.zeros((*SIZE, 3), np.uint8)
    batch, boxes = pipeline.preprocess([image])
    assert {each.dtype.name for each in pipeline.run(batch).values()} == {"int8"}
    assert {each.dtype.name for each in pipeline.infer(batch).values()} == {"float32"}
    (expected,) = pipeline.postprocess(pipeline.infer(batch), boxes)
    for found in (pipeline([image])[0], pipeline.submit([image]).result()[0]):
        assert len(found) > 0
        assert np.array_equal(found.xyxy, expected.xyxy)
        assert np.array_equal(found.confidence, expected.confidence)


@pytest.mark.parametrize("channel", [2, 4, 6])
def test_nan_is_an_error_in_portions_too(channel: int) -> None:
    maps = scene(0, OUTPUT, coarse=False)
    cells = maps["b"][0].reshape(2, 9, -1)
    cells[1, 4, 3] = cells[1, 7, 3] = 9  # the best candidate
    cells[1, channel, 3] = np.nan
    with patch.object(decoder, "_PORTION", 4), pytest.raises(NotFiniteError, match="'b' holds NaN"):
        postprocess(maps, OUTPUT, [SQUARE], EVALUATION)
