"""Apple's half of coremltools, for machines that have none.

`coremltools.models.MLModel` is the real one: it reads the package, checks the arguments of `predict` and hands them
to `libcoremlpython._MLModelProxy`, which exists on macOS only. This is that proxy, with the checks that
CoreMLPython.mm and the framework make and their kinds of errors; what it computes comes from the MIL interpreter.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeyolo_coreml.interpreter import Interpreter
from edgeyolo_coreml.package import read
from edgeyolo_coreml.suppressed import suppress

UNITS = {"ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"}


class FakeProxy:
    """A compiled and loaded model."""

    newest = 9  # the specification version of this "system"
    loaded: list[FakeProxy]  # set by `install`

    @classmethod
    def maximum_supported_specification_version(cls) -> int:
        return cls.newest

    def __init__(self, filename: str, units: str, function: str, hints: dict[str, str], asset: Any) -> None:
        assert isinstance(filename, str)
        assert units in UNITS
        assert (function, hints, asset) == ("", {}, None)
        try:
            self.spec, program = read(Path(filename))
            self.interpreter = Interpreter(program)
        except Exception as error:
            raise RuntimeError(f'Error compiling model: "{error}".') from error
        self.units, self.batches = units, []
        self._busy = threading.Lock()
        # Core ML may give the memory of one prediction to the next one.
        self._memory: dict[str, np.ndarray] = {}
        type(self).loaded.append(self)

    def predict(self, features: Any, state: Any) -> dict[str, np.ndarray]:
        assert state is None
        return self._one(features)

    def batchPredict(self, features: Any) -> list[dict[str, np.ndarray]]:  # noqa: N802 - the name in coremltools
        assert isinstance(features, list)
        return [{name: each.copy() for name, each in self._one(item).items()} for item in features]

    def _one(self, features: Any) -> dict[str, np.ndarray]:
        assert self._busy.acquire(blocking=False), "a Core ML model was used by two threads at a time"
        try:
            self.batches.append(features)
            needed = [item for item in self.spec.description.input if not item.type.isOptional]
            maps = self.interpreter.run({item.name: self._feature(item, features) for item in needed})
            if (
                models := self.spec.pipeline.models
            ):  # as many rows as there are detections: never the same memory
                return suppress(models[1], maps)
            for name, each in maps.items():
                self._memory.setdefault(name, np.empty_like(each))[...] = each
            return dict(self._memory)
        finally:
            self._busy.release()

    def _feature(self, description: Any, features: dict[str, Any]) -> np.ndarray:
        """Convert as `convertValueToImage` does, and check the image constraint as the framework does."""
        if description.name not in features:
            raise RuntimeError(f"Feature {description.name} is required but not specified.")
        picture = features[description.name]
        kind = description.type.imageType
        if not isinstance(picture, Image.Image) or picture.mode != "RGB":
            raise RuntimeError("value type not convertible")
        if picture.size != (kind.width, kind.height):
            raise RuntimeError(
                f"Input image feature {description.name} does not match model description: "
                f"Image size {picture.width} x {picture.height} not in allowed set of image sizes"
            )
        pixels = np.frombuffer(picture.tobytes(), np.uint8).reshape(kind.height, kind.width, 3)
        return pixels.transpose(2, 0, 1)[None].astype(np.float32)


def install(patch: pytest.MonkeyPatch, *, macos: str = "14.5") -> list[FakeProxy]:
    """Make this machine look like a Mac to `edgeyolo_coreml`; returns the list of models that get loaded."""
    import coremltools.models.model as module

    FakeProxy.loaded = []
    patch.setattr(module, "_MLModelProxy", FakeProxy)
    patch.setattr("platform.mac_ver", lambda: (macos, ("", "", ""), "arm64"))
    return FakeProxy.loaded
