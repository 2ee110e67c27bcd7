"""The TFLite backends: any CPU, and the Coral edge TPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import Availability, Compiled, ExportSource, Port, Session
from edgeyolo.backend.profile import MAP_REACH, TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo_tflite import limits, runtime, toolkit

if TYPE_CHECKING:
    from edgeyolo_tflite.check import Coverage

MODEL, COMPILED = "model.tflite", "model_edgetpu.tflite"


REFUSES_NMS = "TensorFlow Lite has it as a custom operator only, on the CPU, in float"
# float32 in another order of sums: 1.7e-6 (trained yolov7-tiny at 256; benchmarks/results).
FP32 = TargetProfile(
    Target("cpu", "tflite", "fp32"),
    "LiteRT on any CPU, phones and boards included",
    parity=1e-4,
    refuses_nms=REFUSES_NMS,
    files=(MODEL,),
    limits=limits.CPU,
)
INT8 = TargetProfile(
    Target("cpu", "tflite", "int8"),
    "LiteRT on any CPU, integers but for the last convolutions; needs calibration images",
    parity=0.5,  # the budget of cpu-onnx-int8, whose integers these are
    agreement=0.9,
    calibrated=True,
    mixed=True,
    refuses_nms=REFUSES_NMS,
    files=(MODEL,),
    limits=limits.CPU_INT8,
)
EDGE_TPU = replace(
    INT8,
    target=Target("edgetpu", "tflite", "int8"),
    note="Coral edge TPU; where edgetpu_compiler is, compiled for it",
    reach=MAP_REACH,  # raw maps in integers end there
    mixed=False,
    unmixed="it computes in int8 only, and its compiler cuts a network once: all behind the first float layer, which "
    "is most of it, would run on the host's CPU",
    limits=limits.EDGE_TPU,
)


class TfliteBackend:
    """Targets `cpu-tflite-*`."""

    name = "tflite"
    package = "ai-edge-litert"
    profiles: tuple[TargetProfile, ...] = (FP32, INT8)
    adopts: Mapping[str, Target] = {".tflite": FP32.target}

    def can_compile(self) -> Availability:
        """Availability of litert-torch and what it needs.

        It is looked up, not imported.
        """
        return toolkit.installed(toolkit.CONVERTER)

    def can_run(self) -> Availability:
        """Availability of ai-edge-litert or tflite-runtime.

        It is looked up, not imported.
        """
        return runtime.installed()

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.tflite`: channels last, raw maps out.

        int8 has integers from the input to the last convolutions, but for layers that the calibration leaves in float.
        """
        from edgeyolo_tflite.convert import to_flatbuffer

        return _write(to_flatbuffer(source), source, target, into)

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load `model.tflite` on the CPU."""
        return _open(artifact, MODEL, runtime.load(), threads)

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of a TFLite file."""
        from edgeyolo_tflite import foreign

        require(self.can_run(), f"looking into {file}")
        return foreign.ports(file)

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The file."""
        return {MODEL: file}

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.tflite`."""
        from edgeyolo_tflite import foreign

        return foreign.ports(folder / MODEL)


