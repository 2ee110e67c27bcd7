"""Boxes and outlines follow the pixels: rectangles are drawn, moved, and looked for in the result."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.runtime.encoded_image import fitting_part, scale_down
from edgeyolo.training.data.augment import Augmenter, Picture, albumentations_hook, load_albumentations
from edgeyolo.training.data.augment.drawing import Canvas, Tile, draw, letterboxed, scaled_tile
from edgeyolo.training.data.augment.geometry import (
    flip_left_right,
    flip_up_down,
    moved,
    random_matrix,
    scale_to,
)
from edgeyolo.training.data.augment.mixing import copy_paste, mixup, paste_in
from edgeyolo.training.data.augment.mosaic import mosaic_of_four, mosaic_of_nine
from edgeyolo.training.data.augment.picture import PAD_VALUE, clip_outline, cut
from edgeyolo.training.data.augment.pipeline import change_hsv
from edgeyolo.training.recipe import P5, Recipe

QUIET = replace(P5, hsv_h=0, hsv_s=0, hsv_v=0, mixup=0, paste_in=0)
seeds = st.integers(0, 2**32)


def drawn(rng: np.random.Generator, *, number: int = 1, outlined: bool = False, low: int = 12) -> Picture:
    """A black picture of random size with one bright rectangle; its class is its number, its shade tells it
    too.
    """
    height, width = (int(side) for side in rng.integers(40, 200, 2))
    w, h = (int(rng.integers(low, side // 2)) for side in (width, height))
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + h, x : x + w] = 255
    box = np.array([[x, y, x + w, y + h]], np.float32)
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)
    return Picture(image, box, np.array([number]), ((corners,),) if outlined else ())


class Drawer(list[Picture]):
    """Pictures in memory, given at half their scale where no more is wanted, as files are."""

    def __init__(self, pictures: Sequence[Picture], shown: list[int] | None = None) -> None:
        super().__init__(pictures)
        self.shown: list[int] = [] if shown is None else shown

    def size_of(self, index: int) -> tuple[int, int]:
        return self[index].size

    def load(self, index: int, wanted: tuple[int, int]) -> Picture:
        self.shown.append(index)
        picture = self[index]
        part = fitting_part(picture.size, wanted)
        return moved(picture, np.full(2, 1 / part), np.zeros(2)).with_image(scale_down(picture.image, part))


def seen_through(picture: Picture, matrix: np.ndarray, size: tuple[int, int]) -> Picture:
    return draw(Canvas(picture.size, (Tile(0, 0, 0, picture.size),)), Drawer([picture]), matrix, size)


def letterbox(picture: Picture, size: tuple[int, int]) -> Picture:
    return draw(letterboxed(0, picture.size, size), Drawer([picture]), np.eye(3), size)


def edges(picture: Picture) -> np.ndarray:
    return np.array([0, 0, *picture.size[::-1]], np.float32)


def seen(image: Any) -> np.ndarray:
    """Bounds of what is brighter than halfway between grey and white, to a fraction of a pixel by its
    shade.
    """
    light = np.clip(image[..., 0].astype(float) - 128, 0, 127) / 127
    rows, columns = light.max(1), light.max(0)
    x, y = np.flatnonzero(columns > 0.1), np.flatnonzero(rows > 0.1)
    return np.array([x[0], y[0], x[-1] + 1, y[-1] + 1], float)


def assert_follows(picture: Picture, tolerance: float = 1.0) -> None:
    for box in picture.boxes:
        np.testing.assert_allclose(box, seen(picture.image), atol=tolerance)
    for outline in picture.outlines:
        if outline:
            points = np.concatenate(outline)
            np.testing.assert_allclose(np.r_[points.min(0), points.max(0)], picture.boxes[0], atol=1e-3)


@settings(max_examples=60)
@given(seeds, st.booleans())
def test_exact_moves(seed: int, outlined: bool) -> None:
    picture = drawn(np.random.default_rng(seed), outlined=outlined)
    for flipped in (flip_left_right(picture), flip_up_down(picture)):
        assert_follows(flipped, 0)
    back = flip_left_right(flip_left_right(picture))
    assert np.array_equal(back.image, picture.image)
    assert np.array_equal(back.boxes, picture.boxes)
    for scaled in (scale_to(picture, 160), letterbox(picture, (128, 160)), letterbox(picture, (64, 64))):
        assert_follows(scaled)


@settings(max_examples=100)
@example(528695, True, "turned")
@given(seeds, st.booleans(), st.sampled_from(["plain", "turned", "perspective"]))
def test_warps(seed: int, outlined: bool, kind: str) -> None:
    rng = np.random.default_rng(seed)
    picture = drawn(rng, outlined=outlined)
    recipe = replace(P5, scale=0.5)
    if kind != "plain":
        recipe = replace(recipe, degrees=45, shear=10)
    if kind == "perspective":
        recipe = replace(recipe, perspective=0.001)
    result = seen_through(picture, random_matrix(rng, recipe, picture.size, (150, 150)), (150, 150))
    if len(result) and (outlined or kind == "plain" or _whole(result)):
        # A corner of a turned rectangle covers its last pixel by less than can be seen; one that the border cuts is
        # sharper still.
        assert_follows(result, 1.0 if kind == "plain" else 2.0 if _whole(result) else 4.0)


def _whole(picture: Picture) -> bool:
    """Return True if no object touches the border: there a turned box has wider bounds than what is left of it."""
    height, width = picture.size
    box = picture.boxes[0]
    return bool((box[:2] > 0).all() and box[2] < width and box[3] < height)


@settings(max_examples=60)
@given(seeds, st.booleans())
def test_mosaics(seed: int, nine: bool) -> None:
    rng = np.random.default_rng(seed)
    pictures = [drawn(rng, number=0)]
    for number in range(1, 9 if nine else 4):
        dark = drawn(rng, number=number)
        pictures.append(Picture(np.zeros_like(dark.image), dark.boxes, dark.class_id))
    tiles = [scaled_tile(index, picture.size, 96) for index, picture in enumerate(pictures)]
    canvas = (mosaic_of_nine if nine else mosaic_of_four)(tiles, 96, rng)
    made = draw(canvas, Drawer(pictures), np.eye(3), canvas.size)
    assert made.size == (192, 192)
    mine = made.choose(np.flatnonzero(made.class_id == 0))
    if len(mine):
        assert_follows(mine)
    assert (made.boxes >= 0).all() and (made.boxes <= 192).all()


@settings(max_examples=40)
@given(seeds)
def test_whole_pipeline_follows_the_one_bright_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [drawn(rng, number=0, outlined=True)]
    for number in range(1, 12):
        other = drawn(rng, number=number)
        pictures.append(Picture(np.zeros_like(other.image), other.boxes, other.class_id))
    dark = Picture(np.zeros_like(pictures[0].image), pictures[0].boxes, np.array([1]))

    class Once(Drawer):
        """The bright picture once, the dark ones any number of times."""

        def load(self, index: int, wanted: tuple[int, int]) -> Picture:
            made = super().load(index, wanted)
            if index == 0:
                self[0] = dark
            return made

    augment = Augmenter(replace(QUIET, scale=0.4, flipud=0.5, mosaic=0.7), 96, Once(pictures))
    made = augment(0, rng)
    assert made.size == (96, 96)
    mine = made.choose(np.flatnonzero(made.class_id == 0))
    if len(mine):
        assert_follows(mine, 1.5)


def test_what_is_not_seen_is_not_loaded() -> None:
    pictures = Drawer([drawn(np.random.default_rng(seed)) for seed in range(4)])
    side = 96
    tiles = tuple(Tile(i, side * (i % 2), side * (i // 2), (side, side)) for i in range(4))
    only_last = np.array([[2.0, 0, -2 * side], [0, 2.0, -2 * side], [0, 0, 1]])
    draw(Canvas((2 * side, 2 * side), tiles), pictures, only_last, (side, side))
    assert pictures.shown == [3]


@pytest.mark.parametrize("turn", [0.0, 1e-9])
def test_tiles_side_by_side_leave_nothing_between_them(turn: float) -> None:
    white = Picture(np.full((50, 50, 3), 255, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    tiles = tuple(Tile(0, 50 * (i % 2), 50 * (i // 2), (50, 50)) for i in range(4))
    view = np.array([[0.77, turn, 0.3], [0, 0.77, 0.1], [0, 0, 1]])
    made = draw(Canvas((100, 100), tiles), Drawer([white]), view, (70, 70))
    assert (made.image == 255).all()


def test_a_turned_view_of_nearly_no_turn_is_the_upright_one(rng: np.random.Generator) -> None:
    picture = Picture(
        cv2.GaussianBlur(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8), (7, 7), 0),
        np.array([[10, 10, 50, 60]], np.float32),
        np.array([0]),
    )
    upright = np.array([[0.8, 0, 7.3], [0, 0.7, -4.6], [0, 0, 1]])
    turned = upright + np.array([[0, 1e-7, 0], [0, 0, 0], [0, 0, 0]])
    one, other = (seen_through(picture, matrix, (80, 80)) for matrix in (upright, turned))
    assert np.abs(one.image.astype(int) - other.image).max() <= 4
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_too_small_a_rest_is_left_out() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    boxes = np.array([[-40, 0, 4, 20], [-9, 0, 10, 10], [10, 10, 11.5, 40], [-5, -5, 60, 60]], np.float32)
    kept = cut(Picture(image, boxes, np.arange(4)), np.array([0, 0, 50, 50], np.float32))
    assert kept.class_id.tolist() == [1, 3]
    assert kept.boxes.tolist() == [[0, 0, 10, 10], [0, 0, 50, 50]]


def test_outline_makes_the_box_tighter_when_cut() -> None:
    diamond = np.array([[0, -10], [10, 0], [0, 10], [-10, 0]], np.float32) + np.float32([0, 20])
    picture = Picture(
        np.zeros((40, 40, 3), np.uint8), np.array([[-10, 10, 10, 30]], np.float32), np.array([0])
    )
    outlined = replace(picture, outlines=((diamond.astype(np.float32),),))
    assert cut(outlined, edges(outlined)).boxes[0].tolist() == [0, 10, 10, 30]
    shifted = replace(
        outlined, outlines=((diamond.astype(np.float32) - [5, 0],),), boxes=picture.boxes - [5, 0, 5, 0]
    )
    assert cut(shifted, edges(shifted)).boxes[0].tolist() == [0, 15, 5, 25]
    assert clip_outline((diamond.astype(np.float32) - 100,), edges(picture)) == ()


@settings(max_examples=30)
@given(seeds, st.booleans())
def test_paste_in(seed: int, outlined: bool) -> None:
    rng = np.random.default_rng(seed)
    black = Picture(np.zeros((220, 220, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    made = paste_in(black, [drawn(rng, number=3, outlined=outlined)], 1, rng)
    assert made.class_id.tolist() in ([], [3])
    assert black.image.max() == 0
    if len(made):
        assert_follows(made, 0)


def test_pasted_objects_hide_little() -> None:
    full = Picture(
        np.zeros((60, 60, 3), np.uint8),
        np.array([[0, 0, 60, 60], [20, 20, 40, 40]], np.float32),
        np.array([0, 1]),
    )
    big = Picture(np.full((60, 60, 3), 255, np.uint8), np.array([[0, 0, 59, 59]], np.float32), np.array([2]))
    assert all(len(paste_in(full, [big], 30, np.random.default_rng(seed))) == 2 for seed in range(5))


def test_copy_paste_mirrors_outlined_objects(rng: np.random.Generator) -> None:
    picture = Picture(
        np.zeros((60, 100, 3), np.uint8), np.array([[10, 10, 30, 30]], np.float32), np.array([4])
    )
    picture.image[10:30, 10:30] = 200
    assert len(copy_paste(picture, 1.0, rng)) == 1  # no outline, no copy
    corners = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], np.float32)
    made = copy_paste(replace(picture, outlines=((corners,),)), 1.0, rng)
    assert made.boxes[1].tolist() == [70, 10, 90, 30]
    assert (made.image[10:30, 70:90] == 200).all() and made.image[9, 70:90].max() == 0


def test_mixup_and_hsv(rng: np.random.Generator) -> None:
    one, other = (letterbox(drawn(rng, number=i), (96, 96)) for i in range(2))
    made = mixup(one, other, 8.0, rng)
    assert made.class_id.tolist() == [0, 1]
    assert np.abs(made.image.astype(int) - (one.image.astype(int) + other.image) // 2).max() < 100
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    still = change_hsv(image, 0, 0, 0, rng)
    assert np.abs(still.astype(int) - image).max() <= 6  # OpenCV's HSV keeps hue in steps of two degrees
    changed = change_hsv(image, 0.015, 0.7, 0.4, rng)
    assert np.abs(changed.astype(int) - image).mean() > 3


def test_same_generator_same_picture(rng: np.random.Generator) -> None:
    pictures = [drawn(rng, number=i, outlined=i % 2 == 0) for i in range(10)]
    recipe = Recipe(copy_paste=0.5, mixup=0.5, paste_in=0.5)
    augment = Augmenter(recipe, 96, Drawer(pictures))
    first, again, other = (augment(3, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)


def test_grey_around(rng: np.random.Generator) -> None:
    made = letterbox(drawn(rng), (300, 300))
    assert (made.image[0, 0] == PAD_VALUE).all() or (made.image[-1, -1] == PAD_VALUE).all()


class _FakePipeline:
    """Stand-in for an albumentations.Compose that mirrors."""

    seed: int | None = None

    def set_random_seed(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, image: Any, bboxes: Any, class_id: Any) -> dict[str, Any]:
        boxes = [(image.shape[1] - box[2], box[1], image.shape[1] - box[0], box[3]) for box in bboxes]
        return {"image": cv2.flip(image, 1), "bboxes": boxes, "class_id": list(class_id)}


def test_albumentations_hook(rng: np.random.Generator) -> None:
    pipeline = _FakePipeline()
    picture = drawn(rng)
    made = albumentations_hook(pipeline)(picture, rng)
    assert pipeline.seed is not None
    assert np.array_equal(made.image, flip_left_right(picture).image)
    assert made.boxes.dtype == np.float32
    assert_follows(made, 0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Reader:
    """Stand-in for the package albumentations, of which `load_albumentations` reads one file."""

    __version__ = "0"

    def __init__(self, transform: object) -> None:
        self.transform = transform

    def load(self, path: str, data_format: str) -> object:
        if Path(path).read_text() != data_format:
            raise KeyError("transform")
        return self.transform


def with_boxes(form: str, label_fields: list[str]) -> object:
    transform: Any = _FakePipeline()
    params = SimpleNamespace(format=form, label_fields=label_fields)
    transform.processors = {"bboxes": SimpleNamespace(params=params)}
    return transform


def test_a_pipeline_from_a_file(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "yaml"):
        (tmp_path / f"p.{name}").write_text(name)
    monkeypatch.setitem(sys.modules, "albumentations", Reader(with_boxes("pascal_voc", ["class_id"])))
    picture = drawn(rng)
    for name in ("json", "yaml"):
        made = load_albumentations(tmp_path / f"p.{name}")(picture, rng)
        assert np.array_equal(made.image, flip_left_right(picture).image)


def test_pipelines_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "p.json"
    file.write_text("nonsense")
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(RuntimeMissingError, match="not installed"):
        load_albumentations(file)
    monkeypatch.setitem(sys.modules, "albumentations", Reader(_FakePipeline()))
    with pytest.raises(UsageError, match="not a pipeline that albumentations 0 reads"):
        load_albumentations(file)
    file.write_text("json")
    for transform in (_FakePipeline(), with_boxes("coco", ["class_id"]), with_boxes("pascal_voc", ["label"])):
        monkeypatch.setitem(sys.modules, "albumentations", Reader(transform))
        with pytest.raises(UsageError, match="would not follow the picture"):
            load_albumentations(file)
