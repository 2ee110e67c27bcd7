"""The OpenVINO backends for Intel processors and graphics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.target import Target
from edgeyolo.backend.devices import Device
from edgeyolo.backend.interface import (
    Availability,
    Compiled,
    ExportSource,
    Hint,
    Port,
    Session,
)
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.backend.registry import require
from edgeyolo.errors import UsageError
from edgeyolo_openvino import ir, limits, runtime, settings
from edgeyolo_openvino.graph_ends import with_graph_ends
from edgeyolo_openvino.session import OpenvinoSession

OPSET = 18

# float32 in another order of sums: at most 5.5e-6 (yolov7, random weights, 640 pixels), 1.7e-6 where yolov7-tiny is
# trained (benchmarks/results); twenty times that is left.
EXACT = 1e-4
# Rounding the weights of a trained yolov7-tiny to float16 moves its raw maps by up to 6.4e-3 of their largest value,
# float16 arithmetic by up to 8.5e-3; AP moves by at most 0.0012. The budgets leave a factor of three.
HALF_WEIGHTS, HALF_ARITHMETIC = 2e-2, 3e-2
# bfloat16 arithmetic: 3.9e-2 (blood cells, 256 pixels), AP 0.5404 where float32 has 0.5418; 2.5 times that is left. Of
# 1316 cells in 32 pictures 99.8 % agree; networks that are less sure of what they see may lose 5 %.
BRAIN_ARITHMETIC, BRAIN_AGREEMENT = 0.1, 0.95
# Integers: 0.08 to 0.50 (scenes, by the pictures), 0.34 (blood cells), AP lost -0.29 to 0.50 points
# (benchmarks/results): half as much again is left of the largest, as one cell of a map decides it; agreement as for
# INT8_AGREEMENT of edgeyolo_onnxruntime. A mistake in a scale or an order of channels gives above 1.
INTEGERS, INTEGERS_AGREEMENT = 0.75, 0.85

_REFUSES_NMS = {
    "gpu": "OpenVINO computes in float16 there, which moves corners by a quarter of a pixel and more",
    "npu": "the NPU takes no operators whose result has no fixed size",
}
_LIMITS = {
    "cpu-fp32": limits.CPU,
    "cpu-fp16": limits.CPU_HALF,
    "cpu-bf16": limits.CPU,
    "cpu-int8": limits.CPU_INT8,
    "gpu-fp16": limits.GPU,
    "npu-int8": limits.NPU,
}


def _profile(device: str, precision: str, note: str, parity: float) -> TargetProfile:
    profile = TargetProfile(
        target=Target(device, "openvino", precision),
        note=note,
        parity=parity,
        dynamic_batch=device == "cpu",
        files=ir.FILES,
        opset=OPSET,
        inputs=("float", "uint8"),
        refuses_nms=_REFUSES_NMS.get(device, ""),
        limits=_LIMITS[f"{device}-{precision}"],
    )
    return (
        replace(profile, calibrated=True, mixed=True, take_ranges=True, agreement=INTEGERS_AGREEMENT)
        if precision == "int8"
        else profile
    )


class OpenvinoBackend:
    """Targets `cpu-openvino-*`.

    EDGEYOLO_OPENVINO_DEVICE runs their artifacts on any other device as well.
    """

    name = "openvino"
    package = "openvino"
    device = "CPU"
    placed = ""  # the one of several devices to run on, such as GPU.1; "" leaves it to the environment
    hint: Hint | None = None  # None leaves it to the environment
    variables = settings.VARIABLES
    adopts: Mapping[str, Target] = {".xml": Target("cpu", "openvino", "fp32")}
    profiles: tuple[TargetProfile, ...] = (
        _profile("cpu", "fp32", "OpenVINO on any x86 or ARM CPU", parity=EXACT),
        _profile(
            "cpu",
            "fp16",
            "OpenVINO on any CPU, weights stored in float16: half the file",
            parity=HALF_WEIGHTS,
        ),
        replace(
            _profile(
                "cpu",
                "bf16",
                "OpenVINO in bfloat16 on CPUs that have it (AMX, AVX512-BF16), elsewhere as fp32",
                parity=BRAIN_ARITHMETIC,
            ),
            agreement=BRAIN_AGREEMENT,
            refuses_nms="bfloat16 moves corners by a pixel and more",
        ),
        _profile(
            "cpu",
            "int8",
            "OpenVINO in integers by NNCF, fastest on CPUs with VNNI; needs calibration images",
            parity=INTEGERS,
        ),
    )

    def can_compile(self) -> Availability:
        """Availability of an OpenVINO that is new enough to write its format."""
        return runtime.installed(runtime.OLDEST_COMPILE)

    def can_run(self) -> Availability:
        """Availability of OpenVINO and the device.

        The CPU needs no import: the package is looked up.
        """
        return runtime.reachable(self.placed or settings.chosen_device(self.device))

    def compile(self, source: ExportSource, target: Target, into: Path) -> Compiled:
        """Write `model.xml` and `model.bin`; for INT8, with NNCF's quantizers."""
        from edgeyolo.export.for_backends import edge_contracts

        tools = {"openvino": runtime.installed().version}
        onnx, contracts = source.onnx(opset=OPSET), edge_contracts(source)

        def finish(model: Any) -> Any:
            return with_graph_ends(model, source, OPSET)

        # Floats as they are, ranges that training learned, or NNCF's; `finish` adds the graph's ends to all three.
        if target.precision != "int8":
            half = target.precision == "fp16"
            files = ir.write_ir(onnx, into, source.input, half=half, finish=finish)
            return Compiled(files, *contracts, tools)
        if source.learned:
            return Compiled(_with_learned_ranges(onnx, source, into, finish), *contracts, tools)
        from edgeyolo_openvino.quantize import quantize

        calibration = source.calibration
        if calibration is None:
            raise UsageError(
                f"{target}: integers need calibration images, and none were given", hint="Add --calib DATA."
            )

        def change(model: Any) -> Any:
            return quantize(model, source.input, calibration, source.quantizer, source.judge)

        files = ir.write_ir(onnx, into, source.input, half=False, change=change, finish=finish)
        return Compiled(files, *contracts, tools | {"nncf": version("nncf")})

    def open(self, artifact: Artifact, *, threads: int | None = None) -> OpenvinoSession:
        """Load `model.xml` on the device."""
        wanted = settings.from_environment(artifact.manifest.target, self.device, threads)
        if self.placed:
            wanted = replace(wanted, device=self.placed)
        if self.hint:
            wanted = replace(wanted, hint=self.hint)
        return open_file(artifact, artifact.file(".xml"), wanted)

    def tuned(self, hint: Hint) -> OpenvinoBackend:
        """Sessions with a performance hint.

        It decides how many requests are worked on at once.
        """
        found = copy(self)
        found.hint = "latency" if hint == "shared" else hint  # its threads sleep while they wait
        return found

    def ports(self, file: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of an OpenVINO file."""
        from edgeyolo_openvino import foreign

        require(self.can_run(), f"looking into {file}")
        return foreign.ports(file)

    def parts(self, file: Path) -> Mapping[str, Path]:
        """The graph and the weights beside it."""
        from edgeyolo_openvino import foreign

        return foreign.parts(file)

    def written_ports(
        self, folder: Path, output: OutputContract
    ) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Inputs and outputs of `model.xml`."""
        from edgeyolo_openvino import foreign

        return foreign.ports(folder / ir.FILES[0], output.names)


class OpenvinoGpuBackend(OpenvinoBackend):
    """Targets `gpu-openvino-*`: Intel graphics, integrated or discrete."""

    name = "openvino-gpu"
    device = "GPU"
    unforkable = "the driver's handles belong to the process that opened them"
    adopts: Mapping[str, Target] = {".xml": Target("gpu", "openvino", "fp16")}
    profiles: tuple[TargetProfile, ...] = (
        _profile("gpu", "fp16", "OpenVINO on Intel graphics, in float16", parity=HALF_ARITHMETIC),
    )

    def at(self, device: Device) -> OpenvinoGpuBackend:
        """Sessions on the device of that number, as OpenVINO counts them."""
        found = copy(self)
        found.placed = self.device if device.index is None else f"{self.device}.{device.index}"
        return found

    @property
    def parity_runtime(self) -> str:
        """The CPU, in float16 arithmetic where the processor has it."""
        return f"OpenVINO's CPU plugin in {self._stand_in_precision()}"

    def open_for_parity(self, artifact: Artifact) -> Session:
        """Load `model.xml` on the CPU."""
        stand_in = settings.Settings("CPU", artifact.manifest.target, precision=self._stand_in_precision())
        return open_file(artifact, artifact.file(".xml"), stand_in)

    @staticmethod
    def _stand_in_precision() -> str:
        core = runtime.load().Core()
        return "f16" if "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


class OpenvinoNpuBackend(OpenvinoGpuBackend):
    """Targets `npu-openvino-*`: the neural processor of Intel Core Ultra.

    It takes one fixed batch, in integers with float16 between them.
    """

    name = "openvino-npu"
    device = "NPU"
    adopts: Mapping[str, Target] = {".xml": Target("npu", "openvino", "int8")}
    profiles = (
        _profile(
            "npu", "int8", "OpenVINO on the NPU of Intel Core Ultra, in integers by NNCF", parity=INTEGERS
        ),
    )


def _with_learned_ranges(
    onnx: Path, source: ExportSource, into: Path, finish: Callable[[Any], Any]
) -> tuple[str, ...]:
    """Write the graph with quantizers of ours, in the ranges that training learned."""
    from edgeyolo_calib.quantize.rules import OPENVINO
    from edgeyolo_calib.quantize.write import RECORD, quantize_source

    made = quantize_source(onnx, source, OPENVINO, into)
    with TemporaryDirectory(prefix="edgeyolo-") as folder:
        quantized = Path(folder) / "quantized.onnx"
        quantized.write_bytes(made.model.SerializeToString(deterministic=True))
        files = ir.write_ir(quantized, into, source.input, half=False, fold=False, finish=finish)
    return (*files, RECORD)


def open_file(artifact: Artifact, path: Path, wanted: settings.Settings) -> OpenvinoSession:
    """A session for one file of an artifact."""
    manifest = artifact.manifest
    made_with = manifest.tools.get("openvino", "")
    return OpenvinoSession(path, manifest.input, manifest.output, wanted, made_with)