class EdgeTpuBackend(TfliteBackend):
    """Target `edgetpu-tflite-int8`.

    A compiled artifact runs on an edge TPU, others wait for the compiler.

    `edgetpu_compiler` writes `model_edgetpu.tflite` beside `model.tflite`; without it the artifact can be checked,
    compared with torch on the CPU, and compiled later, on an x86-64 Linux machine that has it.
    """

    name = "tflite-edgetpu"
    unforkable = "the edge TPU belongs to the process that opened it"
    parity_runtime = "the CPU"
    profiles = (EDGE_TPU,)
    variables = runtime.VARIABLES
    adopts: Mapping[str, Target] = {"_edgetpu.tflite": EDGE_TPU.target}

    def __init__(self, device: str = "") -> None:
        self._device = device

    def at(self, device: Device) -> EdgeTpuBackend:
        """Sessions on the edge TPU of that number, as libedgetpu counts them."""
        return EdgeTpuBackend("" if device.index is None else f":{device.index}")

    def can_compile(self) -> Availability:
        """Availability of litert-torch and ai-edge-quantizer.

        The edge TPU's own compiler is not asked for.
        """
        return toolkit.installed(toolkit.QUANTIZER)

    def can_run(self) -> Availability:
        """Availability of an interpreter, the edge TPU's library and a device."""
        found = runtime.installed()
        return runtime.edge_tpu(self._device) if found.ok else found

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.tflite`, and `model_edgetpu.tflite` where possible.

        The latter is written where `edgetpu_compiler` is installed.

        Raises UnsupportedTargetError, before an image is read, if the edge TPU does not take the converted network
        whole; what can be known before that, the export has asked already.
        """
        from edgeyolo_tflite.check import require_edge_tpu
        from edgeyolo_tflite.compiler import compile_for_edge_tpu
        from edgeyolo_tflite.convert import to_flatbuffer
        from edgeyolo_tflite.quantize import skeleton

        data = to_flatbuffer(source)
        require_edge_tpu(skeleton(data), str(target))
        compiled = _write(data, source, target, into)
        tool = compile_for_edge_tpu(into / MODEL)
        if tool is None:
            return compiled
        tools = {**compiled.tools, "edgetpu_compiler": tool}
        return replace(compiled, files=(MODEL, COMPILED), tools=tools)

    def check(self, source: ExportSource) -> Coverage:
        """Check where the operators of the network would run.

        It needs no calibration images.
        """
        from edgeyolo_tflite.check import coverage
        from edgeyolo_tflite.convert import to_flatbuffer
        from edgeyolo_tflite.quantize import skeleton

        return coverage(skeleton(to_flatbuffer(source)))

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The file."""
        return {COMPILED: file}

    def open(self, artifact: Artifact, *, threads: int | None = None) -> Session:
        """Load `model_edgetpu.tflite` on an edge TPU.

        RuntimeMissingError where there is none.
        """
        if COMPILED not in artifact.manifest.files:
            raise UsageError(
                f"{artifact.path}: not compiled for the edge TPU, there is no {COMPILED}",
                hint=f"Export again where edgetpu_compiler is installed (x86-64 Linux): it makes {COMPILED}.",
            )
        loaded = runtime.load()
        return _open(artifact, COMPILED, loaded, threads, (runtime.edge_tpu_delegate(loaded, self._device),))

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load `model.tflite` on the CPU: the same integers, by other kernels."""
        return _open(artifact, MODEL, runtime.load(), None)


def _open(
    artifact: Artifact,
    name: str,
    loaded: runtime.Runtime,
    threads: int | None,
    delegates: tuple[Any, ...] = (),
) -> Session:
    from edgeyolo_tflite.session import TfliteSession

    if name not in artifact.manifest.files:
        raise DamagedFileError(f"{artifact.path}: the manifest lists no {name}")
    manifest = artifact.manifest
    return TfliteSession(
        artifact.path / name, manifest.input, manifest.output, loaded, threads=threads, delegates=delegates
    )


def _write(data: bytes, source: ExportSource, target: Target, into: Path) -> Compiled:
    """Write a converted network for `target`: as it is, or in integers."""
    from edgeyolo.backend.ports import with_file_types
    from edgeyolo_tflite import foreign
    from edgeyolo_tflite.convert import contracts

    given, output = contracts(source)
    tools = {package: version(package) for package in ("litert-torch", "ai-edge-litert")}
    if target.precision == "int8":
        from edgeyolo_tflite.gain import box_gain, with_box_gain
        from edgeyolo_tflite.quantize import quantize

        if source.calibration is None:
            raise UsageError(
                f"{target}: integers need calibration images, and none were given",
                hint="Some hundred photographs of what the camera will see are usual.",
            )
        if target == EDGE_TPU.target:
            gain = box_gain(data, source.calibration.batches(given), output)
            data, output = with_box_gain(data, output, gain), replace(output, box_gain=gain)
        data = quantize(data, source.calibration.batches(given), _floats(data, source, target))
        tools["ai-edge-quantizer"] = version("ai-edge-quantizer")
    (into / MODEL).write_bytes(data)
    if target.precision == "int8":
        return Compiled((MODEL,), *with_file_types(given, output, *foreign.ports(into / MODEL)), tools)
    return Compiled((MODEL,), given, output, tools)


def _floats(data: bytes, source: ExportSource, target: Target) -> frozenset[str]:
    """Tensors of the converted network that stay in float32."""
    from edgeyolo_calib.onnx_graph import OPSET
    from edgeyolo_tflite import flatbuffer
    from edgeyolo_tflite.layers import float_tensors

    if target == EDGE_TPU.target:
        return frozenset()
    assert source.calibration is not None
    return float_tensors(flatbuffer.read(data), source.onnx(opset=OPSET), source.calibration.floats)
