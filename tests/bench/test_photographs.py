"""The photographs that may be shipped: the model that comes with the package names what is on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.runtime.nms import box_iou

pytest.importorskip("torch")  # the demo's other half

import demo

TRUTH = {"astronaut.jpg": ("person", (0, 0, 430, 512)), "cat.jpg": ("cat", (20, 0, 451, 300))}
"""Name and box (x1, y1, x2, y2) of the object of each, in pixels."""


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_the_builtin_model_finds_the_object_and_names_nothing_wrong(name: str) -> None:
    kind, box = TRUTH[name]
    with Detector() as detector:
        found = list(detector(demo.PHOTOGRAPHS / name))
    assert {each.name for each in found} == {kind}
    overlap = box_iou(np.array([found[0].box], np.float32), np.array([box], np.float32))
    assert float(overlap[0, 0]) > 0.5


def test_each_has_its_licence_beside_it() -> None:
    told = (demo.PHOTOGRAPHS / "README.md").read_text(encoding="utf-8")
    files = sorted(file.name for file in demo.PHOTOGRAPHS.glob("*.jpg"))
    assert files == sorted(TRUTH)
    assert all(f"`{file}`" in told for file in files)


def test_the_demo_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.show_builtin(tmp_path)
    said = capsys.readouterr().out
    assert "cat.jpg: <Detections: 1 cat" in said
    assert "edgeyolo detect 0 --show" in said
    height, width = cv2.imread(str(tmp_path / "photographs.jpg")).shape[:2]
    assert height == demo.HEIGHT
    assert width > 2 * height
