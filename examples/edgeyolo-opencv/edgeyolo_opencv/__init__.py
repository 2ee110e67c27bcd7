"""A backend of one's own, whole: ONNX files run by OpenCV's own network module, which edgeyolo's base install has.

A backend is one class, and its sessions are of another. Copy this package, and change what is marked.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.errors import EdgeYoloError, FileRefusedError


class OpencvBackend:
    """The runtime: what it makes, whether it can, and how it opens what was made."""

    name = "opencv"  # change: the runtime's name; it goes into the manifest
    profiles = (
        TargetProfile(
            Target("cpu", "opencv", "fp32"), "OpenCV's dnn module", parity=1e-4, files=("net.onnx",)
        ),
    )

    def can_compile(self) -> Availability:
        return Availability(True)

    def can_run(self) -> Availability:  # change: say what is missing and how to install it; nothing heavy
        import cv2

        return Availability(True, version=cv2.__version__)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        # change: call the converter
        shutil.copyfile(source.onnx(opset=18), into / "net.onnx")
        return Compiled(("net.onnx",), source.input, source.output, {"opencv": self.can_run().version})

    def open(self, artifact: Artifact, *, threads: int | None = None) -> OpencvSession:
        return OpencvSession(artifact.file(".onnx"), artifact.manifest.input, artifact.manifest.output)


class OpencvSession:
    """A loaded network; threads may share it."""

    def __init__(self, path: Path, input: InputContract, output: OutputContract) -> None:
        import cv2

        try:
            self._net: Any = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise FileRefusedError(f"OpenCV does not load {path}: {error.err}") from error
        self._input, self._output = input, output
        self._lock = Lock()  # an OpenCV network keeps its input inside, so one thread runs it at a time

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        self._input.check(batch)
        if self._net is None:
            raise EdgeYoloError("the session is closed")
        with self._lock:
            self._net.setInput(batch, self._input.name)
            maps = self._net.forward(list(self._output.names))
        return dict(zip(self._output.names, maps, strict=True))

    def close(self) -> None:
        self._net = None
