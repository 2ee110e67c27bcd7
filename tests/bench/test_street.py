"""The drawn street: the same each time, and the model that comes with the package finds what is on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.runtime.nms import box_iou

pytest.importorskip("torch")  # the demo's other half

import demo
from street import HEIGHT, WIDTH, make_street


def test_the_builtin_model_finds_the_objects_and_names_nothing_wrong() -> None:
    street = make_street()
    assert street.image.shape == (HEIGHT, WIDTH, 3)
    with Detector() as detector:
        found = detector(street.image)
    right = set()
    for each in found:
        truth = np.array([street.boxes.get(each.name, (0, 0, 1, 1))], np.float32)
        overlap = float(box_iou(np.array([each.box], np.float32), truth)[0, 0])
        assert overlap > 0.5, each
        right.add(each.name)
    assert len(right) >= 3  # of a car, a bus, a person and a bicycle


def test_the_same_picture_each_time() -> None:
    assert np.array_equal(make_street(1).image, make_street(1).image)
    assert not np.array_equal(make_street(1).image, make_street(2).image)


def test_the_demo_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.show_builtin(tmp_path)
    said = capsys.readouterr().out
    assert "car" in said
    assert "edgeyolo detect 0 --show" in said
    assert (tmp_path / "street.png").stat().st_size != (tmp_path / "street-detections.png").stat().st_size
