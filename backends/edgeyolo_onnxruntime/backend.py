"""The ONNX Runtime backend: compiling is keeping the ONNX file, running is an InferenceSession."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edgeyolo.artifact import Artifact
from edgeyolo.protocols import Availability, Compiled, ExportSource
from edgeyolo.targets import Target, TargetProfile
from edgeyolo_onnxruntime.session import OnnxruntimeSession

OPSET = 18


class OnnxruntimeBackend:
    """Targets `cpu-onnx-*`."""

    name = "onnxruntime"
    profiles = (
        TargetProfile(
            target=Target("cpu", "onnx", "fp32"),
            note="ONNX Runtime on any CPU; the base install runs it",
            parity=1e-4,
            dynamic_batch=True,
            files=("model.onnx",),
            opset=OPSET,
        ),
    )

    def can_compile(self) -> Availability:
        """The ONNX file comes from torch and onnx; the pipeline has already said so where they are missing."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Whether the onnxruntime package is here; looked up without importing it."""
        if find_spec("onnxruntime") is None:
            return Availability(False, "the package onnxruntime is not installed", "pip install onnxruntime")
        try:
            return Availability(True, version=version("onnxruntime"))
        except PackageNotFoundError:  # onnxruntime-gpu, -openvino ... are the same module under another name
            import onnxruntime

            return Availability(True, version=onnxruntime.__version__)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx`."""
        shutil.copyfile(source.onnx(opset=OPSET), into / "model.onnx")
        tools = {"onnxruntime": self.can_run().version}
        return Compiled(("model.onnx",), source.input, source.output, tools)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> OnnxruntimeSession:
        """Load `model.onnx` on the CPU."""
        manifest = artifact.manifest
        return OnnxruntimeSession(artifact.file(".onnx"), manifest.input, manifest.output, threads)
