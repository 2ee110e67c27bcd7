"""The ONNX Runtime backend.

Compiling is keeping the ONNX file, or putting quantizers into it; running is an InferenceSession.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Hint, Port
from edgeyolo.backend.registry import require
from edgeyolo.support.installed import version
from edgeyolo_onnxruntime.session import OnnxruntimeSession

if TYPE_CHECKING:
    import onnx

    from edgeyolo.backend.profile import TargetProfile


class OnnxruntimeBackend:
    """Targets `cpu-onnx-*`."""

    name = "onnxruntime"
    package = "onnxruntime"
    hint: Hint = "latency"
    adopts: Mapping[str, Target] = {".onnx": Target("cpu", "onnx", "fp32")}

    @cached_property
    def profiles(self) -> tuple[TargetProfile, ...]:
        """In float32, with weights in float16, in integers."""
        from edgeyolo_onnxruntime.profiles import FP16, FP32, INT8

        return FP32, FP16, INT8

    def can_compile(self) -> Availability:
        """Availability of compilation, which takes no more than running.

        The ONNX file comes from torch and onnx; the export has already said so where they are missing.
        """
        return self.can_run()

    def can_run(self) -> Availability:
        """Availability of the onnxruntime package, without importing it."""
        if find_spec("onnxruntime") is None:
            return Availability(False, "the package onnxruntime is not installed", "pip install onnxruntime")
        try:
            return Availability(True, version=version("onnxruntime"))
        except ImportError:  # onnxruntime-gpu, -openvino ... are the same module under another name
            import onnxruntime

            return Availability(True, version=onnxruntime.__version__)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx`.

        For INT8 it has quantizers whose ranges are in `calibration.json`.
        """
        from shutil import copyfile

        from edgeyolo.export.for_backends import edge_contracts
        from edgeyolo_onnxruntime.profiles import MODEL, OPSET, RECORD

        tools = {"onnxruntime": self.can_run().version}
        exported, files = source.onnx(opset=OPSET), [MODEL]
        if target.precision == "int8":
            files.append(RECORD)
            tools["onnx"] = version("onnx")
        if target.precision == "fp32" and not (source.pixels or source.detections):
            copyfile(exported, into / MODEL)
        else:
            model = _changed(exported, source, target, into)
            (into / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        return Compiled(tuple(files), *edge_contracts(source), tools)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> OnnxruntimeSession:
        """Load `model.onnx` on the CPU."""
        manifest, file = artifact.manifest, artifact.file(".onnx")
        if self.hint == "throughput":
            from edgeyolo_onnxruntime.throughput import ThroughputSession

            return ThroughputSession(file, manifest.input, manifest.output, threads)
        return OnnxruntimeSession(file, manifest.input, manifest.output, threads, spin=self.hint == "latency")

    def tuned(self, hint: Hint) -> OnnxruntimeBackend:
        """Sessions for many images at once, or for callers that share the processor."""
        found = copy(self)
        found.hint = hint
        return found

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of an ONNX file."""
        from edgeyolo_onnxruntime import foreign

        require(self.can_run(), f"looking into {file}")
        return foreign.ports(file)

    def metadata(self, file: Path) -> Mapping[str, str]:
        """Notes of the exporter in an ONNX file, by key."""
        from edgeyolo_onnxruntime import foreign

        return foreign.metadata(file)

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The file, and the weights that some exporters write beside it."""
        from edgeyolo_onnxruntime import foreign

        return foreign.parts(file)

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.onnx`."""
        from edgeyolo_onnxruntime import foreign, profiles

        return foreign.ports(folder / profiles.MODEL)


def _changed(exported: Path, source: ExportSource, target: Target, into: Path) -> onnx.ModelProto:
    """The network in the target's precision, with the edges that were asked for."""
    import onnx

    from edgeyolo.export.for_backends import with_graph_ends, with_halves

    if target.precision == "int8":
        model = _quantized(exported, source, into)
    else:
        model = onnx.load(exported)
        if target.precision == "fp16":
            model = with_halves(model)
    return with_graph_ends(model, source)


def _quantized(exported: Path, source: ExportSource, into: Path) -> onnx.ModelProto:
    """The network with quantizers; writes `calibration.json` to `into`."""
    from edgeyolo_calib.quantize.rules import ONNXRUNTIME
    from edgeyolo_calib.quantize.write import quantize_source

    return quantize_source(exported, source, ONNXRUNTIME, into).model
