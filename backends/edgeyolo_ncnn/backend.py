"""The ncnn backend."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import DamagedFileError
from edgeyolo.support.install import install_hint
from edgeyolo_ncnn import limits
from edgeyolo_ncnn.session import NcnnSession

OPSET = 18
PARAM, WEIGHTS, RECORD = "model.ncnn.param", "model.ncnn.bin", "calibration.json"


FP32 = TargetProfile(
    target=Target("cpu", "ncnn", "fp32"),
    note="ncnn on ARM boards and phones, and on x86",
    parity=1e-3,  # its fast convolutions (Winograd) add in another order: 2e-5 and less was seen
    inputs=("float",),
    refuses_nms="ncnn's layers of suppression are for other networks",
    files=(PARAM, WEIGHTS),
    opset=OPSET,
    limits=limits.FLOAT,
)
FP16 = replace(
    FP32,
    target=Target("cpu", "ncnn", "fp16"),
    note="ncnn in float16 where the processor has it (ARMv8.2), elsewhere half the file",
    parity=2e-2,
    limits=limits.HALF,
)
INT8 = replace(
    FP32,
    target=Target("cpu", "ncnn", "int8"),
    note="ncnn with convolutions in integers; needs calibration images",
    parity=0.5,
    agreement=0.85,
    calibrated=True,
    mixed=True,
    files=(PARAM, WEIGHTS, RECORD),
    limits=limits.INT8,
)


class NcnnBackend:
    """Targets `cpu-ncnn-*`."""

    name = "ncnn"
    package = "ncnn"
    unforkable = "its threads are those of the process that started them"
    profiles = (FP32, FP16, INT8)

    def can_compile(self) -> Availability:
        """Availability of compilation.

        It takes ncnn for the comparison with torch only.
        """
        return self.can_run()

    def can_run(self) -> Availability:
        """Availability of the ncnn package, without importing it."""
        if find_spec("ncnn") is None:
            return Availability(False, "the package ncnn is not installed", install_hint("ncnn"))
        try:
            return Availability(True, version=version("ncnn"))
        except PackageNotFoundError:  # built from source
            return Availability(True)

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.ncnn.param` and `model.ncnn.bin`.

        The ranges of INT8 are in `calibration.json`.
        """
        import onnx

        from edgeyolo_ncnn.convert import to_layers
        from edgeyolo_ncnn.files import to_files
        from edgeyolo_ncnn.quantize import steps_of

        exported, files = source.onnx(opset=OPSET), (PARAM, WEIGHTS)
        integers = target.precision == "int8"
        steps = steps_of(exported, source, into) if integers else {}
        layers, outputs = to_layers(onnx.load(exported), steps, half=target.precision == "fp16")
        text, data = to_files(layers, outputs)
        (into / PARAM).write_text(text, encoding="ascii")
        (into / WEIGHTS).write_bytes(data)
        tools = {"ncnn": self.can_run().version, "onnx": version("onnx")}
        return Compiled((*files, RECORD) if integers else files, source.input, source.output, tools)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> NcnnSession:
        """Load both files on the CPU."""
        require(self.can_run(), f"{artifact.path} needs {self.name}")
        manifest = artifact.manifest
        if missing := {PARAM, WEIGHTS} - set(manifest.files):
            raise DamagedFileError(f"{artifact.path}: the manifest lists no {', '.join(sorted(missing))}")
        places = (artifact.path / PARAM, artifact.path / WEIGHTS)
        half = manifest.target.precision == "fp16"
        return NcnnSession(places, manifest.input, manifest.output, half=half, threads=threads)
