"""Scenes from a seed are repeatable, and their boxes are where the objects are."""

from __future__ import annotations

import numpy as np
import pytest

from edgeyolo.datasets.scenes import CLASS_NAMES, make_scene


def test_a_seed_is_a_picture() -> None:
    one, same, other = make_scene(3), make_scene(3), make_scene(4)
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.boxes, same.boxes)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("size", [(480, 640), (96, 64), (333, 501)])
def test_boxes_lie_in_the_picture(size: tuple[int, int]) -> None:
    for seed in range(30):
        scene = make_scene(seed, size)
        assert scene.image.shape == (*size, 3)
        assert scene.image.dtype == np.uint8
        assert len(scene.boxes) == len(scene.class_id)
        if len(scene.boxes):
            sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
            assert (sides >= 4).all()
            assert (scene.boxes >= 0).all()
            assert (scene.boxes <= [size[1], size[0], size[1], size[0]]).all()


def test_all_classes_scales_and_empty_pictures_occur() -> None:
    scenes = [make_scene(seed, (240, 320)) for seed in range(150)]
    kinds = np.concatenate([scene.class_id for scene in scenes])
    assert set(kinds.tolist()) == set(range(len(CLASS_NAMES)))
    areas = np.concatenate([np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1) for scene in scenes])
    assert np.quantile(areas, 0.9) > 20 * np.quantile(areas, 0.1)
    assert any(len(scene.boxes) == 0 for scene in scenes)


def test_a_box_bounds_its_object_to_the_pixel() -> None:
    """Without blur, noise or light, the pixels that an object covers reach exactly to its box."""
    from edgeyolo.datasets import scenes

    rng = np.random.default_rng(0)
    for kind in range(len(CLASS_NAMES)):
        picture, owner = np.zeros((200, 300, 3), np.float32), np.full((200, 300), -1, np.int32)
        points = scenes._outline(kind) * 60.3 + (140.2, 95.7)
        scenes._draw(picture, owner, 0, points.astype(np.float32), rng)
        rows, columns = np.nonzero(owner == 0)
        box = scenes._bounds(points.astype(np.float32), (200, 300))
        covered = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(covered - box).max() <= 1.5
