"""A small model to be served, its Detector, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytest.importorskip("starlette", reason="needs the serve extra")
pytest.importorskip("httpx", reason="needs the dev extra (httpx)")

from edgeyolo import Detector
from edgeyolo.datasets.scenes import make_scene


@pytest.fixture(scope="session")
def served(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network for ONNX Runtime, which takes any number of images at once; not to be changed."""
    from edgeyolo.export import ExportOptions, export

    place = tmp_path_factory.mktemp("served") / "small"
    return export(small_weights, "cpu-onnx-fp32", place, ExportOptions(dynamic_batch=True)).path


@pytest.fixture(scope="session")
def detector(served: Path) -> Iterator[Detector]:
    with Detector(served) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """Twelve different JPEG files."""
    return [cv2.imencode(".jpg", make_scene(seed).image)[1].tobytes() for seed in range(12)]
