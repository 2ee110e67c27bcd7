"""The ONNX Runtime backend.

Compiling is keeping the ONNX file, or putting quantizers into it; running is an InferenceSession.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, edge_contracts
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo_onnxruntime import limits
from edgeyolo_onnxruntime.session import OnnxruntimeSession

if TYPE_CHECKING:
    import onnx

OPSET = 18
MODEL, RECORD = "model.onnx", "calibration.json"
# float32 in another order of sums: at most 4.6e-6 (yolov7x, random weights, 640 pixels), 9.3e-7 where yolov7-tiny is
# trained (benchmarks/results). Twenty times that is left for deeper networks and other processors.
EXACT = 1e-4
# Rounding the weights of a trained yolov7-tiny to float16 moves its raw maps by up to 6.4e-3 of their largest value.
HALF_WEIGHTS = 2e-2
# As measured (benchmarks/scripts/calibration.py): 0.05 to 0.11 and 99 % on pictures like those of the
# calibration, 0.34 and
# 90 % on pictures that the network was not made for. A mistake in a scale or an order of channels gives above 1.
INT8_PARITY = 0.5
INT8_AGREEMENT = 0.85


FP32 = TargetProfile(
    target=Target("cpu", "onnx", "fp32"),
    note="ONNX Runtime on any CPU; the base install runs it",
    parity=EXACT,
    dynamic_batch=True,
    files=(MODEL,),
    inputs=("float", "uint8"),
    refuses_nms="",
    opset=OPSET,
    limits=limits.FLOAT,
)
FP16 = replace(
    FP32,
    target=Target("cpu", "onnx", "fp16"),
    note="ONNX Runtime on any CPU, weights stored in float16: half the file, unfolded when it is loaded",
    parity=HALF_WEIGHTS,
    limits=limits.HALF,
)
INT8 = replace(
    FP32,
    target=Target("cpu", "onnx", "int8"),
    note="ONNX Runtime in integers, about twice as fast on CPUs with VNNI; needs calibration images",
    parity=INT8_PARITY,
    agreement=INT8_AGREEMENT,
    calibrated=True,
    mixed=True,
    take_ranges=True,
    files=(MODEL, RECORD),
    limits=limits.INT8,
)


class OnnxruntimeBackend:
    """Targets `cpu-onnx-*`."""

    name = "onnxruntime"
    package = "onnxruntime"
    profiles = (FP32, FP16, INT8)
    adopts: Mapping[str, Target] = {".onnx": FP32.target}

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
        except PackageNotFoundError:  # onnxruntime-gpu, -openvino ... are the same module under another name
            import onnxruntime

            return Availability(True, version=onnxruntime.__version__)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx`.

        For INT8 it has quantizers whose ranges are in `calibration.json`.
        """
        import onnx

        from edgeyolo.export.for_backends import with_graph_ends, with_halves

        tools = {"onnxruntime": self.can_run().version}
        exported, files = source.onnx(opset=OPSET), [MODEL]
        if target.precision == "int8":
            model = _quantized(exported, source, into)
            files.append(RECORD)
            tools["onnx"] = version("onnx")
        else:
            model = onnx.load(exported)
            if target.precision == "fp16":
                model = with_halves(model)
        model = with_graph_ends(model, source)
        (into / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        return Compiled(tuple(files), *edge_contracts(source), tools)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> OnnxruntimeSession:
        """Load `model.onnx` on the CPU."""
        manifest = artifact.manifest
        return OnnxruntimeSession(artifact.file(".onnx"), manifest.input, manifest.output, threads)

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
        from edgeyolo_onnxruntime import foreign

        return foreign.ports(folder / MODEL)


def _quantized(exported: Path, source: ExportSource, into: Path) -> onnx.ModelProto:
    """The network with quantizers; writes `calibration.json` to `into`."""
    from edgeyolo_calib.quantize.rules import ONNXRUNTIME
    from edgeyolo_calib.quantize.write import quantize_source

    return quantize_source(exported, source, ONNXRUNTIME, into).model
