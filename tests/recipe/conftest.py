"""Artifacts that recipes are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend import registry
from edgeyolo.detector import builtin
from edgeyolo.runtime.postprocess import DISPLAY


@pytest.fixture(scope="session")
def plain() -> Artifact:
    """The artifact that comes with the package: ONNX Runtime, one float picture, raw maps, twenty classes."""
    return Artifact.open(builtin.artifact_path())


@pytest.fixture(scope="session")
def exported(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """The small network for a target; `graph` suppresses in the graph, `pixels` takes uint8, `dynamic` any batch."""
    from edgeyolo.export import ExportOptions, export

    @cache
    def artifact(
        target: str, *, graph: bool = False, pixels: bool = False, dynamic: bool = False
    ) -> Artifact:
        _, backend = registry.find_target(target)
        if not (ready := backend.can_compile()).ok:
            pytest.skip(f"{target}: {ready.reason}")
        options = ExportOptions(
            nms=replace(DISPLAY, conf=0.001) if graph else None,
            input="uint8" if pixels else "float",
            dynamic_batch=dynamic,
        )
        place = tmp_path_factory.mktemp("recipe") / target
        return export(small_weights, target, place, options)

    return artifact


@pytest.fixture(scope="session")
def farthest() -> Callable[[NDArray[np.float32], NDArray[np.float32]], float]:
    """The largest distance of a row to the nearest of the other side, both ways; rows may stand in any order."""

    def distance(rows: NDArray[np.float32], others: NDArray[np.float32]) -> float:
        apart = np.abs(rows[:, None] - others[None]).max(axis=2)
        return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))

    return distance
