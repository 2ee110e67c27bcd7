"""Common steps of the tests: pictures in, expected maps, an engine opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from tensorrt_fakes.machine import Machine

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_tensorrt.engine.builder import build_engine
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.run.session import TensorrtSession, open_engine
from edgeyolo_tensorrt.run.stand_in import StandIn

Package = Callable[..., Artifact]
Install = Callable[..., Machine]


def batch_for(artifact: Artifact, images: int = 1, seed: int = 3) -> np.ndarray:
    """Generated pictures as an input array."""
    return preprocess([_picture(seed + index) for index in range(images)], artifact.manifest.input)[0]


def expected(artifact: Artifact, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The maps by ONNX Runtime, without a GPU."""
    manifest = artifact.manifest
    return _stand_in(artifact.file(".onnx"), manifest.input, manifest.output).run(batch)


_picture = cache(lambda seed: make_scene(seed).image)
_stand_in = cache(StandIn)


def opened(artifact: Artifact, **options: object) -> TensorrtSession:
    """A session on the machine's engine, built if need be."""
    chosen = DeviceOptions(**options)  # type: ignore[arg-type]
    engine = build_engine(artifact, chosen)
    return open_engine(engine.path, artifact.manifest.input, artifact.manifest.output, chosen)


def assert_same(have: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """The same maps in the same order, up to float32 rounding."""
    assert list(have) == list(want)
    for name, each in want.items():
        np.testing.assert_allclose(have[name], each, atol=1e-5 * np.abs(each).max())
