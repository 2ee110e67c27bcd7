"""The backend of Qualcomm's Hexagon NPU.

Compiling is Qualcomm's own offline compiler, reached through ONNX Runtime; the emulator beside it runs what it made.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Session
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import DamagedFileError
from edgeyolo_qnn import library, limits
from edgeyolo_qnn.chips import SOCS, chip_for
from edgeyolo_qnn.compiler import compile_context
from edgeyolo_qnn.session import Ports, QnnSession, ports

if TYPE_CHECKING:
    import onnx

OPSET = 18
MODEL, CONTEXT, BINARY, RECORD = "model.onnx", "context.onnx", "context_qnn.bin", "calibration.json"


FP16 = TargetProfile(
    target=Target("hexagon", "qnn", "fp16"),
    note="Qualcomm's Hexagon NPU in float16, compiled for one chip (--soc)",
    # float16 throughout: 2.3e-3 (small network, random weights), 1.2e-3 (yolov7-tiny, trained) in the emulator, 4e-2
    # in one cell (half-width yolov7-tiny-silu on scenes, where every detection agrees); half as much again is left.
    parity=6e-2,
    inputs=("float",),
    refuses_nms="the Hexagon NPU has no operator of it",
    files=(MODEL, CONTEXT, BINARY),
    socs=SOCS,
    emulated=True,
    opset=OPSET,
    limits=limits.FLOAT,
)
INT8 = replace(
    FP16,
    target=Target("hexagon", "qnn", "int8"),
    note="Qualcomm's Hexagon NPU in integers, compiled for one chip (--soc); needs calibration images",
    parity=0.5,  # the budgets of cpu-onnx-int8, whose quantizers these are
    agreement=0.85,
    calibrated=True,
    mixed=True,
    take_ranges=True,
    files=(MODEL, CONTEXT, BINARY, RECORD),
    limits=limits.INT8,
)


class QnnBackend:
    """Targets `hexagon-qnn-*`."""

    name = "qnn"
    package = library.PACKAGE
    unforkable = "the NPU's driver belongs to the process that opened it"
    parity_runtime = "the emulator of the Hexagon NPU"
    profiles = (FP16, INT8)

    def can_compile(self) -> Availability:
        """Availability of Qualcomm's compiler.

        The provider's package for x86-64 brings it.
        """
        found = library.installed()
        return found if library.emulates() or not found.ok else library.npu()

    def can_run(self) -> Availability:
        """Availability of a Hexagon NPU."""
        return library.npu()

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.onnx` and, compiled for the chip, `context.onnx`.

        The latter names `context_qnn.bin` beside it.

        For INT8 it has quantizers whose ranges are in `calibration.json`. Raises UnsupportedTargetError for a chip
        without float16, and where the compiler does not take the network whole.
        """
        chip = chip_for(source.soc, str(target))
        model, files = _portable(source, target, into)
        (into / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        compile_context(into / MODEL, into / CONTEXT, chip)
        tools = {name: version(name) for name in ("onnx", "onnxruntime", library.PACKAGE)}
        return Compiled(files, source.input, source.output, tools, chip.facts())

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load the compiled network on the NPU."""
        return self.open_for_parity(artifact)

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load the compiled network on the emulator.

        It is the file that the device loads.
        """
        require(library.installed(), f"{artifact.path} needs {self.name}")
        if missing := {CONTEXT, BINARY} - set(artifact.manifest.files):
            raise DamagedFileError(f"{artifact.path}: the manifest lists no {', '.join(sorted(missing))}")
        return QnnSession(artifact.path / CONTEXT, artifact.manifest.input, artifact.manifest.output)

    def written_ports(self, folder: Path, output: OutputContract) -> Ports:
        """Inputs and outputs of the compiled network."""
        return ports(library.load(folder / CONTEXT))


def _portable(source: ExportSource, target: Target, into: Path) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The ONNX network to compile, and the files of the artifact."""
    import onnx

    exported = source.onnx(opset=OPSET)
    if target.precision == "int8":
        from edgeyolo_calib.quantize.rules import HEXAGON
        from edgeyolo_calib.quantize.write import quantize_source

        return quantize_source(exported, source, HEXAGON, into).model, INT8.files
    from edgeyolo.export.for_backends import with_halves

    return with_halves(onnx.load(exported)), FP16.files
